"""Digits that tell data sets apart, and the options of a data set."""

import numpy as np
import torch

from common import fingerprint, load_dataset


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


def test_a_fingerprint_changes_with_one_pixel_and_with_exchanged_labels():
    images, labels = torch.zeros(3000, 1, 4, 4, dtype=torch.uint8), torch.arange(3000) % 2
    found = {fingerprint(images, labels, ["a", "b"]), fingerprint(images, 1 - labels, ["a", "b"])}
    images[2999, 0, 3, 3] = 1
    assert len(found | {fingerprint(images, labels, ["a", "b"])}) == 3


def test_a_fingerprint_takes_names_in_any_encoding():
    images, labels = torch.zeros(4, 1, 32, 32, dtype=torch.uint8), torch.tensor([0, 0, 1, 1])
    found = {fingerprint(images, labels, ["a", name]) for name in ("caf\udce9", "café", "cafe")}
    assert len(found) == 3
