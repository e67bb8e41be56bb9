"""Real and generated images of one category in the judge's features (MeRGAN figure 4)."""

import sys

import torch

from pictures.canvas import INSTALL, plain, plt, save_figure
from pictures.groups import choose, need_runs, setting
from pictures.paint import open_generator
from scoring.drawing import whole_groups
from scoring.judge import embed
from scoring.reference import Reference
from scoring.runs import compare_data
from support.progress import progress

POINTS = 500  # real images at most, and as many generated ones
COLOURS = {"real": "#5A5A5A", "generated": "#D55E00"}


def draw(groups, output, category, tasks, data_dir, cache_dir):
    """A t-SNE for each method and task. Writes output/tsne.png.

    category: its name or its index, as text. tasks: those after which, None: first, middle and
    last. data_dir, cache_dir: None: those of the run.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        sys.exit(f"error: figures.py tsne needs scikit-learn; {INSTALL}")
    need_runs(groups, "tsne")
    run = groups[0].run
    data = run.data(data_dir=data_dir, cache_dir=cache_dir)
    reference = Reference(data)
    for group in groups:
        try:
            compare_data(group.run, reference)
        except ValueError as error:
            sys.exit(f"error: {group.run.path} ({error})")
    category = choose(category, reference.names)
    last = max(group.run.tasks for group in groups)
    if tasks is None:
        first = category // run.categories_per_task + 1
        if first > last:
            sys.exit(f"error: no run has learned {reference.names[category]}; choose --category")
        tasks = sorted({first, (first + last) // 2, last})
    for task in tasks:
        if not 1 <= task <= last:
            sys.exit(f"error: --tasks {task}: no run has such a task; they count from 1")

    reference.open_judge()
    of_category = reference.test_labels == category
    real = embed(reference.judge, reference.test_images[of_category][:POINTS])
    figure, axes = plt.subplots(
        len(groups),
        len(tasks),
        figsize=(2 * len(tasks) + 0.6, 1.9 * len(groups) + 0.8),
        squeeze=False,
        layout="compressed",
    )
    places = []
    for row, group in zip(axes, groups):
        row[0].set_ylabel(group.heading, fontsize=9)
        for ax, task in zip(row, tasks):
            ax.set(xticks=[], yticks=[])
            places.append((ax, group.run.task(task)))
    for ax, path in progress(places, "drawing t-SNE"):
        images = painted(path, category, len(real))
        if len(images) == 0:
            continue
        features = torch.cat([real, embed(reference.judge, images)]).numpy()
        network = TSNE(init="pca", random_state=0, perplexity=min(30, len(real) / 2))
        points = network.fit_transform(features)
        for part, colour in zip((points[: len(real)], points[len(real) :]), COLOURS.values()):
            ax.scatter(*part.T, s=2, color=colour, linewidths=0, alpha=0.6)

    for ax, task in zip(axes[0], tasks):
        ax.set_title(f"after task {task}", fontsize=9)
    dots = [plt.scatter([], [], s=2, color=colour, linewidths=0) for colour in COLOURS.values()]
    below = {"loc": "outside lower center", "ncols": 2, "markerscale": 4, "fontsize": 9}
    figure.legend(dots, COLOURS.keys(), **below)
    name = plain(reference.names[category])
    title = f"real and generated images of {name}, as a classifier sees them (t-SNE)"
    figure.suptitle(f"{title}\n{setting(groups)}", fontsize=10)
    save_figure(figure, output / "tsne.png")


def painted(path, category, n):
    """At most n images [n, C, S, S] of a category by a saved generator; none where there is no
    file, or the generator has not learned the category.
    """
    if not path.exists():
        return []
    generator = open_generator(path)
    if category not in generator.seen:
        return []
    return generator.draw(category, whole_groups(n))[:n]
