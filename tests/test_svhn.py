"""SVHN's .mat files, made here."""

import numpy as np
import pytest
import torch
from conftest import refused
from scipy.io import savemat

from common import load_dataset

TRAIN, TEST = "train_32x32.mat", "test_32x32.mat"
LABELS = np.arange(40) % 10 + 1


def write_svhn(path, labels, shape=(32, 32, 3)):
    """A file of random images with these labels, 1 … 10, as SVHN's; returns the images."""
    images = np.random.default_rng(1).integers(0, 256, (*shape, len(labels)), np.uint8)
    savemat(path, {"X": images, "y": np.asarray(labels, np.uint8)[:, None]})
    return images


def test_svhn_is_read_with_label_10_as_digit_0(tmp_path):
    raw = {"train": write_svhn(tmp_path / TRAIN, LABELS)}
    raw["test"] = write_svhn(tmp_path / TEST, LABELS[:20])
    for split, pixels in raw.items():
        images, labels, names = load_dataset("svhn", tmp_path, split)
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64
        assert np.array_equal(images.permute(2, 3, 1, 0), pixels)
        assert names == list("0123456789")
        assert labels.tolist() == [(number + 1) % 10 for number in range(len(labels))]


@pytest.mark.parametrize("name", [TRAIN, TEST])
@pytest.mark.parametrize(
    "write, complaint",
    [
        (lambda path: path.write_bytes(b"<html>"), "is damaged or not ours"),
        (lambda path: savemat(path, {"Z": 1}), "is damaged or not ours"),
        (
            lambda path: write_svhn(path, LABELS, (32, 32)),
            "images uint8 [32, 32, 40] and 40 labels",
        ),
        (lambda path: write_svhn(path, LABELS + 2), "found label 12, expected 0 … 9"),
        (lambda path: write_svhn(path, []), "and 0 labels"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, write, complaint):
    for other in (TRAIN, TEST):
        write_svhn(tmp_path / other, LABELS)
    write(tmp_path / name)
    message = refused("svhn", tmp_path, "train")
    assert str(tmp_path) in message and complaint in message
