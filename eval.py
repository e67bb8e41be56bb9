"""Score every saved generator of every run as the papers do, and print a table over runs.

    python eval.py runs                          # every run under runs/
    python eval.py runs/mnist__mergan_ra__1      # one run
    python eval.py runs > results.md             # the table alone goes to standard output; --csv: a row a run
    python eval.py results/mnist_cpu/*.json      # the table of runs scored before, from copies of their eval.json

Writes eval.json into each run. Lists have one entry a category, matrices one row a task; null: not seen, or no file.
    accuracy, average_accuracy
        percent of generated images that the judge, a classifier trained on real images, takes for the category asked
        for: a matrix, and its mean over the seen categories after each task; a generator that cannot be asked (dgr.py)
        is scored on the images that its solver takes for the category, 0 if there are none (draw_by_solver)
    forgetting, backward_transfer
        percentage points, after the last task (definitions: the functions of these names)
    fid
        "test", "train": against real images of these splits, each {"all", "per_category": after the last task,
        "all_by_task", "matrix"}; "floor": what real training images would get for "all", {"test", "train"};
        "features": their kind; "samples", "samples_per_category": images a side (of dgr.py fewer, where its solver
        finds fewer)
    reverse_accuracy, reverse_accuracy_ceiling
        percent of real test images of the seen categories that a classifier trained on generated images alone gets
        right, after the last task; the same trained on real images
    diversity
        after the last task: mean distance between two images of a category in the judge's features, as a share of
        that between two real ones; near 0 where a generator collapsed
    intermediate
        with --intermediate-samples: [{"task", "step", "accuracy", "fid_test", "fid_train", "fid_samples"}]
    judge_accuracy, data (a digest of real images and judge), samples, statistics, minutes (of training), arguments
"""

import argparse
import contextlib
import csv
import functools
import hashlib
import inspect
import json
import os
import statistics
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from common import DownBlock, Judge, ResidualBlock, cache_folder, data_options, load_dataset, make_generator, normalise

# MeRGAN, table 1: accuracy in percent, by data set and number of tasks.
PAPER = {
    ("mnist", 5): dict(joint=97.66, sft=19.87, ewc=70.62, dgr=90.39, mergan_jtr=97.93, mergan_ra=98.19),
    ("mnist", 10): dict(joint=96.92, sft=10.06, ewc=77.03, dgr=85.40, mergan_jtr=97.00, mergan_ra=97.01),
}
METHODS = ["joint", "sft", "ewc", "rewc", "dgr", "mergan_jtr", "mergan_ra"]  # the paper's order; others follow
# Options that change no result, or whose effect is compared otherwise.
ELSEWHERE = "run_dir data_dir cache_dir data overwrite log_every checkpoint_every snapshots cuda_graph hardware".split()
# What runs did before these options came.
BEFORE = dict(categories="", images_per_category=None, image_size=32, crop=False, conditioning="cbn", processes=1)
SETTING = ("dataset", "num_tasks", "iters", "batch_size", "learning_rate", "width")  # a table for each
JUDGE_EPOCHS, JUDGE_STEPS = 4, 800
PATIENCE = 4  # z per image, where the solver has to find images of a category among all
SOURCES = [Path(__file__), Path(__file__).with_name("common.py")]  # a cached score is of this very code


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = lambda *names, **kwargs: parser.add_argument(*names, **{**kwargs, "help": kwargs["help"] + " [%(default)s]"})
    parser.add_argument(
        "paths", nargs="+", metavar="RUN_OR_DIR", help="runs, folders that hold some, or eval.json files"
    )
    add("--data-dir", default=None, help="folder of the real data; None: where the run found it")
    add("--cache-dir", default=None, help="as in the method scripts; None: the run's")
    add("--samples", type=int, default=6400, help="images per category and snapshot, a multiple of 64 (authors' code)")
    add("--intermediate-samples", type=int, default=0, help="the same for snapshots inside tasks; 0: not scored")
    add("--statistics", choices=("batch", "standing"), default="batch", help="when drawing; authors' code: batch")
    add("--fid-features", choices=("judge", "inception"), default="judge", help="the judge's 128 or Inception's 2048")
    add("--fid-samples", type=int, default=10000, help="images a side over all categories, where the data has as many")
    add("--inception-weights", default=None, help="file of Inception's weights; None: torch-fidelity downloads it")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: cuda where there is one")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--markdown", action="store_true", help="print tables, mean ± standard deviation over seeds [this]"
    )
    form.add_argument("--csv", action="store_true", help="print one row a run")
    args = parser.parse_args()
    for name, least in [("samples", 64), ("intermediate_samples", 0)]:
        if getattr(args, name) < least or getattr(args, name) % 64:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}, expected a multiple of 64")
    if args.inception_weights and not Path(args.inception_weights).is_file():
        parser.error(f"--inception-weights is {args.inception_weights}, expected torch-fidelity's file")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device is cuda, but PyTorch sees no CUDA GPU; use --device cpu, or install a CUDA build")
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    return args


