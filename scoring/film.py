"""film.npz: what a run painted while it learned, from its own samples, and what the judge sees."""

import numpy as np
import torch
from PIL import Image

from scoring.judge import answers, embed
from scoring.runs import by_moment
from scoring.store import cached, digest
from support.files import write

COLUMNS = 10  # images of a category in a file of samples
KEPT = 5
GREY_STEP = 17  # 16 levels of grey, which take half the space


def read_samples(path, categories):
    """The first images of each category in a PNG, whose row r is of category r: uint8
    [categories, KEPT, C, S, S], zeros for categories that it does not have.
    """
    pixels = np.array(Image.open(path))
    size = pixels.shape[1] // COLUMNS
    tiles = torch.from_numpy(pixels).reshape(-1, size, COLUMNS, size, pixels[0, 0].size)
    tiles = tiles.permute(0, 2, 4, 1, 3)
    images = torch.zeros(categories, KEPT, *tiles.shape[2:], dtype=torch.uint8)
    images[: len(tiles)] = tiles[:, :KEPT]
    return images


def judge_samples(images, reference):
    """The category that the judge sees in each image [M, K, KEPT, C, S, S], −1 in black ones."""
    painted = (images > 0).flatten(3).any(-1)
    judged = torch.full(painted.shape, -1)
    judged[painted] = answers(reference.judge, embed(reference.judge, images[painted]))
    return judged


def write_film(run, reference):
    """Write film.npz beside eval.json; nothing where a run has no samples.

    "moments": int32 [M, 2], task and step, in the order of training. "images": uint8 [M, K, KEPT,
    C, S, S] of the K categories that the run learns, the same z at every moment, grey in 16 levels;
    zeros where not learned yet. "judged": int16 [M, K, KEPT], as in judge_samples(). "names": of
    the categories.
    """
    samples = by_moment(run.path.glob("samples/task_*_step_*.png"))
    if not samples:
        return
    categories = run.categories(len(reference.names))
    images = torch.stack([read_samples(path, categories) for path in samples.values()])
    key = digest(reference.key, "film", images)
    judged = cached(run.cache, key, lambda: judge_samples(images, reference).tolist())
    if images.shape[3] == 1:
        images = (images / GREY_STEP).round().to(torch.uint8) * GREY_STEP

    def save(path):
        with open(path, "wb") as file:
            np.savez_compressed(
                file,
                moments=np.array(list(samples), np.int32),
                images=images.numpy(),
                judged=np.array(judged, np.int16),
                names=np.array(reference.names[:categories]),
            )

    write(run.path / "film.npz", save)
