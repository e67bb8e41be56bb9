"""Images of chosen categories from a saved generator."""

import functools
import math

import torch

from common import GROUP, load_generator, pixels

Z_PER_IMAGE = 4  # at most, where a solver has to find a category's images among all


def whole_groups(n):
    """n rounded up to a multiple of GROUP."""
    return math.ceil(n / GROUP) * GROUP


class SavedGenerator:
    """A generator as a run saved it, ready to draw.

    generator: a module of common.py, in training mode to draw with batch statistics, in evaluation
    mode to draw with standing ones. seen: the indices of the categories that it learned.
    categories: the names of all. solver: None, or the classifier that names what an unconditional
    generator (dgr.py) paints, as such a generator cannot be asked for a category.
    """

    def __init__(self, generator, seen, categories, solver=None):
        self.generator = generator
        self.seen = seen
        self.categories = categories
        self.solver = solver
        self.device = generator.linear.weight.device
        self.latent_dim = generator.config["latent_dim"]

    @classmethod
    def load(cls, path, device="cpu", standing=False):
        """From the file that a method script wrote; standing: draw with standing statistics."""
        generator, solver, saved = load_generator(path, device)
        # Inside a task, those in the file are of the end of the task before
        if standing and "_step_" in path.name:
            generator.update_standing_statistics(saved["seen"] if solver is None else [0])
        generator.train(not standing)
        return cls(generator, saved["seen"], saved["categories"], solver)

    @torch.no_grad()
    def draw(self, category, n, seed=0, as_pixels=False):
        """n images of one category (its index), float [n, C, H, W] in [−1, 1], or uint8 as pixels.

        n is a multiple of 64; with batch statistics, each 64 are normalised together. The same seed
        means the same z for every generator. By a solver there may be fewer images, or none.
        """
        if self.solver is not None:
            return self.draw_by_solver(n, seed, as_pixels)[category]
        convert = pixels if as_pixels else torch.nn.Identity()
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(n, self.latent_dim, generator=random)
        return torch.cat([convert(self.paint(some, category)) for some in z.split(GROUP)])

    def paint(self, z, category):
        """A group of images by z on the CPU; on a CPU, more at once take longer."""
        return self.generator(z.to(self.device), torch.tensor([category], device=self.device))

    @functools.lru_cache(maxsize=1)  # all categories come at once, and are asked for one by one
    def draw_by_solver(self, n, seed, as_pixels):
        """{category: at most n of the images that the solver takes for it}, of all that were seen.

        z are drawn until every category has its images, but no more than Z_PER_IMAGE times as many
        as asked for over all: a category that is rare among the images has fewer, and one that the
        solver never names has none.
        """
        convert = pixels if as_pixels else torch.nn.Identity()
        random = torch.Generator().manual_seed(seed)
        found = {category: [] for category in self.seen}
        missing = dict.fromkeys(found, n)
        for _ in range(Z_PER_IMAGE * len(found) * n // GROUP):
            images = self.paint(torch.randn(GROUP, self.latent_dim, generator=random), 0)
            named = self.solver(images).argmax(1)
            for category in found:
                chosen = images[named == category][: missing[category]]
                found[category].append(convert(chosen))
                missing[category] -= len(chosen)
            if not any(missing.values()):
                break
        return {category: torch.cat(parts) for category, parts in found.items()}
