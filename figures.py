"""Pictures of what is learned and forgotten, from saved generators. Needs: pip install -r requirements-extras.txt

    python figures.py samples runs       # every category after the last task (MeRGAN figure 3)
    python figures.py evolution runs     # the same z after and inside tasks, PNG and GIF (figures 5 and 7)
    python figures.py curves runs        # accuracy and FID of each category over training (figure 6), from eval.json
    python figures.py tsne runs          # real and generated images in the judge's features (figure 4)
    python figures.py all runs           # all four; files go to figures/, or --output
    python figures.py paint runs/mnist__mergan_ra__1 --category 3 -n 64 -o threes.png      # just draw

Of runs that differ in the seed alone, curves shows mean and spread, the others show the one with the lowest seed.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torchvision.utils import make_grid, save_image

from common import data_options
from eval import ELSEWHERE, Reference, complete, draw, embed, labels_of, load_generator, rank

INSTALL = "install it with: python -m pip install -r requirements-extras.txt"
try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit(f"error: figures.py needs matplotlib; {INSTALL}")

# Okabe & Ito's palette, which the colour-blind can tell apart, in the order of eval.METHODS
COLOURS = ["#000000", "#D55E00", "#E69F00", "#CC79A7", "#56B4E9", "#009E73", "#0072B2", "#F0E442"]
BATCH, STANDING = (SimpleNamespace(device="cpu", statistics=kind) for kind in ("batch", "standing"))
skipped = []  # files that could not be read


class Group:
    """Runs that differ in the seed alone, lowest seed first."""

    def __init__(self, runs):
        self.runs = sorted(runs, key=lambda run: run[1]["seed"])
        self.run, self.arguments = self.runs[0]
        self.tasks, self.iters = self.arguments["num_tasks"], self.arguments["iters"]

    def names(self):
        """Names of the categories, from any readable snapshot."""
        for path in sorted(self.run.glob("task_*.pt")):
            try:
                return torch.load(path, map_location="cpu", weights_only=True)["categories"]
            except Exception:
                continue
        return list(map(str, range(self.tasks)))

    def snapshots(self):
        """Path by (task, step) of every saved generator, in the order of training."""
        every = {t: self.run / f"task_{t}.pt" for t in range(1, self.tasks + 1)}
        found = {(t, self.iters): path for t, path in every.items() if path.exists()}
        for path in self.run.glob("snapshots/task_*_step_*.pt"):
            _, task, _, step = path.stem.split("_")
            found[int(task), int(step)] = path
        return dict(sorted(found.items()))


def find_groups(paths):
    """The runs at or below paths, grouped; each group's label is its method and the options in which groups differ."""
    groups, data = {}, set()
    for run in sorted({path.parent for root in paths for path in Path(root).rglob("args.json")}):
        try:
            arguments = complete(json.loads((run / "args.json").read_text()))
            own = {name: value for name, value in arguments.items() if name not in ("seed", *ELSEWHERE)}
            own["method"], own["num_tasks"], own["iters"], arguments["seed"]
            of_data = data_options({**arguments, "cache_dir": None})
            data.add(json.dumps(of_data | ({"data_dir": "…"} if own["dataset"] == "mnist" else {}), sort_keys=True))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            skipped.append(f"{run / 'args.json'} ({type(error).__name__}: {error})")
            continue
        groups.setdefault(json.dumps(own, sort_keys=True), []).append((run, arguments))
    if not groups:
        sys.exit(f"error: no run (a folder with args.json) in {', '.join(paths)}; train one with: python sft.py")
    if len(data) > 1:
        sys.exit(f"error: runs of several data sets ({', '.join(sorted(data))}); draw them one at a time")
    labels, found = labels_of([json.loads(own) for own in groups]), []
    for group, label in zip(map(Group, groups.values()), labels):
        group.label = label
        found.append(group)
    return sorted(found, key=lambda group: rank(group.arguments["method"]))


def setting(groups, seeds="lowest"):
    """Data set, steps and seeds, for a title."""
    chosen = {run[1]["seed"] for group in groups for run in (group.runs[:1] if seeds == "lowest" else group.runs)}
    datasets = {(g.arguments["dataset"], f"{g.iters} steps per task") for g in groups}
    return ", ".join(map(", ".join, sorted(datasets))) + f", seed {', '.join(map(str, sorted(chosen)))}"


