"""Runs read and put together for pictures: those that differ only in the seed are one group."""

import functools
import json
import sys
from collections import Counter
from pathlib import Path

from common import data_options
from pictures.methods import describe, order
from scoring.runs import Run, find_runs, no_run
from scoring.tables import labels_of

DASHES = ["-", "--", ":", "-."]


class Group:
    """Runs that differ only in the seed, lowest seed first.

    look: its Method. options: those in which it differs from other groups. dash: of its lines,
    which tells it from groups of the same method.
    """

    def __init__(self, runs, look, options, dash):
        self.runs = sorted(runs, key=lambda run: run.seed)
        self.run = self.runs[0]
        self.look, self.options, self.dash = look, options, dash
        self.label = f"{look.short} {options}".strip()
        self.heading = f"{look.short}\n{options}".strip()
        self.arguments = self.run.arguments
        self.tasks = self.run.tasks
        self.iters = self.run.iters
        self.categories_per_task = self.run.categories_per_task

    @functools.cached_property
    def names(self):
        """Names of the categories that it learns, in their order."""
        count = self.tasks * self.categories_per_task
        return (self.run.names() or list(map(str, range(count))))[:count]


def find_groups(paths, problems, copies=False):
    """The runs at or below paths, grouped, in the order of the paper's methods.

    problems: a list, to which every run that cannot be read is added. copies: whether paths may
    name copies of eval.json too.
    """
    groups, data = {}, set()
    files = [Path(path) for path in paths if str(path).endswith(".json")]
    folders = find_runs(paths)
    if files and not copies:
        sys.exit(f"error: {files[0]} holds only scores, expected runs")
    for path in folders + files:
        try:
            run = Run(path)
            source = data_options({**run.arguments, "cache_dir": None})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            file = path if path in files else path / "args.json"
            problems.append(f"{file} is not readable as ours ({type(error).__name__}: {error})")
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
    rows = [json.loads(options) for options in groups]
    looks = describe([row["method"] for row in rows])
    found, counted = [], Counter()
    for row, label, runs in zip(rows, labels_of(rows), groups.values()):
        method = row["method"]
        options = label.removeprefix(method).strip()
        dash = DASHES[counted[method] % len(DASHES)]
        counted[method] += 1
        found.append(Group(runs, looks[method], options, dash))
    return sorted(found, key=lambda group: order(group.run.method))


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


def setting(groups, seeds=True):
    """Data set and steps, for a title; and the seed shown of each group."""
    found = {f"{group.arguments['dataset']}, {group.iters} steps a task" for group in groups}
    text = ", ".join(sorted(found))
    if seeds:
        shown = sorted({group.run.seed for group in groups})
        text += f", seed {', '.join(map(str, shown))}"
    return text
