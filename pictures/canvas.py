"""What every picture is made with: matplotlib, colours, tiles of images."""

import sys

from torchvision.utils import make_grid

from scoring.drawing import SavedGenerator, whole_groups

INSTALL = "install it with: python -m pip install -r requirements-extras.txt"
try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit(f"error: figures.py needs matplotlib; {INSTALL}")

# Okabe & Ito's palette, which the colour-blind can tell apart, in the order of tables.METHODS;
# then more, for methods that are not ours
COLOURS = [
    "#000000",
    "#D55E00",
    "#E69F00",
    "#CC79A7",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#F0E442",
    "#882255",
    "#44AA99",
    "#999933",
    "#332288",
]


def paint(path, name, n, skipped):
    """n images [n, C, H, W] of one category by a saved generator, always from the same z.

    name: of the category. None if there is no file, or the generator has not learned it. skipped: a
    list, to which a file that cannot be read is added.
    """
    if not path.exists():
        return None
    try:
        generator = SavedGenerator.load(path)
    except Exception as error:
        skipped.append(f"{path} ({type(error).__name__})")
        return None
    if name not in generator.categories:
        return None
    category = generator.categories.index(name)
    if category not in generator.seen:
        return None
    images = generator.draw(category, whole_groups(n))[:n]
    return images if len(images) else None


def tile(ax, images, columns):
    """Show images [N, C, H, W] as a grid without gaps; an empty frame where there are none."""
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    if images is not None:
        grid = make_grid((images + 1) / 2, columns, padding=0).clamp(0, 1)
        ax.imshow(grid.permute(1, 2, 0).numpy())


def save(figure, path):
    """Write a picture, and say so."""
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"wrote {path}")