def paint(path, category, n):
    """n images [n, C, H, W] of one category by a saved generator, always from the same z; None if there is none."""
    if not path.exists():
        return None
    try:
        generator, snapshot = load_generator(path, BATCH)
    except Exception as error:
        skipped.append(f"{path} ({type(error).__name__})")
        return None
    images = draw(generator, category, -(-n // 64) * 64)[:n] if category in snapshot["seen"] else []
    return images if len(images) else None


def tile(ax, images, columns):
    """Show images [N, C, H, W] as a grid without gaps; an empty frame where there are none."""
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    if images is not None:
        ax.imshow(make_grid((images + 1) / 2, columns, padding=0).clamp(0, 1).permute(1, 2, 0).numpy())


def save(figure, path):
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"wrote {path}")


def samples(groups, args):
    """Rows: categories. Blocks: methods, after their last task."""
    groups = [group for group in groups if (group.run / f"task_{group.tasks}.pt").exists()]
    if not groups:
        sys.exit("error: no run is finished; samples shows generators after their last task")
    names = max((group.names()[: group.tasks] for group in groups), key=len)
    size = (1.75 * len(groups) + 0.4, 0.42 * len(names) + 0.8)
    figure, axes = plt.subplots(len(names), len(groups), figsize=size, squeeze=False, layout="compressed")
    for category, row in enumerate(axes):
        row[0].set_ylabel(names[category], rotation=0, va="center", labelpad=10)
        for ax, group in zip(row, groups):
            tile(ax, paint(group.run / f"task_{group.tasks}.pt", category, 4), 4)
    for ax, group in zip(axes[0], groups):
        ax.set_title(group.label, fontsize=9)
    figure.suptitle(f"after the last task ({setting(groups)})", fontsize=10)
    save(figure, args.output / "samples.png")


def evolution(groups, args):
    """What is painted for one category from the same z: after every task, and in steps inside tasks."""
    tasks = max(group.tasks for group in groups)
    names = max((group.names() for group in groups), key=len)
    category = names[args.category] if args.category < len(names) else args.category
    title = f"what is painted for category {category}\n({setting(groups)})"
    figure, axes = plt.subplots(
        len(groups), tasks, figsize=(1.3 * tasks + 0.6, 1.35 * len(groups) + 0.6), squeeze=False, layout="compressed"
    )
    for row, group in zip(axes, groups):
        row[0].set_ylabel(group.label.replace(" ", "\n"), fontsize=9)
        for task, ax in enumerate(row, start=1):
            path = group.run / f"task_{task}.pt"
            tile(ax, paint(path, args.category, 4), 2)
    for task, ax in enumerate(axes[0], start=1):
        ax.set_title(f"after task {task}", fontsize=9)
    figure.suptitle(title, fontsize=10)
    save(figure, args.output / "evolution.png")

    moving = [group for group in groups if (group.run / "task_1.pt").exists()]  # one task after another: not joint
    found = {group.label: group.snapshots() for group in moving}
    moments = sorted({moment for snapshots in found.values() for moment in snapshots})
    ends = {(task, group.iters) for group in moving for task in range(1, group.tasks + 1)}
    if not set(moments) - ends:
        print("no snapshots inside tasks (--snapshots log stores them): no evolution_steps.png, no evolution.gif")
        return
    painted = {}
    for label, snapshots in found.items():
        for moment, before in zip(
            moments, [None, *moments]
        ):  # a method without a snapshot of the moment: the one before
            path = snapshots.get(moment)
            painted[label, moment] = paint(path, args.category, 9) if path else painted.get((label, before))
    sparse = [(t, s) for t, s in moments if t > args.category and ((t, s) in ends or s.bit_length() % 2)]  # 1, 4, 16, …
    if not sparse:
        sys.exit(f"error: no run has learned category {args.category} yet: no evolution_steps.png, no evolution.gif")
    size = (0.36 * len(sparse) + 1.4, 0.42 * len(moving) + 1.1)
    figure, axes = plt.subplots(len(moving), len(sparse), figsize=size, squeeze=False)
    for row, group in zip(axes, moving):
        row[0].set_ylabel(group.label.replace(" ", "\n"), rotation=0, ha="right", va="center", fontsize=8)
        for ax, moment in zip(row, sparse):
            images = painted.get((group.label, moment))
            tile(ax, None if images is None else images[:1], 1)
    for ax, (task, step) in zip(axes[0], sparse):
        ax.set_title(f"task {task}\n\n{step}" if step == 1 else step, fontsize=7)
    figure.suptitle(f"by task and step, {title}", fontsize=9)
    figure.subplots_adjust(1.3 / size[0], 0.02, 0.99, 1 - 1 / size[1], 0.03, 0.05)
    save(figure, args.output / "evolution_steps.png")
    animation(moving, moments, ends, painted, args)


def animation(groups, moments, ends, painted, args):
    """A GIF: nine images of one category by each method, a frame for each saved generator, the current task named."""
    from PIL import Image

    frames, names = [], max((group.names() for group in groups), key=len)
    for task, step in moments:
        figure, axes = plt.subplots(
            1, len(groups), figsize=(max(1.15 * len(groups), 3.8), 1.95), dpi=100, squeeze=False
        )
        for ax, group in zip(axes[0], groups):
            tile(ax, painted.get((group.label, (task, step))), 3)
            ax.set_title(group.label, fontsize=8)
        figure.text(0.5, 0.93, f"category {names[args.category]}, while task {task} learns category {names[task - 1]}: "
                    f"step {step}", ha="center", va="center", fontsize=8)  # fmt: skip
        figure.text(0.5, 0.05, setting(groups), ha="center", va="center", fontsize=7)
        figure.subplots_adjust(0.01, 0.1, 0.99, 0.76, 0.04, 0)
        figure.canvas.draw()
        frames.append(Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB").quantize(32))
        plt.close(figure)
    path = args.output / "evolution.gif"
    durations = [1200 if moment in ends else 250 for moment in moments]  # milliseconds
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)
    print(f"wrote {path}")


def curves(groups, args):
    """Accuracy and FID of each category over training; a line a method, a band of one standard deviation over seeds."""
    courses, levels, scored, counts = {}, set(), set(), set()
    for group in groups:
        for run, arguments in group.runs:
            try:
                result = json.loads((run / "eval.json").read_text())
                fid = result["fid"]
                matrices = list(zip(result["accuracy"], fid["test"]["matrix"]))
                moments = [(line["task"] - 1 + line["step"] / group.iters, line) for line in result["intermediate"]]
                inside = tuple(sorted({n for _, line in moments for n in line["fid_samples"]}))
                scored.add(
                    (fid["features"], fid["samples"], result["samples"], result["statistics"], result["data"], inside)
                )
            except (FileNotFoundError, ValueError, KeyError):
                sys.exit(
                    f"error: {run} has no readable eval.json; write it with: python eval.py {' '.join(args.paths)}"
                )
            if not result["accuracy"][-1]:
                sys.exit(f"error: {run} is not finished; curves shows whole runs, so leave it out")
            level = group.tasks > 1 and result["accuracy"][-2] is None  # joint: all categories at once, the end alone
            levels |= {group.label} if level else set()
            if level and moments:
                moments = [(group.tasks, moments[-1][1])]
            elif not moments:  # a curve is of one count, on which FID depends
                moments = [(t, dict(accuracy=a, fid_test=f)) for t, (a, f) in enumerate(matrices, 1) if a]
            counts |= set(inside or fid["samples_per_category"])
            for x, scores in moments:
                for metric in ("accuracy", "fid_test"):
                    for category, value in enumerate(scores[metric]):
                        if value is not None:
                            seeds = courses.setdefault((metric, category, group.label), {})
                            seeds.setdefault(arguments["seed"], {})[x] = value
    if len(scored) > 1:
        sys.exit("error: runs scored differently (tasks, features, samples, statistics, real data or judge); "
                 f"score them together: python eval.py {' '.join(args.paths)}")  # fmt: skip
    counted = f"{' to '.join(map(str, sorted({min(counts), max(counts)})))} images of the category"
    tasks = max(group.tasks for group in groups)
    size = (1.9 * tasks + 0.8, 4.6)
    figure, axes = plt.subplots(2, tasks, figsize=size, sharex=True, sharey="row", squeeze=False, layout="constrained")
    for (metric, category, label), seeds in courses.items():
        ax = axes[int(metric == "fid_test")][category]
        group = next(group for group in groups if group.label == label)
        method = [g for g in groups if g.arguments["method"] == group.arguments["method"]]
        style = dict(
            color=COLOURS[rank(group.arguments["method"])], linestyle=["-", "--", ":", "-."][method.index(group) % 4]
        )
        x = sorted(set.intersection(*(set(course) for course in seeds.values())))  # scored for every seed
        means = [statistics.fmean(course[x] for course in seeds.values()) for x in x]
        if label in levels:
            ax.axhline(means[-1], color=style["color"], linestyle="--", linewidth=1, label=label)
            continue
        for course in seeds.values():
            if len(course) > len(x):  # one seed's own course inside tasks
                ax.plot(sorted(course), [course[x] for x in sorted(course)], **style, linewidth=0.7, alpha=0.5)
        ends = [i for i, moment in enumerate(x) if moment == int(moment)]
        ax.plot(x, means, **style, linewidth=1.2, marker="o", markersize=3, markevery=ends, label=label)
        spread = [statistics.stdev(course[x] for course in seeds.values()) if len(seeds) > 1 else 0.0 for x in x]
        low, high = ([m + sign * s for m, s in zip(means, spread)] for sign in (-1, 1))
        ax.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)
    for category in range(tasks):
        axes[0][category].set_title(f"category {category}", fontsize=9)
        axes[0][category].set_ylim(-2, 102)
        axes[1][category].set(yscale="log", xlabel="tasks learned", xticks=range(tasks + 1))
    axes[0][0].set_ylabel("accuracy, %")
    axes[1][0].set_ylabel(f"FID to test images,\n{next(iter(scored))[0]} features,\n{counted}", fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(groups), fontsize=9)
    figure.suptitle(f"each category over training ({setting(groups, 'all')})", fontsize=10)
    save(figure, args.output / "curves.png")


