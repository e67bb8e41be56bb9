"""SVHN's .mat files, made here."""

import numpy as np
import pytest
import torch
from conftest import refused
from scipy.io import savemat

from common import load_dataset
from datafiles import svhn


def write_svhn(path, labels):
    """A file of random images with these labels, 1 … 10, as SVHN's; returns the images."""
    path.parent.mkdir(exist_ok=True)
    random = np.random.default_rng(len(labels))
    images = random.integers(0, 256, (32, 32, 3, len(labels)), np.uint8)
    savemat(path, {"X": images, "y": np.asarray(labels, np.uint8)[:, None]})
    return images


@pytest.mark.parametrize("folder", ["", "SVHN"])
def test_svhn_is_read_with_label_10_as_digit_0(tmp_path, folder):
    raw, raw_labels = {}, {"train": np.arange(40) % 10 + 1, "test": np.arange(20) % 10 + 1}
    for split, labels in raw_labels.items():
        raw[split] = write_svhn(tmp_path / folder / f"{split}_32x32.mat", labels)
    for split, labels in raw_labels.items():
        images, ours, names = load_dataset("svhn", tmp_path, split)
        assert images.shape == (len(labels), 3, 32, 32) and images.dtype == torch.uint8
        assert names == list("0123456789") and ours.dtype == torch.int64
        assert ours.tolist() == [0 if label == 10 else label for label in labels]
        assert np.array_equal(images[7].permute(1, 2, 0), raw[split][..., 7])


def no_mat(path):
    path.write_bytes(b"<html>")


def other_mat(path):
    savemat(path, {"Z": 1})


def grey_images(path):
    savemat(path, {"X": np.zeros((32, 32, 40), np.uint8), "y": np.arange(40)[:, None] % 10 + 1})


def other_labels(path):
    write_svhn(path, np.arange(40) % 12 + 1)


@pytest.mark.parametrize(
    "write, complaint",
    [
        (no_mat, "is damaged or not SVHN's"),
        (other_mat, "is damaged or not SVHN's"),
        (grey_images, "found images uint8 [32, 32, 40] and 40 labels"),
        (other_labels, "found labels 1 … 12, expected labels 1 … 10"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, write, complaint):
    write_svhn(tmp_path / "test_32x32.mat", np.arange(20) % 10 + 1)
    write(tmp_path / "train_32x32.mat")
    message = refused("svhn", tmp_path, "train")
    assert str(tmp_path / "train_32x32.mat") in message and complaint in message


def test_files_that_cannot_be_fetched_are_named_with_their_checksum(tmp_path, monkeypatch):
    def unreachable(*_):
        raise OSError("cannot be reached")

    monkeypatch.setattr(svhn, "download_url", unreachable)
    message = refused("svhn", tmp_path / "data", "train")
    assert "cannot be reached" in message
    files = {
        "train": "train_32x32.mat (MD5 e26dedcc434d2e4c54c9b2d4a06d8373)",
        "test": "test_32x32.mat (MD5 eb5a983be6a315427106f1b164d9cef3)",
    }
    assert all(file in message for file in files.values())
    assert not list((tmp_path / "data").iterdir())
    write_svhn(tmp_path / "data" / "train_32x32.mat", np.arange(40) % 10 + 1)
    message = refused("svhn", tmp_path / "data", "train")
    assert files["test"] in message and files["train"] not in message
