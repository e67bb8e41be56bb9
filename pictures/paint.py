"""Images of chosen categories by one saved generator."""

import math
import sys

import torch
from torchvision.utils import save_image

from common import pixels, save_rows
from pictures.groups import find_name
from scoring.drawing import SavedGenerator, whole_groups
from support.files import writing

JPEG_SIDE = 65_500  # pixels: libjpeg's most
MARGIN = 2  # pixels between two images
BATCH = 256  # images drawn in one call


def draw(path, output, categories, n, seed, interpolate):
    """A row a category, or a square of one, from the same z for each, with standing statistics.

    Writes the file output. path: a run or a snapshot. categories: names or indices, or ["all"]. n:
    images of each. interpolate: n steps from one z to another. Of dgr.py, images that its solver
    takes for them.
    """
    generator, chosen = load(path, categories, standing=True)
    square = len(chosen) == 1 and not interpolate
    columns = round(n**0.5) if square else n
    side = max(columns, math.ceil(len(chosen) * n / columns))
    side = side * (generator.generator.config["image_size"] + MARGIN) + MARGIN
    if output.suffix != ".png" and side > JPEG_SIDE:
        found = f"{output} would have {side} pixels a side, and a JPEG holds {JPEG_SIDE}"
        sys.exit(f"error: {found}; lower -n, name it .png, or name a folder/ for single images")
    if generator.solver is None:
        images = [draw_same(generator, category, n, seed, interpolate) for category in chosen]
    elif interpolate:
        sys.exit(f"error: --interpolate: {path} cannot be asked for a category; leave it out")
    else:
        images = [draw_as_scored(generator, category, n, seed) for category in chosen]
    output.parent.mkdir(parents=True, exist_ok=True)
    several = {"nrow": columns, "padding": MARGIN, "normalize": True, "value_range": (-1, 1)}
    with writing(output):
        save_image(torch.cat(images), output, **several)
    print(f"wrote {output}")


def export(path, folder, categories, n, seed):
    """Single images as eval.py draws them: <category>/0001.png and so on in the folder."""
    generator, chosen = load(path, categories, standing=False)
    for category in chosen:
        images = pixels(draw_as_scored(generator, category, n, seed))
        place = folder / generator.categories[category].replace("/", "_")
        place.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images, start=1):
            save_rows(image[None, None], place / f"{number:04d}.png")
    print(f"wrote {n} images of each category into {folder}")


def load(path, categories, standing):
    """The saved generator of a run or a snapshot, and the indices of the categories chosen; exits
    with one line if it cannot be read, or has not learned one of them.
    """
    path = newest(path) if path.is_dir() else path
    try:
        generator = SavedGenerator.load(path, standing=standing)
    except FileNotFoundError:
        expected = "expected a run directory or a snapshot (task_<n>.pt) in one"
        sys.exit(f"error: {path} not found; {expected}")
    except Exception as error:
        sys.exit(f"error: {path} is damaged or not ours ({type(error).__name__})")
    if categories == ["all"]:
        return generator, generator.seen
    names = [generator.categories[category] for category in generator.seen]
    chosen = []
    for text in categories:
        name = find_name(text, generator.categories)
        if name not in names:
            known = ", ".join(names)
            sys.exit(f"error: --category {text} is not among those that {path} has seen: {known}")
        chosen.append(generator.categories.index(name))
    return generator, chosen


def newest(folder):
    """The path of a run's generator after its newest task."""
    numbers = [path.stem.removeprefix("task_") for path in folder.glob("task_*.pt")]
    tasks = [int(number) for number in numbers if number.isdecimal()]
    return folder / f"task_{max(tasks, default=1)}.pt"


@torch.no_grad()
def draw_same(generator, category, n, seed, interpolate):
    """n images of a category, each by itself, from z that are the same for every category."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(n, generator.latent_dim, generator=random)
    if interpolate:  # along the great circle, as the norm of z hardly varies
        angle = torch.arccos(torch.cosine_similarity(z[0], z[-1], dim=0))
        t = torch.linspace(0, 1, n)[:, None]
        z = (torch.sin((1 - t) * angle) * z[0] + torch.sin(t * angle) * z[-1]) / torch.sin(angle)
    y = torch.tensor([category])
    return torch.cat([generator.generator(some, y) for some in z.split(256)])


def draw_as_scored(generator, category, n, seed):
    """n images of a category as eval.py draws them; exits if a solver finds fewer."""
    images = generator.draw(category, whole_groups(n), seed)[:n]
    if len(images) < n:
        name = generator.categories[category]
        sys.exit(f"error: its solver takes fewer than {n} images for category {name}; lower -n")
    return images
