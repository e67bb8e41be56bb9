"""matplotlib, where it is installed; how every file is read, and every picture written."""

import contextlib
import sys

from scoring.tables import drawable
from support.files import reason, write

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


@contextlib.contextmanager
def reading(path):
    """Exit with one line that names the file, if it is not what the code below expects."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {reason(error)}"
        sys.exit(f"error: {path} is damaged or not ours ({cause})")


def save(path, make):
    """Let make(file) write a picture, and say so. Its folder is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, make)
    print(f"wrote {path}")


def save_figure(figure, path):
    """Write a figure of matplotlib as a PNG, as wide as its titles need."""
    save(path, lambda file: figure.savefig(file, format="png", dpi=110, bbox_inches="tight"))
    plt.close(figure)
