"""matplotlib, where it is installed."""

import sys

from support.files import writing

INSTALL = "install it with: python -m pip install -r requirements-extras.txt"
try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit(f"error: figures.py needs matplotlib; {INSTALL}")


def save(figure, path):
    """Write a figure, as wide as its title needs, and say so."""
    with writing(path):
        figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
    print(f"wrote {path}")
