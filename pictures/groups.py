"""Runs read and put together for pictures: those that differ only in the seed are one group."""

import json
import sys
from pathlib import Path

from common import data_options
from scoring.runs import Run, find_runs, no_run
from scoring.tables import labels_of, ranks


class Group:
    """Runs that differ only in the seed, lowest seed first."""

    def __init__(self, runs, label):
        """label: the method, and the options in which groups differ."""
        self.runs = sorted(runs, key=lambda run: run.seed)
        self.run = self.runs[0]
        self.label = label
        self.method = self.run.method
        self.arguments = self.run.arguments
        self.tasks = self.run.tasks
        self.iters = self.run.iters
        names = self.run.names() or list(map(str, range(self.tasks)))
        self.names = names[: self.tasks]  # of the categories that it learns, in their order


def find_groups(paths, skipped, scores=False):
    """The runs at or below paths, grouped, in the order of the paper's methods.

    skipped: a list, to which every run that cannot be read is added. scores: whether paths may name
    copies of eval.json too.
    """
    groups, data = {}, set()
    files = [Path(path) for path in paths if str(path).endswith(".json")]
    folders = find_runs(paths)
    if files and not scores:
        sys.exit(f"error: {files[0]} holds no generators, expected runs; curves draws from scores")
    for path in folders + files:
        try:
            run = Run(path)
            source = data_options({**run.arguments, "cache_dir": None})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            file = path if path in files else path / "args.json"
            skipped.append(f"{file} ({type(error).__name__}: {error})")
            continue
        # MNIST is the same wherever it lies; scores name no folder, and hold a fingerprint instead
        if run.arguments["dataset"] == "mnist" or files:
            source.pop("data_dir", None)
        data.add(json.dumps(source, sort_keys=True))
        key = json.dumps(run.own_options(), sort_keys=True)
        for other in groups.setdefault(key, []):
            if other.seed == run.seed:
                found = f"{other.path} and {path} have the same options and seed"
                sys.exit(f"error: {found}; name only one of them")
        groups[key].append(run)
    if not groups:
        sys.exit(no_run(paths))
    if len(data) > 1:
        found = ", ".join(sorted(data))
        sys.exit(f"error: runs of several data sets ({found}); draw them one at a time")
    labels = labels_of([json.loads(options) for options in groups])
    found = [Group(runs, label) for runs, label in zip(groups.values(), labels)]
    places = ranks(group.method for group in found)
    return sorted(found, key=lambda group: places[group.method])


def all_names(groups):
    """Names of the categories that any of the groups learns, in the order of learning."""
    return list(dict.fromkeys(name for group in groups for name in group.names))


def find_name(text, names):
    """The name of a category that is given by its name or its index; None if there is none."""
    if text in names:
        return text
    if text.isdecimal() and int(text) < len(names):
        return names[int(text)]
    return None


def setting(groups, all_seeds=False):
    """Data set, steps and seeds, for a title."""
    seeds = set()
    for group in groups:
        seeds |= {run.seed for run in (group.runs if all_seeds else group.runs[:1])}
    data = {f"{group.arguments['dataset']}, {group.iters} steps per task" for group in groups}
    return ", ".join(sorted(data)) + f", seed {', '.join(map(str, sorted(seeds)))}"
