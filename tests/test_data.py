"""What the training images are drawn from, and the digits that tell data sets apart."""

import numpy as np
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


def drawn(images, labels, y, n, steps, seed=1, process=0):
    """Two batches of n images of each category in y for each of the steps."""
    real_images = RealImages(images, labels, torch.device("cpu"), seed, process)
    real_images.begin(1, torch.tensor(y), n, 2)
    batches = []
    for step in steps:
        real_images.load(step)
        batches += [real_images.draw(), real_images.draw()]
    return batches


def test_batches_are_the_same_from_a_tensor_and_from_a_map(tmp_path):
    images, labels = tinted(tmp_path)
    for y in ([1], [0, 1, 2]):
        of_tensor = drawn(torch.from_numpy(np.array(images)), labels, y, 6, range(1, 4))
        assert all(map(torch.equal, drawn(images, labels, y, 6, range(1, 4)), of_tensor))
        # Also after a resume
        assert all(map(torch.equal, drawn(images, labels, y, 6, [3]), of_tensor[4:]))


def test_batches_are_of_their_categories_and_of_seed_process_and_step(tmp_path):
    images, labels = tinted(tmp_path)
    batches = drawn(images, labels, [2, 1], 5, [1, 2])
    for batch in batches:
        assert batch.shape == (10, 3, 8, 8) and batch.dtype == torch.float32
        pixel = ((batch[:, 0, 4, 4] + 1) * 127.5).round()
        assert pixel.tolist() == [2.0] * 5 + [1.0] * 5
    batches += drawn(images, labels, [2, 1], 5, [1], seed=2)
    batches += drawn(images, labels, [2, 1], 5, [1], process=1)
    assert len({batch.numpy().tobytes() for batch in batches}) == 8
    many = torch.cat(drawn(images, labels, [0], 100, range(10)))
    numbers = ((many[:, 0, 0, 0] + 1) * 127.5).round()
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
