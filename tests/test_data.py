"""What the training images are drawn from, and the digits that tell data sets apart."""

import numpy as np
import pytest
import torch

from common import RealImages, cache_folder, data_options, fingerprint, load_dataset

# Drawing from a memory map


def tinted(tmp_path, n=50):
    """A memory map of three categories whose pixels all have the category's number; its labels."""
    pixels = np.repeat(np.arange(3, dtype=np.uint8), n)[:, None, None, None] * np.ones(
        (1, 3, 8, 8), np.uint8
    )
    pixels[:, :, 0, 0] = (np.arange(3 * n) % n)[:, None]
    pixels.tofile(tmp_path / "pixels.u8")
    return np.memmap(tmp_path / "pixels.u8", np.uint8, "c", shape=pixels.shape), torch.arange(
        3
    ).repeat_interleave(n)


def test_batches_of_a_map_that_is_held_are_those_of_a_tensor(tmp_path):
    images, labels = tinted(tmp_path)
    held, whole = (
        RealImages(x, labels, torch.device("cpu"))
        for x in (images, torch.from_numpy(np.array(images)))
    )
    for y in (torch.tensor([1]), torch.tensor([0, 1, 2])):
        batches = []
        for real_images in (held, whole):
            real_images.begin(y, 6)
            torch.manual_seed(3)
            batches.append(torch.cat([real_images.draw(y, 6) for _ in range(3)]))
        assert torch.equal(*batches)


@pytest.fixture
def streamed(tmp_path, monkeypatch):
    """A function that makes RealImages of a map too large to hold."""
    images, labels = tinted(tmp_path)
    monkeypatch.setattr(RealImages, "room", lambda self: 0)
    return lambda seed=1: RealImages(images, labels, torch.device("cpu"), seed)


def drawn(real_images, y, n, count, skip=0):
    real_images.begin(y, n, skip)
    return [real_images.draw(y, n) for _ in range(count)]


def test_batches_read_ahead_are_of_their_categories_and_continue_after_a_resume(streamed):
    y = torch.tensor([2, 1])
    batches = drawn(streamed(), y, 5, 4)
    for batch in batches:
        assert batch.shape == (10, 3, 8, 8) and batch.dtype == torch.float32
        pixel = ((batch[:, 0, 4, 4] + 1) * 127.5).round()
        assert pixel.tolist() == [2.0] * 5 + [1.0] * 5
    assert not torch.equal(batches[0], batches[1])
    continued = drawn(streamed(), y, 5, 2, skip=2)
    assert all(torch.equal(a, b) for a, b in zip(continued, batches[2:]))
    assert not torch.equal(drawn(streamed(seed=2), y, 5, 1)[0], batches[0])
    numbers = torch.cat(
        [
            ((b[:, 0, 0, 0] + 1) * 127.5).round()
            for b in drawn(streamed(), torch.tensor([0]), 100, 20)
        ]
    )
    assert torch.bincount(numbers.long(), minlength=50).min() > 10  # 2 000 draws of 50 images


def test_a_fingerprint_tells_data_sets_apart(tiny_photos, tiny_data, tmp_path):
    def load(**options):
        return load_dataset("folder", tiny_photos, "train", cache_dir=tmp_path, **options)

    images, labels, names = load()
    ours = fingerprint(images, labels, names)
    assert ours == fingerprint(np.array(images), labels, names)
    digits = load_dataset("idx", tiny_data, "train")
    others = [
        fingerprint(images, labels, names[::-1]),
        fingerprint(images[::-1], labels, names),
        fingerprint(*load(images_per_category=19)),
        fingerprint(*digits),
    ]
    assert len({ours, *others}) == 5
    assert fingerprint(*digits) == fingerprint(*load_dataset("idx", tiny_data, "train"))


def test_a_fingerprint_takes_names_in_any_encoding():
    images, labels = torch.zeros(4, 1, 32, 32, dtype=torch.uint8), torch.tensor([0, 0, 1, 1])
    found = {fingerprint(images, labels, ["a", name]) for name in ("caf\udce9", "café", "cafe")}
    assert len(found) == 3


def test_data_options_are_the_parameters_of_load_dataset_that_a_run_has():
    arguments = dict(dataset="idx", data_dir="d", crop=False, seed=1, device="cpu", split="x")
    assert data_options(arguments) == dict(dataset="idx", data_dir="d", crop=False)


def test_what_is_computed_lies_with_the_data_or_where_it_is_asked_for(tmp_path):
    assert cache_folder("folder", tmp_path) == tmp_path / ".cache"
    assert cache_folder("mnist", tmp_path) == tmp_path
    assert cache_folder("folder", tmp_path, tmp_path / "other") == tmp_path / "other"
