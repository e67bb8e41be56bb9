"""Real and generated images of one category in the judge's features (MeRGAN figure 4)."""

import sys

import torch

from pictures.canvas import INSTALL, plt, save
from pictures.groups import setting
from scoring.drawing import SavedGenerator, whole_groups
from scoring.judge import embed
from scoring.reference import Reference
from scoring.runs import compare_data
from support.progress import progress

COLOURS = ["#5A5A5A", "#D55E00"]  # of real images and of generated ones


def draw(groups, output, category, tasks, points, problems, data_dir, cache_dir):
    """A t-SNE for each method and task. Writes output/tsne.png.

    category: its name. tasks: those after which, None: first, middle and last. points: real images,
    and as many generated ones. data_dir, cache_dir: None: those of the run.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        sys.exit(f"error: figures.py tsne needs scikit-learn; {INSTALL}")
    run = groups[0].run
    if run.path.is_file():
        sys.exit(f"error: {run.path} holds only scores; tsne needs the generators of runs")
    data = run.data(data_dir=data_dir, cache_dir=cache_dir)
    reference = Reference(data)
    for run in (group.run for group in groups):
        try:
            compare_data(run, reference)
        except ValueError as error:
            sys.exit(f"error: {run.path} ({error})")
    if category not in reference.names:
        names = ", ".join(reference.names)
        sys.exit(f"error: no run has saved a generator yet; the categories are {names}")
    reference.open_judge()
    of_category = reference.test_labels == reference.names.index(category)
    real = embed(reference.judge, reference.test_images[of_category][:points])
    if tasks is None:
        first = reference.names.index(category) // run.categories_per_task + 1
        last = max(group.tasks for group in groups)
        tasks = sorted({first, (first + last) // 2, last})
    outside = [task for task in tasks if not 1 <= task <= max(group.tasks for group in groups)]
    if outside:
        sys.exit(f"error: --tasks {outside[0]}: no run has such a task; they count from 1")
    figure, axes = plt.subplots(
        len(groups),
        len(tasks),
        figsize=(2 * len(tasks) + 0.6, 1.9 * len(groups) + 0.8),
        squeeze=False,
        layout="compressed",
    )
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    for row, group in zip(axes, groups):
        row[0].set_ylabel(group.heading, fontsize=9)
    places = [(ax, g, task) for row, g in zip(axes, groups) for ax, task in zip(row, tasks)]
    for ax, group, task in progress(places, "drawing t-SNE", seconds=5):
        images = paint(group.run.task(task), category, len(real), problems)
        if images is None:
            continue
        features = torch.cat([real, embed(reference.judge, images)]).numpy()
        network = TSNE(init="pca", random_state=0, perplexity=min(30, len(real) / 2))
        points = network.fit_transform(features)
        parts = {"real": points[: len(real)], "generated": points[len(real) :]}
        for (name, part), colour in zip(parts.items(), COLOURS):
            ax.scatter(*part.T, s=2, color=colour, linewidths=0, alpha=0.6, label=name)
    for ax, task in zip(axes[0], tasks):
        ax.set_title(f"after task {task}", fontsize=9)
    entries = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            entries[label] = handle
    below = dict(loc="outside lower center", ncols=2, markerscale=4, fontsize=9)
    figure.legend(entries.values(), entries.keys(), **below)
    title = f"real and generated images of {category}, as a classifier sees them (t-SNE)"
    figure.suptitle(f"{title}\n{setting(groups)}", fontsize=10)
    save(figure, output / "tsne.png")


def paint(path, name, n, problems):
    """At most n images [n, C, H, W] of one category by a saved generator; None if there is no file,
    or the generator has not learned it. problems: a file that cannot be read is added.
    """
    if not path.exists():
        return None
    try:
        generator = SavedGenerator.load(path)
    except Exception as error:
        problems.append(f"{path} is not readable as ours ({type(error).__name__})")
        return None
    if generator.categories.index(name) not in generator.seen:
        return None
    images = generator.draw(generator.categories.index(name), whole_groups(n))[:n]
    return images if len(images) else None
