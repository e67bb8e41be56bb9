"""Reading what a method script wrote: its arguments, its log, its saved generators."""

import json
import os
import sys
from pathlib import Path

import torch

from common import DATASETS, data_options
from support.resume import MAY_DIFFER

# Options that all runs of a table have in common
SHARED_OPTIONS = ("dataset", "num_tasks", "iters", "batch_size", "learning_rate", "width")
# Options that change no result, or whose effect is compared otherwise
IGNORED = MAY_DIFFER | {"data", "schedule"}


def find_runs(paths):
    """Sorted paths of the runs (folders with args.json) at or below paths; links are followed.

    A run that is reached on several ways counts once. Exits with one line if a path is not there.
    """
    absent = [str(path) for path in paths if not os.path.exists(path)]
    if absent:
        sys.exit(f"error: not found: {', '.join(absent)}; expected runs, or folders that hold some")
    found, visited = {}, set()
    for root in paths:
        for folder, below, files in os.walk(root, followlinks=True):
            real = os.path.realpath(folder)
            if real in visited:  # a loop of links, or a second way
                below.clear()
                continue
            visited.add(real)
            below.sort()
            if "args.json" in files:
                found[real] = Path(folder)
    return sorted(found.values())


def learned_categories(arguments, total):
    """How many categories a run learns, of so many. arguments: the run's."""
    return min(arguments["num_tasks"] * arguments["categories_per_task"], total)


def by_moment(paths):
    """{(task, step): path} of files named task_<task>_step_<step>, in the order of training."""
    found = {}
    for path in paths:
        task, _, step = path.stem.removeprefix("task_").partition("_step_")
        if task.isdecimal() and step.isdecimal():  # else it is not ours
            found[int(task), int(step)] = path
    return dict(sorted(found.items()))


def no_run(paths):
    """The error line where there is none."""
    return (
        f"error: no run (a folder with args.json) in {', '.join(map(str, paths))}; "
        "train one with: python sft.py"
    )


class SavedRun:
    """One run of a method script, or a copy of its scores."""

    def __init__(self, path):
        """path: its folder, or a copy of its eval.json, which holds its arguments too.

        OSError if there is no such file, ValueError if it is not what a method script writes.
        """
        self.path = path
        is_copy = path.is_file()
        self.scores = path if is_copy else path / "eval.json"
        self.cache = path / "eval_cache.json"  # scores of its generators, by what they depend on
        text = (path if is_copy else path / "args.json").read_text()
        try:
            arguments = json.loads(text)
            if is_copy:
                arguments = arguments["arguments"]
            needed = {"method", "seed", "categories_per_task", *SHARED_OPTIONS}
            absent = needed - arguments.keys()
            if absent:
                raise ValueError(f"no {', '.join(sorted(absent))}")
            if arguments["dataset"] not in DATASETS:
                raise ValueError(f"dataset is {arguments['dataset']}")
            if not 1 <= arguments["num_tasks"] < 10**4:
                raise ValueError(f"num_tasks is {arguments['num_tasks']}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"not the arguments of a method script ({reason})") from error
        self.arguments = arguments
        self.method, self.seed = arguments["method"], arguments["seed"]
        self.tasks, self.iters = arguments["num_tasks"], arguments["iters"]
        self.categories_per_task = arguments["categories_per_task"]

    def data(self, **changes):
        """The arguments of load_dataset, less split, with those changes that are not None."""
        changes = {name: value for name, value in changes.items() if value is not None}
        return data_options(self.arguments) | changes

    def own_options(self):
        """The options that tell this run from others, less the seed."""
        return {k: v for k, v in self.arguments.items() if k not in ("seed", *IGNORED)}

    def categories(self, total):
        """How many categories it learns, of so many."""
        return learned_categories(self.arguments, total)

    def task(self, task):
        """Path of the generator after a task, counted from 1."""
        return self.path / f"task_{task}.pt"

    def ends(self):
        """Paths of the generators after each task, whether they are there or not."""
        return [self.task(task) for task in range(1, self.tasks + 1)]

    def finished(self):
        """Whether the generator after the last task is there."""
        return self.task(self.tasks).exists()

    def missing(self):
        """Paths of the generators that are not there, though that of a later task is.

        None of joint.py, which saves one only.
        """
        saved = [number for number, path in enumerate(self.ends()) if path.exists()]
        if not saved or {line["task"] for line in self.log()} <= {self.tasks}:
            return []
        return [path for path in self.ends()[: saved[-1]] if not path.exists()]

    def inside(self):
        """Path by (task, step) of the generators saved inside tasks."""
        return by_moment(self.path.glob("snapshots/task_*_step_*.pt"))

    def moments(self):
        """Path by (task, step) of every saved generator, in the order of training."""
        steps = {line["task"]: line["step"] for line in self.log()}  # the last of each task
        found = self.inside()
        for task, path in enumerate(self.ends(), start=1):
            if path.exists():
                found[task, steps.get(task, self.iters)] = path
        return dict(sorted(found.items()))

    def names(self):
        """Names of all categories of the data, from any readable snapshot, or None."""
        for path in [*self.ends(), *self.inside().values()]:
            try:
                return torch.load(path, map_location="cpu", weights_only=True)["categories"]
            except Exception:  # not there, or damaged; that is told where it is scored or drawn
                continue
        return None

    def log(self):
        """The whole lines of metrics.jsonl, as dicts."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]]

    def reached(self):
        """How far the run has come, in words."""
        try:
            line = self.log()[-1]
            return f"task {line['task']} of {self.tasks}, step {line['step']}"
        except IndexError:
            return "nothing logged yet"
        except (ValueError, KeyError, TypeError):
            return "its metrics.jsonl is damaged"


def compare_data(run, real, allowed=False):
    """Make sure that a run is scored against the data that it learned.

    Names of categories and the fingerprint of the training images are compared, where the run
    holds them. real: a Reference. ValueError that says what differs; allowed: images may differ,
    where all names agree. Returns None if nothing differs, else the images learned and there, in
    words.
    """
    learned, found = run.names(), real.names
    if learned not in (None, found):
        differing = f"{', '.join(learned)} were learned, {', '.join(found)} are there"
        raise ValueError(f"other categories than were learned: {differing}; restore them")
    fingerprint = run.arguments.get("data")
    if fingerprint in (None, real.fingerprint):
        return None
    differing = f"training images {fingerprint} learned, {real.fingerprint} scored"
    if not allowed:
        raise ValueError(
            f"other data than was learned: {differing}; restore it, "
            "or score on purpose on other data with --other-data"
        )
    return differing
