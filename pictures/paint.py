"""Images of chosen categories by one saved generator, as eval.py draws them."""

import sys

import torch
from torchvision.utils import save_image

from common import pixels, save_rows
from pictures.canvas import save
from pictures.groups import choose
from scoring.drawing import SavedGenerator, whole_groups
from support.files import reading


def draw(path, output, categories, n, seed, interpolate):
    """A row a category, or a square of one, from the same z for each. Writes the file output.

    path: a run or a snapshot. categories: names or indices, or ["all"]. n: images of each; of
    dgr.py, images that its solver takes for them. interpolate: n steps from one z to another.
    """
    generator, chosen = load(path, categories, standing=interpolate)
    if interpolate and generator.solver is not None:
        sys.exit(f"error: --interpolate: {path} cannot be asked for a category; leave it out")
    take = interpolated if interpolate else drawn
    images = torch.cat([take(generator, category, n, seed) for category in chosen])
    square = len(chosen) == 1 and not interpolate
    layout = {"nrow": round(n**0.5) if square else n, "normalize": True, "value_range": (-1, 1)}
    save(output, lambda file: save_image(images, file, format="png", **layout))


def export(path, folder, categories, n, seed):
    """The same images one by one: <category>/0001.png and so on in a folder that has none."""
    generator, chosen = load(path, categories)
    places = [folder / generator.categories[category].replace("/", "_") for category in chosen]
    for place in places:
        if place.exists() and any(place.iterdir()):
            sys.exit(f"error: {place} holds files; choose another --output, or delete them")
    for category, place in zip(chosen, places):
        place.mkdir(parents=True, exist_ok=True)
        images = pixels(drawn(generator, category, n, seed))
        for number, image in enumerate(images, start=1):
            save_rows(image[None, None], place / f"{number:04d}.png")
    print(f"wrote {n} images of each category into {folder}")


def load(path, categories, standing=False):
    """The saved generator of a run or a snapshot, and the indices of the categories chosen; exits
    with one line if it cannot be read, or has not learned one of them.
    """
    generator = open_generator(newest(path) if path.is_dir() else path, standing)
    if categories == ["all"]:
        return generator, generator.seen
    names = [generator.categories[category] for category in generator.seen]
    return generator, [generator.seen[choose(text, names)] for text in categories]


def open_generator(path, standing=False):
    """A saved generator; exits with one line if it cannot be read."""
    if not path.is_file():
        sys.exit(f"error: {path} not found; expected a run, or a snapshot (task_<n>.pt) in one")
    with reading(path):
        return SavedGenerator.load(path, standing=standing)


def newest(folder):
    """The path of a run's generator after its newest task."""
    numbers = [path.stem.removeprefix("task_") for path in folder.glob("task_*.pt")]
    tasks = [int(number) for number in numbers if number.isdecimal()]
    return folder / f"task_{max(tasks, default=1)}.pt"


def drawn(generator, category, n, seed):
    """n images of a category, float [n, C, S, S]; exits if a solver finds fewer."""
    images = generator.draw(category, whole_groups(n), seed)[:n]
    if len(images) < n:
        name = generator.categories[category]
        sys.exit(f"error: its solver takes fewer than {n} images for category {name}; lower -n")
    return images


@torch.no_grad()
def interpolated(generator, category, n, seed):
    """n images of a category on the way from one z to another, float [n, C, S, S].

    The way is a part of a great circle, as the norm of z hardly varies.
    """
    random = torch.Generator().manual_seed(seed)
    first, last = torch.randn(2, generator.latent_dim, generator=random)
    angle = torch.arccos(torch.cosine_similarity(first, last, dim=0))
    t = torch.linspace(0, 1, n)[:, None]
    z = (torch.sin((1 - t) * angle) * first + torch.sin(t * angle) * last) / torch.sin(angle)
    return generator.generator(z, torch.tensor([category]))
