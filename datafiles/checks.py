"""What every data set must hold, whatever its files: checked before anything is learned."""

import sys

from datafiles.names import shorten, write_categories

LEAST = {"train": 4, "test": 2}  # images in each category
NEARLY_CONSTANT = 8  # standard deviation of a category's pixel values, of 0 … 255


def check_counts(where, counts, reasons=None):
    """Exit with one line unless there are two categories, and enough images in each.

    where: the data, for the message. counts: number of images by split and category, after every
    selection. reasons: more to tell about a category, by name.
    """
    names = list(counts["train"])
    if len(names) < 2:
        found = f"found {len(names)} usable categories"
        if names:
            found += f" ({names[0]})"
        if reasons:
            causes = [f"{name}: {text}" for name, text in reasons.items()]
            found += f"; {shorten(causes)}"
        sys.exit(f"error: {where}: {found}; expected at least 2 categories with images")
    few = []
    for name in names:
        if any(counts[split][name] < least for split, least in LEAST.items()):
            few.append(name)
    if not few:
        return
    descriptions = []
    for name in few:
        text = f"category {name} has {counts['train'][name]} training and "
        text += f"{counts['test'][name]} test images"
        if reasons and name in reasons:
            text += f" ({reasons[name]})"
        descriptions.append(text)
    advice = "add images"
    enough = [name for name in names if name not in few]
    if len(enough) >= 2:
        advice += f", or learn the others: {write_categories(enough)}"
    sys.exit(
        f"error: {where}: {shorten(descriptions)}; expected at least {LEAST['train']} training and "
        f"{LEAST['test']} test images in each category; {advice}"
    )


def constant_notes(spreads):
    """A line if the pixels of categories are nearly constant: a wrong range of values looks so.

    spreads: by category, the standard deviation of all its pixel values, 0 … 255.
    """
    constant = [
        f"{name} (standard deviation {spread:.1f} of 255)"
        for name, spread in spreads.items()
        if spread < NEARLY_CONSTANT
    ]
    if not constant:
        return []
    return [
        f"warning: the images are nearly constant in {shorten(constant)}; "
        "are their values in the range that docs/data.md tells?"
    ]
