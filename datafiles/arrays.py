"""Data sets that are read as a whole: the categories asked for, checked and selected."""

import sys

import torch

from datafiles.checks import check_counts, constant_notes
from datafiles.names import match, shorten


def load_arrays(source, split, asked, limit):
    """The images, labels and category names of a split, "train" or "test".

    source: has where (for messages), notes (lines to print), names (by label, or None), labels
    (int64 [N] by split), images(split) (uint8 [N, C, 32, 32]), and first_number, the number that
    its site gives to label 0. asked: names of the categories, in order; if none: all. limit:
    training images of each category, the first so many; None: all.
    """
    highest = max(int(labels.max()) for labels in source.labels.values())
    names = source.names or [str(number) for number in range(highest + 1)]
    if highest >= len(names):
        sys.exit(f"error: {source.where}: found label {highest}, expected 0 … {len(names) - 1}")
    chosen = choose(asked, names, source.first_number, source.where)

    counts = {}
    for part, labels in source.labels.items():
        images = torch.bincount(labels, minlength=len(names)).tolist()
        most = limit if limit and part == "train" else len(labels)
        counts[part] = {names[label]: min(images[label], most) for label in chosen}
    check_counts(source.where, counts)

    images, labels = source.images(split), source.labels[split]
    rows = [(labels == label).nonzero().squeeze(1) for label in chosen]
    if split == "train":
        spreads = {}
        for label, row in zip(chosen, rows):
            some = images[row[:: len(row) // 1000 + 1]]
            spreads[names[label]] = some.float().std(correction=0).item()
        for note in source.notes + constant_notes(spreads):
            print(f"data: {note}", flush=True)
        rows = [row[:limit] for row in rows]
    if asked or limit:
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
