"""Images of chosen categories by one saved generator, with standing statistics."""

import sys

import torch
from torchvision.utils import save_image

from pictures.groups import find_name
from scoring.drawing import SavedGenerator, whole_groups


def draw(path, output, categories, n, seed, interpolate):
    """A row a category, or a square of one, from the same z for each. Writes the file output.

    path: a run or a snapshot. categories: names or indices, or ["all"]. n: images of each.
    interpolate: n steps from one z to another. Of dgr.py, images that its solver takes for them.
    """
    path = newest(path) if path.is_dir() else path
    generator = load(path)
    names = [generator.categories[category] for category in generator.seen]
    if categories == ["all"]:
        chosen = names
    else:
        chosen = [find_seen(text, path, generator, names) for text in categories]
    chosen = [generator.categories.index(name) for name in chosen]
    if generator.solver is None:
        images = [draw_same(generator, category, n, seed, interpolate) for category in chosen]
    elif interpolate:
        sys.exit(f"error: --interpolate: {path} cannot be asked for a category; leave it out")
    else:
        images = []
        for category in chosen:
            images.append(generator.draw(category, whole_groups(n), seed)[:n])
            if len(images[-1]) < n:
                name = generator.categories[category]
                found = f"its solver takes fewer than {n} images for category {name}"
                sys.exit(f"error: {path}: {found}; lower -n")
    square = len(chosen) == 1 and not interpolate
    columns = round(n**0.5) if square else n
    output.parent.mkdir(parents=True, exist_ok=True)
    save_image(torch.cat(images), output, nrow=columns, normalize=True, value_range=(-1, 1))
    print(f"wrote {output}")


def newest(folder):
    """The path of a run's generator after its newest task."""
    numbers = [path.stem.removeprefix("task_") for path in folder.glob("task_*.pt")]
    tasks = [int(number) for number in numbers if number.isdecimal()]
    return folder / f"task_{max(tasks, default=1)}.pt"


def load(path):
    """The saved generator, with standing statistics; exits with one line if it cannot be read."""
    try:
        return SavedGenerator.load(path, standing=True)
    except FileNotFoundError:
        expected = "expected a run directory or a snapshot (task_<n>.pt) in one"
        sys.exit(f"error: {path} not found; {expected}")
    except Exception as error:
        sys.exit(f"error: {path} is damaged or not ours ({type(error).__name__})")


def find_seen(text, path, generator, names):
    """The name of a category that is given by name or index, and was learned; else exits."""
    name = find_name(text, generator.categories)
    if name not in names:
        known = ", ".join(names)
        sys.exit(f"error: --category {text} is not among those that {path} has seen: {known}")
    return name


@torch.no_grad()
def draw_same(generator, category, n, seed, interpolate):
    """n images of a category, each by itself, from z that are the same for every category."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(n, generator.latent_dim, generator=random)
    if interpolate:  # along the great circle, as the norm of z hardly varies
        angle = torch.arccos(torch.cosine_similarity(z[0], z[-1], dim=0))
        t = torch.linspace(0, 1, n)[:, None]
        z = (torch.sin((1 - t) * angle) * z[0] + torch.sin(t * angle) * z[-1]) / torch.sin(angle)
    return generator.generator(z, torch.tensor([category]))