def complete(arguments):
    """The arguments of a run, with those options that it is too old to have."""
    replay = {"replay": "share"} if arguments["method"].startswith("mergan") else {}
    return BEFORE | replay | arguments


def digest(*parts):
    """SHA-256 over files (Path), tensors and values that JSON can hold: the name under which a score is cached."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            data = part.read_bytes()
        else:
            data = part.contiguous().numpy() if torch.is_tensor(part) else json.dumps(part).encode()
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()


def cached(path, key, compute):
    """The value of compute() (JSON), kept in the file at path under a key that names all it depends on."""
    try:
        cache = dict(json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        cache = {}
    if key not in cache:
        cache[key] = compute()
        write_json(path, cache)
    return cache[key]


def write_json(path, value):
    """Write in one step: a kill never leaves half a file."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(temporary, path)


# ---------------------------------------------------------------------------------------------------------------------
# Classifiers: the judge, and those trained on generated images


def train_classifier(images, labels, num_categories, device, name, seed=0):
    """A Judge trained on uint8 images [N, C, H, W] and labels int64 [N]: fixed schedule, last epoch, eval mode.

    Colour images, of which there may be few, are learned for at least JUDGE_STEPS steps, each batch shifted at random.
    """
    torch.manual_seed(seed)
    judge = Judge(num_categories, *images.shape[1:3]).to(device, memory_format=torch.channels_last)
    images, labels = images.to(device), labels.to(device)
    batches = -(-len(images) // 128)
    colour, size = images.shape[1] == 3, images.shape[-1]
    epochs = max(JUDGE_EPOCHS, -(-JUDGE_STEPS // batches)) if colour else JUDGE_EPOCHS
    optimizer = torch.optim.Adam(judge.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * batches)
    bf16 = device == "cuda" or torch.cpu._is_avx512_bf16_supported()
    for epoch in range(epochs):
        for index in torch.randperm(len(images), device=device).chunk(batches):
            batch = normalise(images[index])
            if colour:
                top, left = torch.randint(size // 4 + 1, (2,)).tolist()
                batch = F.pad(batch, [size // 8] * 4, mode="reflect")[:, :, top : top + size, left : left + size]
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                loss = F.cross_entropy(judge(batch).float(), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if (epoch + 1) % (epochs // JUDGE_EPOCHS) == 0:
            print(f"{name}: epoch {epoch + 1}/{epochs}, loss {loss.item():.4f}", file=sys.stderr)
    return judge.eval()


JUDGE_RECIPE = [
    inspect.getsource(Judge),
    inspect.getsource(ResidualBlock),
    inspect.getsource(DownBlock),
    inspect.getsource(train_classifier),
    JUDGE_EPOCHS,
    JUDGE_STEPS,
]  # another one, another judge


@torch.no_grad()
def embed(judge, images):
    """The judge's features, float32 [N, 128], of images [N, C, H, W], uint8 or already normalised."""
    device = next(judge.parameters()).device
    chunks = (chunk.to(device) for chunk in images.split(256))
    return torch.cat([judge.body(normalise(c) if c.dtype == torch.uint8 else c) for c in chunks])


@torch.no_grad()
def percent_right(judge, features, labels):
    """Percent of features [N, 128] that the judge gives their labels (int64 [N], or one int for all)."""
    return 100 * (judge.head(features).argmax(1).cpu() == labels).double().mean().item()


# ---------------------------------------------------------------------------------------------------------------------
# Scores


@torch.no_grad()
def draw_by_solver(generator, samples, seed, convert):
    """Images of an unconditional generator (dgr.py), {category: at most `samples` of those its solver takes for it}.

    z are drawn until every category that was learned has its images, but no more than PATIENCE times as many as asked
    for over all: a category that is rare among the images has fewer, and one that the solver never names has none.
    """
    random, y = torch.Generator().manual_seed(seed), generator.seen.new_zeros(4)
    found = {category: [] for category in generator.seen.tolist()}
    missing = dict.fromkeys(found, samples)
    for _ in range(-(-PATIENCE * len(found) * samples // 256)):
        images = generator(torch.randn(256, generator.config["latent_dim"], generator=random).to(y.device), y)
        named = generator.solver(images).argmax(1)
        for category in [category for category, count in missing.items() if count > 0]:
            found[category].append(convert(images[named == category][: missing[category]]))
            missing[category] -= len(found[category][-1])
        if max(missing.values()) <= 0:
            break
    return {category: torch.cat(parts) for category, parts in found.items()}


@torch.no_grad()
def draw(generator, category, samples, seed=0, convert=lambda images: images):
    """samples images [N, C, H, W] of one category, in groups of 64 as in training; the same z for every generator.

    Of a generator with a solver there may be fewer, or none: draw_by_solver().
    """
    if getattr(generator, "solver", None):
        key = (samples, seed, convert)
        if getattr(generator, "drawn_key", None) != key:  # all categories at once, the first time
            generator.drawn_key, generator.drawn = key, draw_by_solver(generator, *key)
        return generator.drawn[category]
    device = generator.linear.weight.device
    z = torch.randn(samples, generator.config["latent_dim"], generator=torch.Generator().manual_seed(seed)).to(device)
    y = torch.tensor([category], device=device)
    return torch.cat([convert(generator(c, y.expand(len(c) // 64))) for c in z.split(256)])


def pixels(images):
    """Images in [−1, 1] → uint8, as a file would hold them."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def fid(a, b):
    """Fréchet distance ‖μ₁ − μ₂‖² + Tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) of two sets of features [N, D], [M, D] (Heusel 2017).

    Covariances with N − 1. With centred features X/√(N−1) = QR, Σ = RᵀR, and Tr((Σ₁Σ₂)^½) is the sum of the singular
    values of R₁R₂ᵀ: no square root of a matrix, so nothing turns imaginary where covariances are singular.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"FID needs at least 2 images a side, got {len(a)} and {len(b)}")
    (mean_a, r_a), (mean_b, r_b) = (
        (x.mean(0), torch.linalg.qr((x - x.mean(0)) / (len(x) - 1) ** 0.5, mode="r").R)
        for x in (a.double().cpu(), b.double().cpu())  # where the singular values come faster than from a GPU
    )
    trace = r_a.square().sum() + r_b.square().sum() - 2 * torch.linalg.svdvals(r_a @ r_b.T).sum()
    return max(0.0, ((mean_a - mean_b).square().sum() + trace).item())


def mean_distance(features):
    """Mean Euclidean distance over all pairs of features [N, D]."""
    return F.pdist(features.float()).mean().item()


def forgetting(matrix):
    """Mean over all but the newest category: best accuracy after earlier tasks minus the final one (Chaudhry 2018).

    matrix: rows after each task, columns categories, None where not seen. Percentage points; None if a row is missing.
    """
    if len(matrix) < 2 or None in matrix:
        return None
    past = [c for c, value in enumerate(matrix[-2]) if value is not None]
    return statistics.fmean(max(row[c] for row in matrix[:-1] if row[c] is not None) - matrix[-1][c] for c in past)


def backward_transfer(matrix):
    """Mean over all but the newest category: final accuracy minus that when just learned (Lopez-Paz & Ranzato 2017).

    matrix as in forgetting(). Percentage points, negative where the category got worse; None if a row is missing.
    """
    if len(matrix) < 2 or None in matrix:
        return None
    past = [c for c, value in enumerate(matrix[-2]) if value is not None]
    learned = {c: next(row[c] for row in matrix if row[c] is not None) for c in past}
    return statistics.fmean(matrix[-1][c] - learned[c] for c in past)


def inception(weights, device):
    """torch-fidelity's Inception network of 2015-12-05: a function from uint8 images to features [N, 2048]."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        sys.exit("error: --fid-features inception needs torch-fidelity; install it with: "
                 "python -m pip install -r requirements-extras.txt")  # fmt: skip
    try:
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=weights)
    except Exception as error:
        sys.exit(f"error: Inception's weights could not be {'read from ' + weights if weights else 'downloaded'} "
                 f"({type(error).__name__}); get torch-fidelity's file and name it by --inception-weights")  # fmt: skip
    network = network.to(device).eval()

    @torch.no_grad()
    def features(images):
        rgb = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        return torch.cat([network(chunk.to(device))[0] for chunk in rgb.split(64)])

    return features


class Reference:
    """The real side of a data set's scores: its images, the judge trained on them, and what real images would score."""

    def __init__(self, data, args):
        """data: data_options of a run; args: those of eval.py."""
        folder = cache_folder(**data)
        self.args, self.cache = args, folder / "eval_cache.json"
        with contextlib.redirect_stdout(sys.stderr):  # standard output is the table's
            images, self.labels, self.names = load_dataset(split="train", **data)
            test_images, self.test_labels, _ = load_dataset(split="test", **data)
        folder.mkdir(parents=True, exist_ok=True)
        self.images, self.test_images = map(torch.as_tensor, (images, test_images))
        path = folder / f"judge-{data['dataset']}-{digest(self.images, self.labels, JUDGE_RECIPE)[:8]}.pt"
        layout = dict(device=args.device, memory_format=torch.channels_last)
        self.judge = Judge(len(self.names), *self.images.shape[1:3]).to(**layout).eval()
        try:
            self.judge.load_state_dict(torch.load(path, map_location=args.device, weights_only=True))
        except FileNotFoundError:
            self.judge = train_classifier(self.images, self.labels, len(self.names), args.device, "judge")
            torch.save(self.judge.state_dict(), f"{path}.tmp")
            os.replace(f"{path}.tmp", path)
        except Exception as error:
            sys.exit(f"error: {path} is damaged or not ours ({type(error).__name__}); delete it to train a new judge")
        real = (self.images, self.labels, self.test_images, self.test_labels)
        self.data = digest(*real, *(weight.cpu() for weight in self.judge.state_dict().values()))
        self.key = digest(*SOURCES, self.data, args.device)
        weights = Path(args.inception_weights) if args.fid_features == "inception" and args.inception_weights else ""
        self.fid_key = digest(self.key, weights, args.fid_features, args.fid_samples)
        self.accuracy = cached(self.cache, digest(self.key, "judge"), self.judge_accuracy)
        told = f"judge: {self.accuracy:.2f} % of {len(self.test_labels)} real test images right ({path})"
        print(told, file=sys.stderr)
        if self.accuracy < 90:
            print("judge: warning: below 90 %, so the scores below mean little", file=sys.stderr)

    def judge_accuracy(self):
        return percent_right(self.judge, embed(self.judge, self.test_images), self.test_labels)

    @functools.cached_property
    def inception(self):
        return inception(self.args.inception_weights, self.args.device)

    def features(self, images):
        """FID's features of images in [−1, 1] or uint8."""
        if self.args.fid_features == "judge":
            return embed(self.judge, images)
        return self.inception(images if images.dtype == torch.uint8 else pixels(images))

    def count(self, category, tasks, samples):
        """Images of a category on a side of FID: at most those drawn, the real test ones, half the training ones."""
        real = [(self.test_labels == category).sum().item(), (self.labels == category).sum().item() // 2]
        return min(samples, self.args.fid_samples // tasks, *real)

    @functools.cache
    def real(self, split, category):
        """FID's features of a category's real images, shuffled once; "rest": training images not in "train"."""
        images, labels = (self.test_images, self.test_labels) if split == "test" else (self.images, self.labels)
        index = (labels == category).nonzero().squeeze(1)
        index = index[torch.randperm(len(index), generator=torch.Generator().manual_seed(0))]
        limit = min(self.args.fid_samples, len(index) if split == "test" else len(index) // 2)
        return self.features(images[index[limit : 2 * limit] if split == "rest" else index[:limit]])

    @functools.cache
    def real_distance(self, category, n):
        """mean_distance, in the judge's features, of n real test images of a category."""
        return mean_distance(embed(self.judge, self.test_images[self.test_labels == category][:n]))

    def reverse_accuracy(self, images, labels, seen):
        """Percent right of real test images of the seen categories, by a classifier trained on the given images alone.

        Also called fitting capacity, GAN-train, or classification accuracy score. The judge's network and schedule.
        """
        classifier = train_classifier(images, labels, len(self.names), self.args.device, "reverse accuracy")
        asked = torch.isin(self.test_labels, torch.tensor(seen))
        return percent_right(classifier, embed(classifier, self.test_images[asked]), self.test_labels[asked])

    def floor(self, seen, samples):
        """FID of real training images passed off as generated, none of them in "train", against each split."""
        n = {c: self.count(c, len(seen), samples) for c in seen}
        rest = torch.cat([self.real("rest", c)[: n[c]] for c in seen])
        return {s: fid(rest, torch.cat([self.real(s, c)[: n[c]] for c in seen])) for s in ("test", "train")}

    def ceiling(self, seen):
        """Reverse accuracy of the real training images."""
        asked = torch.isin(self.labels, torch.tensor(seen))
        images = self.images if asked.all() else self.images[asked]  # which may be too many to copy
        return self.reverse_accuracy(images, self.labels[asked], seen)


def load_generator(path, args):
    """A saved generator, ready to draw, and the snapshot that it lay in."""
    snapshot = torch.load(path, map_location=args.device, weights_only=True)
    generator = make_generator(**snapshot["config"]).to(args.device, memory_format=torch.channels_last)
    generator.load_state_dict(snapshot["generator"])
    if args.statistics == "standing" and "_step_" in path.name:  # inside a task: still those of the last one
        generator.update_standing_statistics([0] if "solver" in snapshot else snapshot["seen"])
    generator.train(args.statistics == "batch")
    if "solver" in snapshot:  # of an unconditional generator, which cannot be asked for a category
        generator.seen = torch.tensor(snapshot["seen"], device=args.device)
        solver = Judge(len(snapshot["categories"]), *(generator.config[name] for name in ("channels", "image_size")))
        solver.load_state_dict(snapshot["solver"])
        generator.solver = solver.to(args.device, memory_format=torch.channels_last).eval()
    return generator, snapshot


def score_snapshot(path, reference, tasks, samples, args):
    """Accuracy, FID and diversity of one saved generator, by category and over all that it has seen."""
    generator, snapshot = load_generator(path, args)
    columns = [None] * len(snapshot["categories"])
    scores = {name: columns.copy() for name in ("accuracy", "diversity", "fid_test", "fid_train")}
    drawn, real, counts = [], {"test": [], "train": []}, []
    for category in snapshot["seen"]:
        images = draw(generator, category, samples)
        n, judged = reference.count(category, tasks, samples), embed(reference.judge, images)
        scores["accuracy"][category] = percent_right(reference.judge, judged, category) if len(images) else 0.0
        spread = mean_distance(judged[:n]) if len(images) > 1 else 0.0
        scores["diversity"][category] = spread / reference.real_distance(category, n)
        counts.append(n)
        drawn.append(judged[:n] if args.fid_features == "judge" else reference.features(images[:n]))
        for split in real:
            real[split].append(reference.real(split, category)[:n])
            scores[f"fid_{split}"][category] = fid(drawn[-1], real[split][-1]) if len(images) > 1 else None
    for split in real:
        scores[f"fid_{split}_all"] = fid(torch.cat(drawn), torch.cat(real[split])) if sum(map(len, drawn)) > 1 else None
    scores["average_accuracy"] = statistics.fmean(v for v in scores["accuracy"] if v is not None)
    return scores | {"fid_samples": counts, "seen": snapshot["seen"]}


def score_reverse(path, reference, args):
    """Reverse accuracy of one saved generator, from as many images as the real training set has, balanced."""
    generator, snapshot = load_generator(path, args)
    seen = snapshot["seen"]
    each = torch.isin(reference.labels, torch.tensor(seen)).sum().item() // len(seen)
    images = [draw(generator, c, -(-each // 64) * 64, seed=1, convert=pixels)[:each] for c in seen]
    if not sum(map(len, images)):  # by a solver that names none of them
        return 0.0
    labels = torch.tensor(seen).repeat_interleave(torch.tensor(list(map(len, images))))
    return reference.reverse_accuracy(torch.cat(images), labels, seen)


def score(run, reference, args):
    """All scores of one run, written to its eval.json. Returns (results, names of broken files)."""
    arguments = complete(json.loads((run / "args.json").read_text()))
    tasks, broken = arguments["num_tasks"], []
    if args.fid_samples < 2 * tasks:
        raise ValueError(f"--fid-samples is {args.fid_samples}, expected at least 2 for each of the {tasks} tasks")

    def attempt(path, what, compute, *key):
        def told():
            print(f"scoring {path}: {what}", file=sys.stderr)
            return compute()

        try:
            return cached(run / "eval_cache.json", digest(*key, path, args.statistics, what), told)
        except Exception as error:
            broken.append(f"{path} ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})")

    def attempt_snapshot(path, samples):
        compute = lambda: score_snapshot(path, reference, tasks, samples, args)
        return attempt(path, f"{samples} images a category", compute, reference.fid_key, tasks)

    log = run / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text().split("\n")[:-1]] if log.exists() else []  # whole lines
    paths = [run / f"task_{task + 1}.pt" for task in range(tasks)]
    there = [task for task, path in enumerate(paths) if path.exists()]
    if len(there) > 1:  # joint.py saves one generator alone
        broken += [f"{path} (missing)" for path in paths[: there[-1]] if not path.exists()]
    rows = [attempt_snapshot(path, args.samples) if path.exists() else None for path in paths]
    column = lambda name: [row and row[name] for row in rows]
    last, reverse, floor, ceiling = rows[-1], None, None, None
    if last:
        compute = lambda: score_reverse(paths[-1], reference, args)
        reverse = attempt(paths[-1], "reverse accuracy", compute, reference.key)
        key = digest(reference.fid_key, "floor", last["seen"], args.samples)
        floor = cached(reference.cache, key, lambda: reference.floor(last["seen"], args.samples))
        key = digest(reference.key, "ceiling", last["seen"])
        ceiling = cached(reference.cache, key, lambda: reference.ceiling(last["seen"]))
    fids = {
        split: {
            "all": last and last[f"fid_{split}_all"],
            "per_category": last and last[f"fid_{split}"],
            "all_by_task": column(f"fid_{split}_all"),
            "matrix": column(f"fid_{split}"),
        }
        for split in ("test", "train")
    }
    intermediate, inside = [], {}
    if args.intermediate_samples:
        inside = {tuple(map(int, path.stem.split("_")[1::2])): path for path in run.glob("snapshots/task_*_step_*.pt")}
        steps = {line["task"]: line["step"] for line in lines}  # the last of each task
        inside |= {(task + 1, steps.get(task + 1, arguments["iters"])): paths[task] for task in there}
    for (task, step), path in sorted(inside.items()):
        scores = attempt_snapshot(path, args.intermediate_samples)
        if scores:
            lists = {name: scores[name] for name in ("accuracy", "fid_test", "fid_train", "fid_samples")}
            intermediate.append({"task": task, "step": step, **lists})
    results = {
        "average_accuracy": column("average_accuracy"),
        "accuracy": column("accuracy"),
        "forgetting": last and forgetting(column("accuracy")),
        "backward_transfer": last and backward_transfer(column("accuracy")),
        "fid": {
            **fids,
            "floor": floor,
            "features": args.fid_features,
            "samples": last and sum(last["fid_samples"]),
            "samples_per_category": last and last["fid_samples"],
        },
        "reverse_accuracy": reverse,
        "reverse_accuracy_ceiling": ceiling,
        "diversity": last and last["diversity"],
        "intermediate": intermediate,
        "judge_accuracy": reference.accuracy,
        "data": reference.data[:8],
        "samples": args.samples,
        "statistics": args.statistics,
        "minutes": lines[-1]["elapsed"] / 60 if lines else None,
        "arguments": {k: v for k, v in arguments.items() if k not in ELSEWHERE or k == "hardware"},
    }
    write_json(run / "eval.json", results)
    return results, broken


# ---------------------------------------------------------------------------------------------------------------------
# Tables


def mean(values):
    """Mean of the values that exist; None if there is none."""
    values = [value for value in values or [] if value is not None]
    return statistics.fmean(values) if values else None


def mean_std(values, digits=2):
    """'mean ± standard deviation' of the values that exist; '–' if there is none, no spread if there is one."""
    values = [value for value in values if value is not None]
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else "–"
    return f"{statistics.fmean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def final_scores(result):
    """The scores of a run after its last task, by the names that tables give them."""
    fids = {f"FID {split}": result["fid"][split]["all"] for split in ("test", "train")}
    scores = {"accuracy %": result["average_accuracy"][-1], **fids, "reverse accuracy %": result["reverse_accuracy"]}
    scores |= {"forgetting": result["forgetting"], "backward transfer": result["backward_transfer"]}
    return scores | {"diversity": mean(result["diversity"])}


def rank(method):
    """Where a method stands in tables and figures."""
    return METHODS.index(method) if method in METHODS else len(METHODS)


def labels_of(rows):
    """The name of each set of arguments: its method, and the options in which sets of the same method differ."""
    labels = []
    for own in rows:
        twins = [other for other in rows if other["method"] == own["method"]]
        differing = [f"{k}={v}" for k, v in own.items() if any(other.get(k) != v for other in twins)]
        labels.append(" ".join([own["method"], *differing]))
    return labels


def markdown(results):
    """Tables over runs, one for each setting; runs that differ in the seed alone share a row.

    The setting is what every method has in common; a method's rows that differ in other options name them.
    """
    tables = {}
    for result in results:
        arguments = complete(result["arguments"])
        own = {k: v for k, v in arguments.items() if k not in (*SETTING, "seed", *ELSEWHERE)}
        scored = (result["fid"]["features"], result["samples"], result["statistics"], result["data"])
        rows = tables.setdefault((*(arguments[name] for name in SETTING), scored), {})
        rows.setdefault(json.dumps(own, sort_keys=True), []).append(result)
    lines = []
    for (*values, (features, samples, normalisation, data)), rows in tables.items():
        names = dict(zip(SETTING, values))
        if sum(key[:-1] == tuple(values) for key in tables) > 1:
            names["real_data_and_judge"] = data
        lines += ["", "**" + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in names.items()) + "**", ""]
        lines += [f"Accuracy on {samples} images a category, {normalisation} statistics; "
                  "columns 0, 1, … are the categories. " + legend(rows, features), ""]  # fmt: skip
        tasks, (accuracy, *scores) = names["num_tasks"], final_scores(results[0])
        papers = {t: paper for (dataset, t), paper in PAPER.items() if dataset == names["dataset"] and t < tasks}
        papers[tasks] = PAPER.get((names["dataset"], tasks), {})  # accuracies beside the paper's, the last one last
        header = ["method", "n"]
        header += [title for t in papers for title in (accuracy if t == tasks else f"after {t} tasks %", "paper")]
        header += [*scores, *map(str, range(tasks)), "minutes"]
        lines += ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
        parsed = [json.loads(own) for own in rows]
        labelled = zip(parsed, labels_of(parsed), rows.values())
        for own, label, runs in sorted(labelled, key=lambda row: rank(row[0]["method"])):
            runs = [run for run in runs if run["accuracy"][-1]] or runs[:1]  # those that are finished
            final = [run["accuracy"][-1] or [None] * tasks for run in runs]
            n = sum(run["accuracy"][-1] is not None for run in runs)
            cells = [label, str(n)]
            for t, paper in papers.items():
                after = mean_std([run["average_accuracy"][t - 1] for run in runs])
                cells += [after, str(paper.get(own["method"], "–"))]
            cells += [mean_std([final_scores(run)[name] for run in runs]) for name in scores]
            cells += [mean_std(column, 1) for column in list(zip(*final))[:tasks]]
            cells += [mean_std([run["minutes"] for run in runs], 1)]
            lines += ["| " + " | ".join(cells) + " |"]
    return "\n".join(lines[1:])


def legend(rows, features):
    """What stands behind a table's scores: kind of features, counts, and what real images would score."""
    runs = [run for runs in rows.values() for run in runs if run["fid"]["samples"]]
    if not runs:
        return f"FID of {features} features."
    values = lambda pick: "/".join(sorted({str(pick(run)) for run in runs}))
    floor = lambda split: values(lambda run: f"{run['fid']['floor'][split]:.2f}")
    hardware = " or ".join(sorted({run["arguments"]["hardware"] for run in runs if "hardware" in run["arguments"]}))
    return (
        f"FID of {features} features, {values(lambda run: run['fid']['samples'])} images a side; "
        f"real training images would get FID {floor('test')} (test) and {floor('train')} (train), and reverse accuracy "
        f"{values(lambda run: format(run['reverse_accuracy_ceiling'], '.2f'))} %. "
        f"The judge gets {values(lambda run: format(run['judge_accuracy'], '.2f'))} % of real test images right."
        + (f" Trained on: {hardware}." if hardware else "")
    )


def write_csv(results, file):
    """One row a run: arguments, final scores, FID's features and count, each category's accuracy and FIDs."""
    rows = []
    for result in results:
        final, fids, tasks = result["accuracy"][-1] or [], result["fid"], result["arguments"]["num_tasks"]
        row = result["arguments"] | {
            name.removesuffix(" %").replace(" ", "_").lower(): value for name, value in final_scores(result).items()
        }
        row |= {f"fid_{name}": fids[name] for name in ("features", "samples")}
        row |= {f"fid_floor_{split}": (fids["floor"] or {}).get(split) for split in ("test", "train")}
        names = ("reverse_accuracy_ceiling", "judge_accuracy", "data", "samples", "statistics", "minutes")
        row |= {name: result[name] for name in names}
        row |= {f"accuracy_{c}": value for c, value in enumerate(final[:tasks])}
        for split in ("test", "train"):
            of_category = enumerate((fids[split]["per_category"] or [])[:tasks])
            row |= {f"fid_{split}_{c}": value for c, value in of_category}
        rows.append(row)
    columns = dict.fromkeys(name for row in rows for name in row)  # a method's own options are empty in others' rows
    table = csv.DictWriter(file, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)


def main():
    args = parse_args()
    scored = [Path(path) for path in args.paths if path.endswith(".json")]
    runs = sorted({path.parent for root in args.paths for path in Path(root).rglob("args.json")})
    if not runs + scored:
        sys.exit(f"error: no run (a folder with args.json) in {', '.join(args.paths)}; train one with: python sft.py")
    references, results, broken = {}, [], []
    for path in scored:
        try:
            result = json.loads(path.read_text())
            markdown([result])  # which needs most of what there is
            results.append(result)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            broken.append(f"{path} ({type(error).__name__}: {error})")
    for run in runs:
        try:
            arguments = json.loads((run / "args.json").read_text())
            if not {"method", "seed", *SETTING} <= arguments.keys() or not 1 <= arguments["num_tasks"] < 10**4:
                raise ValueError("not the arguments of a method script")
            arguments = complete(arguments)
            data = data_options(arguments) | {"data_dir": args.data_dir or arguments["data_dir"]}
            data |= {"cache_dir": args.cache_dir} if args.cache_dir else {}
            source = json.dumps(data, sort_keys=True)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            broken.append(f"{run / 'args.json'} ({type(error).__name__}: {error})")
            continue
        try:
            if source not in references:
                references[source] = Reference(data, args)
        except SystemExit as error:  # data that cannot be had
            broken.append(f"{run} ({error})")
            continue
        try:
            result, unreadable = score(run, references[source], args)
            results.append(result)
            broken += unreadable
        except Exception as error:
            broken.append(f"{run} ({type(error).__name__}: {error})")
    if results:
        write_csv(results, sys.stdout) if args.csv else print(markdown(results))
    if broken:
        sys.exit("error: not scored: " + "; ".join(broken))


if __name__ == "__main__":
    main()
