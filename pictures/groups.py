"""Runs read and put together for pictures: those that differ only in the seed are one group."""

import json
import shlex
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pictures.methods import Method, describe
from scoring.runs import SavedRun, find_runs, no_run
from scoring.tables import labels_of, place
from support.files import reading

DASHES = ["-", "--", ":", "-."]


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ only in the seed, lowest seed first.

    options: those in which it differs from other groups, in words. dash: of its lines, which tells
    it from groups of the same method.
    """

    runs: list
    look: Method
    options: str
    dash: str

    @property
    def run(self):
        """The run that stands for the group where only one is shown."""
        return self.runs[0]

    @property
    def label(self):
        return f"{self.look.name} {self.options}".strip()

    @property
    def heading(self):
        """The label on two lines."""
        return f"{self.look.name}\n{self.options}".strip()


def find_groups(paths):
    """The runs at or below paths, and copies of eval.json, as groups in the order of the paper.

    Exits where they cannot be told apart, or drawn together.
    """
    copies = [Path(path) for path in paths if str(path).endswith(".json")]
    groups = {}
    for path in find_runs(paths) + copies:
        with reading(path):
            run = SavedRun(path)
        key = json.dumps(run.own_options(), sort_keys=True)
        runs = groups.setdefault(key, {})
        if run.seed in runs:
            found = f"{runs[run.seed].path} and {path} have the same options and seed"
            sys.exit(f"error: {found}; name only one of them")
        runs[run.seed] = run
    if not groups:
        sys.exit(no_run(paths))

    rows = [json.loads(options) for options in groups]
    data = sorted({row["dataset"] for row in rows})
    if len(data) > 1:
        found = f"runs of several data sets ({', '.join(data)})"
        sys.exit(f"error: {found}; name those of one, as runs/{data[0]}__*")
    looks = describe([row["method"] for row in rows])
    counted = Counter()
    found = []
    for row, label, runs in zip(rows, labels_of(rows), groups.values()):
        method = row["method"]
        options = label.removeprefix(method).strip()
        dash = DASHES[counted[method] % len(DASHES)]
        counted[method] += 1
        found.append(Group([runs[seed] for seed in sorted(runs)], looks[method], options, dash))
    return sorted(found, key=lambda group: place(group.run.method))


def need_runs(groups, verb):
    """Exit where a group is a copy of scores, from which a picture cannot be drawn."""
    for group in groups:
        if group.run.path.is_file():
            sys.exit(f"error: {group.run.path} holds only scores; {verb} needs runs")


def choose(text, names):
    """The index of a category that is given by its name or its index; exits if there is none."""
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    expected = f"expected 0 to {len(names) - 1}, or a name: {', '.join(names)}"
    sys.exit(f"error: --category is {text}, {expected}")


def how_to_score(run):
    """What writes the film and the scores of a run, in words."""
    if run.path.is_file():
        return "copy it from its run"
    return f"write it with: python eval.py {shlex.quote(str(run.path))}"


def setting(groups, seeds=True):
    """Data set and steps, for a title; and the seed shown of each group."""
    runs = [group.run for group in groups]
    found = {f"{run.arguments['dataset']}, {run.iters} steps a task" for run in runs}
    text = ", ".join(sorted(found))
    if seeds:
        text += f", seed {', '.join(map(str, sorted({run.seed for run in runs})))}"
    return text
