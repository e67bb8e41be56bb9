"""What the pictures show of an eval.json: accuracy over training, and the scores at its end."""

import json
import math
import statistics
import sys

from pictures.film import clock
from scoring.runs import command


class Scores:
    """The scores of one run.

    accuracy, fid: {tasks learned by then: [score or None of each category]}; FID, which depends on
    the number of images, only at the ends of tasks. level: it has only an end (joint.py). final:
    scores after the last task, None if the run was not finished.
    """

    def __init__(self, run):
        """OSError, ValueError, KeyError, TypeError, IndexError or AttributeError if the run has no
        scores that can be read.
        """
        result = json.loads(run.scores.read_text(encoding="utf-8"))
        self.run, self.tasks, self.each = run, run.tasks, run.categories_per_task
        self.names = result.get("categories") or list(map(str, range(self.tasks * self.each)))
        self.names = self.names[: self.tasks * self.each]
        matrix, fid = result["accuracy"], result["fid"]
        inside = result["intermediate"]
        at = clock([(line["task"], line["step"]) for line in inside], run.iters)
        self.accuracy = {float(x): line["accuracy"] for x, line in zip(at, inside)}

        # A score has one value: at the end of a task, that of the most images
        self.accuracy |= {float(t): row for t, row in enumerate(matrix, start=1) if row}
        self.accuracy = dict(sorted(self.accuracy.items()))
        rows = fid["test"]["matrix"]
        self.fid = {float(t): row for t, row in enumerate(rows, start=1) if row}
        self.level = self.tasks > 1 and matrix[-1] is not None and matrix[-2] is None
        self.counts = {"at the ends of tasks": result["samples"]}
        if inside:
            self.counts["inside them"] = max(max(line["fid_samples"]) for line in inside)
        self.how = {
            "FID features": fid["features"],
            "FID images": fid["samples"],
            "samples": result["samples"],
            "statistics": result["statistics"],
            "real data and judge": result["data"],
        }
        self.final = None
        if matrix[-1]:
            self.final = {
                "accuracy": result["average_accuracy"][-1],
                "older": dict(self.course(self.older)).get(self.tasks),
                "fid": fid["test"]["all"],
                "reverse": result["reverse_accuracy"],
                "forgetting": result["forgetting"],
                "each": matrix[-1][: len(self.names)],
            }

    def older(self, at):
        """The categories of earlier tasks than the one that is learned then."""
        return range((math.ceil(at) - 1) * self.each)

    def newest(self, at):
        """The categories of the task that is learned then."""
        return range(len(self.names))[len(self.older(at)) : math.ceil(at) * self.each]

    def so_far(self, at):
        """The categories of this task and of those before."""
        return range(len(self.names))[: math.ceil(at) * self.each]

    def course(self, chosen):
        """[(tasks learned by then, mean accuracy)] of the categories chosen(at). A run that has
        only an end has only that.
        """
        points = []
        for at, row in self.accuracy.items():
            values = [row[category] for category in chosen(at) if row[category] is not None]
            if values:
                points.append((at, statistics.fmean(values)))
        return points[-1:] if self.level else points

    def of(self, category, rows):
        """[(tasks learned by then, score)] of one category, from accuracy or FID."""
        known = [(at, row[category]) for at, row in rows.items() if row[category] is not None]
        return known[-1:] if self.level else known


def read_scores(runs):
    """{run: Scores}, None for a run without; exits if one is damaged or they do not compare."""
    found = {}
    for run in runs:
        try:
            found[run] = Scores(run)
        except FileNotFoundError:
            found[run] = None
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            wrong = f"{run.scores} is damaged or not ours ({type(error).__name__}: {error})"
            again = f"write it with: {command('eval.py', run.path)}"
            if run.path == run.scores:
                again = "copy it again from its run"
            sys.exit(f"error: {wrong}; {again}")
    compare([scores for scores in found.values() if scores])
    return found


def compare(scores):
    """Exits if runs were scored differently."""
    different = []
    for name in scores[0].how if scores else ():
        values = dict.fromkeys(str(some.how[name]) for some in scores)
        if len(values) > 1:
            different.append(f"{name}: {' or '.join(values)}")
    if different:
        folders = [some.run.path for some in scores if some.run.path != some.run.scores]
        again = command("eval.py", *(folders or ["RUNS"]))
        found = "; ".join(different)
        sys.exit(f"error: runs scored differently ({found}); score them alike: {again}")
