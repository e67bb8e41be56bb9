"""What the pictures show of an eval.json: accuracy over training, and the scores at its end."""

import contextlib
import json
import math
import statistics
import sys

from pictures.film import clock
from support.files import reading


class Scores:
    """The scores of one run.

    accuracy, fid: {tasks learned by then: [score or None of each category]}; FID, which depends on
    the number of images, only at the ends of tasks. final: scores after the last task, None if the
    run was not finished. level: the run has only an end (joint.py). how: how it was scored.
    """

    def __init__(self, run):
        """FileNotFoundError if the run has no scores; any error if they are not ours."""
        result = json.loads(run.scores.read_text(encoding="utf-8"))
        self.run, self.each = run, run.categories_per_task
        self.names = result["categories"][: run.tasks * self.each]
        matrix, fid, inside = result["accuracy"], result["fid"], result["intermediate"]

        # Where a moment is scored twice, the end of a task counts, as it has more images
        at = clock([(line["task"], line["step"]) for line in inside], run.iters)
        rows = {float(x): line["accuracy"] for x, line in zip(at, inside)}
        self.accuracy = dict(sorted((rows | at_ends(matrix)).items()))
        self.fid = at_ends(fid["test"]["matrix"])
        self.level = run.tasks > 1 and matrix[-1] is not None and not any(matrix[:-1])

        counts = [count for line in inside for count in line["fid_samples"]]
        self.how = {
            "FID features": fid["features"],
            "samples": result["samples"],
            "statistics": result["statistics"],
            "real data and judge": result["data"],
            "images": result["other_data"] or "those learned",
        }
        of_categories = f"of {len(self.names)} categories"
        self.how[f"images of a category inside tasks, {of_categories}"] = max(counts, default=0)
        self.final = None
        if matrix[-1]:
            self.how[f"FID images {of_categories}"] = fid["samples"]
            self.final = {
                "accuracy": result["average_accuracy"][-1],
                "older": dict(self.course(self.older)).get(run.tasks),
                "fid": fid["test"]["all"],
                "reverse": result["reverse_accuracy"],
                "forgetting": result["forgetting"],
            }

    def so_far(self, at):
        """The categories of the task that is learned then, and of those before."""
        return range(len(self.names))[: math.ceil(at) * self.each]

    def older(self, at):
        """The categories of earlier tasks than the one that is learned then."""
        return self.so_far(at)[: (math.ceil(at) - 1) * self.each]

    def newest(self, at):
        """The categories of the task that is learned then."""
        return self.so_far(at)[(math.ceil(at) - 1) * self.each :]

    def course(self, chosen, rows=None):
        """[(tasks learned by then, mean score)] of the categories chosen(at).

        rows: accuracy, unless given. A run that has only an end has only that.
        """
        points = []
        for at, row in (self.accuracy if rows is None else rows).items():
            values = [row[category] for category in chosen(at) if row[category] is not None]
            if values:
                points.append((at, statistics.fmean(values)))
        return points[-1:] if self.level else points


def at_ends(matrix):
    """{tasks learned by then: row} of the rows of a matrix, one after each task."""
    return {float(task): row for task, row in enumerate(matrix, start=1) if row}


def scores_of(runs):
    """{run: Scores}, None for a run without; exits if one is damaged or they do not compare."""
    found = dict.fromkeys(runs)
    for run in runs:
        with reading(run.scores), contextlib.suppress(FileNotFoundError):
            found[run] = Scores(run)
    values = {}
    for scores in filter(None, found.values()):
        for name, value in scores.how.items():
            values.setdefault(name, {})[str(value)] = None
    for name, several in values.items():
        if len(several) > 1:
            different = f"{name}: {' or '.join(several)}"
            sys.exit(
                f"error: runs scored differently ({different}); score them alike, or draw them apart"
            )
    return found
