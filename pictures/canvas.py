"""matplotlib, where it is installed, and how every picture is written."""

import sys

from scoring.tables import drawable
from support.files import write

INSTALL = "install it with: python -m pip install -r requirements-extras.txt"
try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit(f"error: figures.py needs matplotlib; {INSTALL}")


def plain(name):
    """A name as matplotlib draws it letter for letter, where it is no formula."""
    return drawable(name).replace("$", r"\$")


def save(path, make):
    """Let make(file) write a picture, and say so. Its folder is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, make)
    print(f"wrote {path}")


def save_figure(figure, path):
    """Write a figure of matplotlib as a PNG, as wide as its titles need."""
    save(path, lambda file: figure.savefig(file, format="png", dpi=110, bbox_inches="tight"))
    plt.close(figure)
