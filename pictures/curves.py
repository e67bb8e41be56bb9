"""Accuracy over training: of the older categories, and of each (MeRGAN figure 6)."""

import statistics
import sys

from pictures.canvas import plt, save
from pictures.groups import all_names, setting
from pictures.scores import read_scores
from scoring.runs import command


def draw(groups, output):
    """Writes output/curves.png and output/curves_by_category.png."""
    scores = read_scores([run for group in groups for run in group.runs])
    for run, found in scores.items():
        if found is None:
            again = f"write it with: {command('eval.py', run.path)}"
            sys.exit(f"error: {run.path} has no eval.json; {again}")
        if found.final is None:
            sys.exit(f"error: {run.path} is not finished; curves shows whole runs, so leave it out")
    courses = [(group, [scores[run] for run in group.runs]) for group in groups]
    draw_older(courses, output / "curves.png")
    draw_each(courses, output / "curves_by_category.png")


def draw_older(courses, path):
    """One panel: the mean accuracy of the categories of earlier tasks, a line a method."""
    figure, ax = plt.subplots(figsize=(8, 4.2))
    tasks = max(group.tasks for group, _ in courses)
    ends = []
    for group, scores in courses:
        seeds = [dict(some.course(some.older)) for some in scores]
        last = plot(ax, group, seeds, scores[0].level)
        if last is not None:
            count = f" ({len(seeds)} seeds)" if len(seeds) > 1 else ""
            ends.append((last, f"{group.label}{count}", group.look.colour))
    ax.set(
        xlim=(1, tasks + 0.05), ylim=(-2, 102), xlabel="tasks learned", xticks=range(1, tasks + 1)
    )
    ax.set_ylabel("accuracy of the older categories, %")
    ax.set_title(f"How much of the past is still recognised ({title(courses)})", fontsize=10)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    name_ends(ax, ends)
    save(figure, path)


def name_ends(ax, ends, apart=5.5):
    """Names right of the lines' ends, moved apart where they would cover one another.

    ends: (height, name, colour) of each line. apart: the least distance, in units of the axis.
    """
    ends = sorted(ends)
    places = []
    for height, _, _ in ends:
        places.append(max([height, *(place + apart for place in places[-1:])]))
    top = 100.0
    for i in reversed(range(len(places))):
        places[i] = min(places[i], top)
        top = places[i] - apart
    for place, (height, name, colour) in zip(places, ends):
        arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.6}
        at = {"xycoords": ("axes fraction", "data"), "textcoords": ("axes fraction", "data")}
        text = {"color": colour, "va": "center", "fontsize": 9, "annotation_clip": False}
        ax.annotate(name, (1, height), (1.03, place), arrowprops=arrow, **at, **text)


def draw_each(courses, path):
    """A column a category: its accuracy, and below it its FID at the ends of tasks."""
    groups = [group for group, _ in courses]
    names = all_names(groups)
    size = (1.6 * len(names) + 0.8, 4.4)
    figure, axes = plt.subplots(
        2, len(names), figsize=size, sharex=True, sharey="row", squeeze=False, layout="constrained"
    )
    for name, above, below in zip(names, *axes):
        above.set(title=name, ylim=(-2, 102))
        below.set(yscale="log", xlabel="tasks learned")
        below.locator_params(axis="x", nbins=5, integer=True)
        for group, scores in courses:
            level = scores[0].level
            plot(above, group, [of_category(s, s.accuracy, name) for s in scores], level)
            plot(below, group, [of_category(s, s.fid, name) for s in scores], level)
    axes[0][0].set_ylabel("accuracy, %")
    kind = courses[0][1][0].how["FID features"]
    axes[1][0].set_ylabel(f"FID to test images,\n{kind} features")
    handles, labels = axes[0][0].get_legend_handles_labels()
    # About 12 letters an inch, and as much as 6 for a line's sample
    fit = int(12 * size[0] / (6 + max(map(len, labels), default=1)))
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, fit), fontsize=9)
    figure.suptitle(f"each category ({title(courses)})", fontsize=10)
    save(figure, path)


def of_category(scores, rows, name):
    """{tasks learned by then: score} of one category; {} if the run does not learn it."""
    if name not in scores.names:
        return {}
    return dict(scores.of(scores.names.index(name), rows))


def title(courses):
    """Data, steps and images judged, in words."""
    counts = courses[0][1][0].counts.items()
    images = ", ".join(f"{count} {when}" for when, count in counts)
    return f"{setting([group for group, _ in courses], seeds=False)}; images judged: {images}"


def plot(ax, group, seeds, level):
    """The mean of the seeds at the moments that all share, and a band of a standard deviation.

    seeds: [{tasks learned by then: value}]. level: the only value holds for all tasks. Returns the
    last mean, None if there is none.
    """
    shared = sorted(set.intersection(*map(set, seeds)))
    if not shared:
        return None
    values = [[seed[at] for seed in seeds] for at in shared]
    means = [statistics.fmean(some) for some in values]
    spread = [statistics.stdev(some) if len(some) > 1 else 0.0 for some in values]
    look = {"color": group.look.colour, "label": group.label}
    if level:
        shared, means, spread = [0, group.tasks], 2 * means, 2 * spread
        ax.plot(shared, means, **look, linestyle="--", linewidth=1)
    else:
        ends = [index for index, at in enumerate(shared) if float(at).is_integer()]
        marks = {"marker": group.look.marker, "markersize": 4, "markevery": ends}
        ax.plot(shared, means, **look, **marks, linestyle=group.dash, linewidth=1.2)
    low = [mean - deviation for mean, deviation in zip(means, spread)]
    high = [mean + deviation for mean, deviation in zip(means, spread)]
    ax.fill_between(shared, low, high, color=group.look.colour, alpha=0.2, linewidth=0)
    return means[-1]
