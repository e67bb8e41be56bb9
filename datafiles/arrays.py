"""Data sets that are read as a whole: the categories asked for, checked and selected."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from datafiles.checks import check_counts
from datafiles.names import match, shorten


@dataclass
class Arrays:
    """A data set whose images are held in memory.

    where: the data, for messages. images: uint8 [N, C, 32, 32] by split, "train" and "test".
    labels: int64 [N] by split. names: of the categories by label; None if they are their labels.
    first_number: the number that the data set's site gives to label 0.
    """

    where: Path
    images: dict
    labels: dict
    names: list | None = None
    first_number: int = 0


def select(arrays, split, asked, limit):
    """The images, labels and category names of a split; the labels count the categories chosen.

    asked: names of the categories, in order; if none: all. limit: training images of each category,
    the first so many; None: all. Exits with one line if a category has too few images.
    """
    where, first = arrays.where, arrays.first_number
    lowest = min(int(labels.min()) for labels in arrays.labels.values())
    highest = max(int(labels.max()) for labels in arrays.labels.values())
    names = arrays.names or [str(number) for number in range(highest + 1)]
    for label in (lowest, highest):
        if not 0 <= label < len(names):
            expected = f"{first} … {len(names) - 1 + first}"
            sys.exit(f"error: {where}: found label {label + first}, expected {expected}")
    chosen = choose(asked, names, first, where)

    counts = {}
    for part, labels in arrays.labels.items():
        images = torch.bincount(labels, minlength=len(names)).tolist()
        most = limit if limit and part == "train" else len(labels)
        counts[part] = {names[label]: min(images[label], most) for label in chosen}
    check_counts(where, counts)

    images, labels = arrays.images[split], arrays.labels[split]
    if asked or limit:
        rows = [(labels == label).nonzero().squeeze(1) for label in chosen]
        if split == "train":
            rows = [row[:limit] for row in rows]
        images = images[torch.cat(rows)]
        labels = torch.repeat_interleave(torch.tensor([len(row) for row in rows]))
    return images, labels, [names[label] for label in chosen]


def choose(asked, names, first_number, where):
    """The labels of the categories asked for, by name or, where no name is a number, by number."""
    if not asked:
        return list(range(len(names)))
    labels = {name: label for label, name in enumerate(names)}
    for label in range(len(names)):
        labels.setdefault(str(label + first_number), label)
    found = match(asked, labels)
    unknown = [name for name, other in zip(asked, found) if other is None]
    if unknown:
        sys.exit(
            f"error: --categories names {', '.join(unknown)}, which {where} has not; "
            f"it has {', '.join(names)}"
        )
    chosen = [labels[name] for name in found]
    if len(set(chosen)) < len(chosen):
        sys.exit(f"error: --categories names a category twice: {shorten(asked, 30)}")
    return chosen
