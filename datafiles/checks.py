"""What every data set must hold, whatever its files: checked before anything is learned."""

import sys

import numpy as np

from datafiles.names import shorten, write_categories

LEAST = {"train": 4, "test": 2}  # images in each category
NEARLY_CONSTANT = 8  # standard deviation of a category's pixel values, of 0 … 255
SOME = 100  # so many images of a category are looked at


def check_counts(where, counts, reasons=None):
    """Exit with one line unless there are two categories, and enough images in each.

    where: the data, for the message. counts: number of images by split and category, after every
    selection. reasons: more to tell about a category, by name.
    """
    names = list(counts["train"])
    told = {name: f" ({text})" for name, text in (reasons or {}).items()}
    if len(names) < 2:
        found = "".join(f" {name}{told.get(name, '')}" for name in names) or " none"
        sys.exit(f"error: {where}: expected at least 2 categories with images, found{found}")
    few = []
    for name in names:
        if any(counts[split][name] < least for split, least in LEAST.items()):
            few.append(name)
    if not few:
        return
    found = [
        f"category {name} has {counts['train'][name]} training and {counts['test'][name]} "
        f"test images{told.get(name, '')}"
        for name in few
    ]
    advice = "add images"
    enough = [name for name in names if name not in few]
    if len(enough) >= 2:
        advice += f", or learn the others: {write_categories(enough)}"
    sys.exit(
        f"error: {where}: {shorten(found)}; expected at least {LEAST['train']} training and "
        f"{LEAST['test']} test images in each category; {advice}"
    )


def constant_notes(images, labels, names):
    """A line if the pixels of categories are nearly constant, in a list.

    A wrong range of values looks so. images: uint8 [N, C, H, W], a tensor or an np.memmap. labels:
    int64 [N]. names: of the categories by label.
    """
    labels = labels.numpy()
    constant = []
    for label, name in enumerate(names):
        rows = np.flatnonzero(labels == label)
        some = rows[:: len(rows) // SOME + 1]
        spread = np.std(np.asarray(images[some]))
        if spread < NEARLY_CONSTANT:
            constant.append(f"{name} (standard deviation {spread:.1f} of 255)")
    if not constant:
        return []
    return [
        f"warning: the images are nearly constant in {shorten(constant)}; "
        "are their values in the range that docs/data.md tells?"
    ]
