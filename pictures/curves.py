"""Accuracy over training: of the older categories, and of each (MeRGAN figure 6)."""

import sys

import numpy as np

from pictures.canvas import plain, plt, save_figure
from pictures.groups import how_to_score, setting
from pictures.scores import scores_of

APART = 5.5  # percent between the names of two lines


def draw(groups, output, problems):
    """Writes output/curves.png and output/curves_by_category.png.

    problems: a list, to which runs that are not scored or not finished are added.
    """
    scores = scores_of([run for group in groups for run in group.runs])
    for run, found in scores.items():
        if found is None:
            problems.append(f"{run.path} has no eval.json; {how_to_score(run)}")
        elif found.final is None:
            problems.append(
                f"{run.path} was not finished when it was scored, so curves leaves it out"
            )
    courses = []
    for group in groups:
        whole = [scores[run] for run in group.runs if scores[run] and scores[run].final]
        if whole:
            courses.append((group, whole))
    if not courses:
        sys.exit("error: no run is finished and scored; curves shows whole runs")
    draw_older(courses, output / "curves.png")
    draw_each(courses, output / "curves_by_category.png")


def draw_older(courses, path):
    """One panel: the mean accuracy of the categories of earlier tasks, a line a method."""
    figure, ax = plt.subplots(figsize=(8, 4.2))
    tasks = max(group.run.tasks for group, _ in courses)
    ends = []
    for group, scores in courses:
        last = plot(ax, group, [some.course(some.older) for some in scores], scores[0].level)
        if last is not None:
            count = f" ({len(scores)} seeds)" if len(scores) > 1 else ""
            ends.append((last, f"{plain(group.label)}{count}", group.look.colour))
    ax.set(
        xlim=(1, tasks + 0.05), ylim=(-2, 102), xlabel="tasks learned", xticks=range(1, tasks + 1)
    )
    ax.set_ylabel("accuracy of the older categories, %")
    ax.set_title(f"How much of the past is still recognised ({title(courses)})", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)

    # Names right of the lines' ends, from the top down, moved down where they would touch
    place = 100 + APART
    for height, name, colour in sorted(ends, reverse=True):
        place = min(height, place - APART)
        ax.annotate(
            name,
            xy=(1, height),
            xytext=(1.03, place),
            xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"),
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "relpos": (0, 0.5)},
            annotation_clip=False,
            color=colour,
            va="center",
            fontsize=9,
        )
    save_figure(figure, path)


def draw_each(courses, path):
    """A column a category: its accuracy, and below it its FID at the ends of tasks."""
    names = list(dict.fromkeys(name for _, scores in courses for name in scores[0].names))
    figure, axes = plt.subplots(
        2,
        len(names),
        figsize=(1.6 * len(names) + 2.8, 4.4),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for name, above, below in zip(names, *axes):
        above.set(title=plain(name), ylim=(-2, 102))
        below.set(yscale="log", xlabel="tasks learned")
        below.locator_params(axis="x", nbins=5, integer=True)
        for group, scores in courses:
            level = scores[0].level
            plot(above, group, [of_category(some, name, some.accuracy) for some in scores], level)
            plot(below, group, [of_category(some, name, some.fid) for some in scores], level)
    axes[0][0].set_ylabel("accuracy, %")
    kind = courses[0][1][0].how["FID features"]
    axes[1][0].set_ylabel(f"FID to test images,\n{kind} features")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=9)
    figure.suptitle(f"each category ({title(courses)})", fontsize=10)
    save_figure(figure, path)


def of_category(scores, name, rows):
    """The course of one category; empty if the run does not learn it."""
    if name not in scores.names:
        return []
    category = scores.names.index(name)
    return scores.course(lambda at: [category], rows)


def title(courses):
    """Data, steps and images judged, in words."""
    images = courses[0][1][0].how["samples"]
    text = setting([group for group, _ in courses], seeds=False)
    return f"{text}; images judged at the ends of tasks: {images} of each category"


def plot(ax, group, seeds, level):
    """The mean of the seeds at the moments that all share, and a band of a standard deviation.

    seeds: [(tasks learned by then, value)] of each. level: the only value holds for all tasks.
    Returns the last mean, None if there is none.
    """
    seeds = [dict(seed) for seed in seeds]
    shared = sorted(set.intersection(*map(set, seeds)))
    if not shared:
        return None
    values = np.array([[seed[at] for at in shared] for seed in seeds])
    mean = values.mean(0)
    spread = values.std(0, ddof=1) if len(seeds) > 1 else np.zeros_like(mean)
    look = {"color": group.look.colour, "label": plain(group.label)}
    if level:
        shared, mean, spread = [0, group.run.tasks], mean.repeat(2), spread.repeat(2)
        ax.plot(shared, mean, **look, linestyle="--", linewidth=1)
    else:
        ends = [index for index, at in enumerate(shared) if at.is_integer()]
        marks = {"marker": group.look.marker, "markersize": 4, "markevery": ends}
        ax.plot(shared, mean, **look, **marks, linestyle=group.dash, linewidth=1.2)
    ax.fill_between(shared, mean - spread, mean + spread, color=group.look.colour, alpha=0.2, lw=0)
    return mean[-1]
