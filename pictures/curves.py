"""Accuracy and FID of each category over training, from eval.json (MeRGAN figure 6)."""

import json
import math
import statistics
import sys

from pictures.canvas import COLOURS, plt, save
from pictures.groups import all_names, setting
from scoring.runs import command
from scoring.tables import ranks

METRICS = ("accuracy", "fid_test")
COLUMNS = 5  # categories side by side; more of them go below
# What has to be the same in all scores that are drawn together
SCORED = ("FID features", "FID images", "samples", "statistics", "real data and judge")
SCORED += ("images inside tasks",)


class Courses:
    """What the runs' eval.json hold, by metric, category and method.

    values: {(metric, name of a category, label of a group): {seed: {tasks learned: value}}}.
    levels: labels of groups that have only an end (joint.py). features: FID's. counted: images a
    side, in words.
    """

    def __init__(self, groups, paths):
        self.values, self.levels, self.counts, self.scored = {}, set(), set(), set()
        folders = [path for path in paths if not str(path).endswith(".json")]
        self.again = command("eval.py", *(folders or ["RUNS"]))
        for group in groups:
            for run in group.runs:
                self.add(group, run)
        if len(self.scored) > 1:
            found = "; ".join(differences(self.scored))
            sys.exit(f"error: runs scored differently ({found}); score them alike: {self.again}")
        self.features = next(iter(self.scored))[0]
        ends = sorted({min(self.counts), max(self.counts)})
        self.counted = f"{' to '.join(map(str, ends))} images of the category"

    def add(self, group, run):
        """Take in one run's scores."""
        try:
            result = json.loads(run.scores.read_text())
            fid, accuracy = result["fid"], result["accuracy"]
            names = result.get("categories") or run.names()
            names = names or list(map(str, range(run.tasks)))
            by_task = list(zip(accuracy, fid["test"]["matrix"]))
            moments = []
            for line in result["intermediate"]:
                moments.append((line["task"] - 1 + line["step"] / run.iters, line))
            inside = sorted({n for _, line in moments for n in line["fid_samples"]})
            scored = (fid["features"], fid["samples"], result["samples"])
            scored += (result["statistics"], result["data"], ", ".join(map(str, inside)))
        except (OSError, ValueError, KeyError):
            if run.path == run.scores:
                sys.exit(f"error: {run.path} is no eval.json that eval.py wrote; copy it again")
            found = f"{run.path} has no readable eval.json"
            sys.exit(f"error: {found}; write it with: {self.again}")
        if not accuracy[-1]:
            sys.exit(f"error: {run.path} is not finished; curves shows whole runs, so leave it out")
        self.scored.add(scored)
        self.counts |= set(inside or fid["samples_per_category"])

        # All categories at once have only an end
        level = run.tasks > 1 and accuracy[-2] is None
        if level:
            self.levels.add(group.label)
        if level and moments:
            moments = [(run.tasks, moments[-1][1])]
        elif not moments:  # never both: FID depends on the count of images
            for task, (accuracies, fids) in enumerate(by_task, start=1):
                if accuracies:
                    moments.append((task, {"accuracy": accuracies, "fid_test": fids}))
        for x, scores in moments:
            for metric in METRICS:
                for name, value in zip(names, scores[metric]):
                    if value is not None:
                        seeds = self.values.setdefault((metric, name, group.label), {})
                        seeds.setdefault(run.seed, {})[x] = value


def differences(scored):
    """In what scores differ, in words. scored: a set of tuples of the values of SCORED."""
    found = []
    for name, values in zip(SCORED, zip(*sorted(scored, key=str))):
        if len(set(values)) > 1:
            texts = [str(value or "none") for value in dict.fromkeys(values)]
            found.append(f"{name}: {' or '.join(texts)}")
    return found