def tsne(groups, args):
    """Real and generated images of one category in the judge's features, by method and task; a t-SNE each."""
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        sys.exit(f"error: figures.py tsne needs scikit-learn; {INSTALL}")
    arguments = groups[0].arguments
    scoring = SimpleNamespace(device="cpu", fid_features="judge", fid_samples=10000, inception_weights=None)
    data = data_options(arguments) | {"data_dir": args.data_dir or arguments["data_dir"]}
    reference = Reference(data, scoring)
    real = reference.test_images[reference.test_labels == args.category][: args.points]
    real = embed(reference.judge, real)
    last = max(group.tasks for group in groups)
    tasks = args.tasks or sorted({args.category + 1, (args.category + 1 + last) // 2, last})
    figure, axes = plt.subplots(
        len(groups),
        len(tasks),
        figsize=(2 * len(tasks) + 0.6, 1.9 * len(groups) + 0.8),
        squeeze=False,
        layout="compressed",
    )
    for row, group in zip(axes, groups):
        row[0].set_ylabel(group.label, fontsize=9)
        for ax, task in zip(row, tasks):
            ax.set(xticks=[], yticks=[])
            images = paint(group.run / f"task_{task}.pt", args.category, len(real))
            if images is None:
                continue
            drawn = embed(reference.judge, images)
            points = TSNE(init="pca", random_state=0, perplexity=min(30, len(real) / 2)).fit_transform(
                torch.cat([real, drawn]).numpy()
            )
            for name, colour, part in [
                ("real", COLOURS[0], points[: len(real)]),
                ("generated", COLOURS[1], points[len(real) :]),
            ]:
                ax.scatter(*part.T, s=2, color=colour, linewidths=0, alpha=0.6, label=name)
    for ax, task in zip(axes[0], tasks):
        ax.set_title(f"after task {task}", fontsize=9)
    handles = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, markerscale=4, fontsize=9)
    figure.suptitle(f"category {args.category}, t-SNE of the judge's features\n({setting(groups)})", fontsize=10)
    save(figure, args.output / "tsne.png")


@torch.no_grad()
def paint_run(args):
    """Draw images of chosen categories by one saved generator with standing statistics, the same z for each.

    Of dgr.py, those that its solver takes for them.
    """
    path = Path(args.run)
    if path.is_dir():
        saved = sorted(path.glob("task_*.pt"), key=lambda path: int(path.stem.split("_")[1]))
        path = saved[-1] if saved else path / "task_1.pt"
    try:
        generator, snapshot = load_generator(path, STANDING)
    except FileNotFoundError:
        sys.exit(f"error: {path} not found; expected a run directory or a snapshot (task_<n>.pt) in one")
    except Exception as error:
        sys.exit(f"error: {path} is damaged or not ours ({type(error).__name__})")
    seen = snapshot["seen"]
    chosen = seen if args.category == ["all"] else [int(c) if c.isdecimal() else c for c in args.category]
    for category in chosen:
        if category not in seen:
            sys.exit(
                f"error: --category {category} is not among those that {path} has seen: {', '.join(map(str, seen))}"
            )
    z = torch.randn(args.n, snapshot["config"]["latent_dim"], generator=torch.Generator().manual_seed(args.seed))
    if args.interpolate:  # along the great circle, as the norm of z hardly varies
        angle = torch.arccos(torch.cosine_similarity(z[0], z[-1], dim=0))
        t = torch.linspace(0, 1, args.n)[:, None]
        z = (torch.sin((1 - t) * angle) * z[0] + torch.sin(t * angle) * z[-1]) / torch.sin(angle)
    if "solver" not in snapshot:
        images = torch.cat([generator(z, torch.tensor([category])) for category in chosen])
    elif args.interpolate:
        sys.exit(f"error: --interpolate: {path} cannot be asked for a category; leave it out")
    else:
        images = [draw(generator, category, -(-args.n // 64) * 64, args.seed)[: args.n] for category in chosen]
        for category in (category for category, found in zip(chosen, images) if len(found) < args.n):
            sys.exit(f"error: {path}: its solver takes fewer than {args.n} images for category {category}; lower -n")
        images = torch.cat(images)
    columns = round(args.n**0.5) if len(chosen) == 1 and not args.interpolate else args.n
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    save_image(images, args.output, nrow=columns, normalize=True, value_range=(-1, 1))
    print(f"wrote {args.output}")


FIGURES = {"samples": samples, "evolution": evolution, "curves": curves, "tsne": tsne}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="figure", required=True, metavar="{samples,evolution,curves,tsne,all,paint}")
    for name in [*FIGURES, "all"]:
        command = commands.add_parser(name)
        command.add_argument(
            "paths", nargs="+", metavar="RUN_OR_DIR", help="run directories, or folders that hold some"
        )
        command.add_argument("-o", "--output", type=Path, default="figures", help="folder of the files [figures]")
        if name not in ("samples", "curves"):
            command.add_argument("--category", type=int, default=0, help="the category shown [0]")
        if name in ("tsne", "all"):
            command.add_argument("--tasks", type=int, nargs="+", help="after which tasks [first, middle and last]")
            command.add_argument("--points", type=int, default=500, help="real images, and as many generated [500]")
            command.add_argument("--data-dir", help="folder of the real data [where the run found it]")
    command = commands.add_parser("paint")
    command.add_argument("run", metavar="RUN", help="a run directory, or a snapshot in one")
    command.add_argument("--category", nargs="+", default=["all"], help="one or several, a row each if several [all]")
    command.add_argument("-n", type=int, default=64, help="images of each category [64]")
    command.add_argument("--seed", type=int, default=0, help="of z, the same for every category [0]")
    command.add_argument("--interpolate", action="store_true", help="n steps from one z to another")
    command.add_argument("-o", "--output", default="paint.png", help="the file [paint.png]")
    args = parser.parse_args()
    if args.figure == "paint" and args.n < 1 + args.interpolate:
        parser.error(f"-n is {args.n}, expected at least {1 + args.interpolate}")
    if args.figure == "paint" and Path(args.output).suffix not in (".png", ".jpg", ".jpeg"):
        parser.error(f"--output is {args.output}, expected a file name that ends in .png or .jpg")
    if args.figure != "paint" and (args.output.suffix in (".png", ".gif") or args.output.is_file()):
        parser.error(f"--output is {args.output}, expected a folder")
    if "points" in args and args.points < 2:
        parser.error(f"--points is {args.points}, expected at least 2")
    return args


def main():
    args = parse_args()
    if args.figure == "paint":
        return paint_run(args)
    args.output.mkdir(parents=True, exist_ok=True)
    groups, failures = find_groups(args.paths), []
    tasks = max(group.tasks for group in groups)
    if not 0 <= getattr(args, "category", 0) < tasks:
        sys.exit(f"error: --category is {args.category}, expected 0 to {tasks - 1}, one that the runs learn")
    for name in FIGURES if args.figure == "all" else [args.figure]:
        try:
            FIGURES[name](groups, args)
        except SystemExit as error:
            failures.append(str(error))
    if skipped:
        failures.append("error: skipped, not readable as ours: " + "; ".join(dict.fromkeys(skipped)))
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