def draw(groups, output, paths):
    """A line a method, a band of one standard deviation over seeds. Writes output/curves.png.

    paths: where the runs were looked for, to say how to score them.
    """
    courses = Courses(groups, paths)
    names = all_names(groups)
    columns = min(len(names), COLUMNS)
    bands = math.ceil(len(names) / columns)
    size = (1.9 * columns + 0.8, 4.0 * bands + 0.6)
    figure, axes = plt.subplots(
        2 * bands, columns, figsize=size, sharex=True, squeeze=False, layout="constrained"
    )

    def ax_of(metric, name):
        band, column = divmod(names.index(name), columns)
        return axes[2 * band + METRICS.index(metric)][column]

    # A metric has one scale in all bands; it is labelled on the left
    for row, of_row in enumerate(axes):
        for ax in of_row:
            if ax is not axes[row % 2][0]:
                ax.sharey(axes[row % 2][0])
            ax.tick_params(labelleft=ax is of_row[0])
    styles = line_styles(groups)
    for (metric, name, label), seeds in courses.values.items():
        draw_course(ax_of(metric, name), label, seeds, styles[label], label in courses.levels)
    for name in names:
        ax_of("accuracy", name).set_title(f"category {name}", fontsize=9)
        ax_of("accuracy", name).set_ylim(-2, 102)
        ticks = range(max(group.tasks for group in groups) + 1)
        ax_of("fid_test", name).set(yscale="log", xlabel="tasks learned", xticks=ticks)
    for place in range(len(names), bands * columns):  # no category there
        band, column = divmod(place, columns)
        for row in (2 * band, 2 * band + 1):
            axes[row][column].set_axis_off()
    for of_accuracy, of_fid in zip(axes[::2], axes[1::2]):
        of_accuracy[0].set_ylabel("accuracy, %")
        label = f"FID to test images,\n{courses.features} features,\n{courses.counted}"
        of_fid[0].set_ylabel(label, fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    # About 12 letters an inch, and as much as 6 for a line's sample
    fit = int(12 * size[0] / (6 + max(map(len, labels))))
    ncols = max(1, min(len(labels), fit))
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, fontsize=9)
    title = f"each category over training ({setting(groups, all_seeds=True)})"
    figure.suptitle(title, fontsize=10)
    save(figure, output / "curves.png")


def line_styles(groups):
    """Colour and dashes by label: a colour a method, dashes for groups of the same method."""
    styles = {}
    places = ranks(group.method for group in groups)
    for group in groups:
        of_method = [other.label for other in groups if other.method == group.method]
        dashes = ["-", "--", ":", "-."][of_method.index(group.label) % 4]
        colour = COLOURS[places[group.method] % len(COLOURS)]
        styles[group.label] = dict(color=colour, linestyle=dashes)
    return styles


def draw_course(ax, label, seeds, style, level):
    """One method's course of one category. seeds: {seed: {tasks learned: value}}."""
    shared = sorted(set.intersection(*(set(course) for course in seeds.values())))
    values = [[course[x] for course in seeds.values()] for x in shared]
    means = [statistics.fmean(some) for some in values]
    if level:
        ax.axhline(means[-1], color=style["color"], linestyle="--", linewidth=1, label=label)
        return
    for course in seeds.values():
        if len(course) > len(shared):  # one seed's own moments inside tasks
            x = sorted(course)
            ax.plot(x, [course[some] for some in x], **style, linewidth=0.7, alpha=0.5)
    ends = [index for index, x in enumerate(shared) if x == int(x)]
    marks = dict(marker="o", markersize=3, markevery=ends)
    ax.plot(shared, means, **style, **marks, linewidth=1.2, label=label)
    spread = [statistics.stdev(some) if len(some) > 1 else 0.0 for some in values]
    low = [mean - deviation for mean, deviation in zip(means, spread)]
    high = [mean + deviation for mean, deviation in zip(means, spread)]
    ax.fill_between(shared, low, high, color=style["color"], alpha=0.2, linewidth=0)
