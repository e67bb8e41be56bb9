"""Files in MNIST's format: what is read, what is refused."""

import shutil

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST

from common import load_dataset
from datafiles.idx import write_idx


def test_idx_images_are_read_and_padded_from_28_to_32(tiny_data):
    images, labels, names = load_dataset("idx", tiny_data, "train")
    raw = np.frombuffer(
        (tiny_data / "train-images-idx3-ubyte").read_bytes()[16:], np.uint8
    ).reshape(300, 28, 28)
    assert images.shape == (300, 1, 32, 32) and images.dtype == torch.uint8
    assert labels.shape == (300,) and labels.dtype == torch.int64
    assert names == ["0", "1", "2"]
    assert np.array_equal(images[:, 0, 2:30, 2:30].numpy(), raw)
    images[:, :, 2:30, 2:30] = 0
    assert images.max() == 0


def test_splits_are_the_train_and_t10k_files(tiny_data):
    assert [len(load_dataset("idx", tiny_data, split)[0]) for split in ("train", "test")] == [
        300,
        60,
    ]


def test_torchvision_reads_what_write_idx_writes(tmp_path):
    random, arrays = np.random.default_rng(1), {}
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for prefix, n in [("train", 7), ("t10k", 5)]:
        arrays[prefix] = random.integers(0, 256, (n, 28, 28), np.uint8), random.integers(
            0, 10, n, np.uint8
        )
        write_idx(tmp_path / "MNIST" / "raw" / f"{prefix}-images-idx3-ubyte", arrays[prefix][0])
        write_idx(tmp_path / "MNIST" / "raw" / f"{prefix}-labels-idx1-ubyte", arrays[prefix][1])
    for prefix, (images, labels) in arrays.items():
        theirs = MNIST(tmp_path, train=prefix == "train")
        assert np.array_equal(theirs.data.numpy(), images) and np.array_equal(
            theirs.targets.numpy(), labels
        )


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def shorten(path):
    write_idx(path, np.frombuffer(path.read_bytes()[16:], np.uint8).reshape(-1, 28, 28)[:-1])


def enlarge(path):
    write_idx(path, np.zeros((300, 34, 34), np.uint8))


def skip_a_label(path):
    write_idx(path, np.arange(300, dtype=np.uint8) % 2 * 2)


@pytest.mark.parametrize(
    "name, damage, complaint",
    [
        (
            "train-images-idx3-ubyte",
            lambda path: path.unlink(),
            "not found; --dataset idx expects train-images",
        ),
        ("train-images-idx3-ubyte", truncate, "no readable idx files"),
        ("train-labels-idx1-ubyte", truncate, "no readable idx files"),
        ("train-labels-idx1-ubyte", lambda path: path.write_bytes(b""), "no readable idx files"),
        (
            "train-images-idx3-ubyte",
            lambda path: path.write_bytes(b"<html>" * 99),
            "no readable idx files",
        ),
        ("train-images-idx3-ubyte", shorten, "found images [299, 28, 28] and 300 labels"),
        ("train-images-idx3-ubyte", enlarge, "expected square images of even size, at most 32×32"),
        ("train-labels-idx1-ubyte", skip_a_label, "category 1 has no image"),
    ],
)
def test_unusable_idx_files_end_in_one_clear_line(tiny_data, tmp_path, name, damage, complaint):
    shutil.copytree(tiny_data, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / name)
    with pytest.raises(SystemExit) as stop:
        load_dataset("idx", tmp_path, "train")
    message = stop.value.code
    assert message.startswith("error: ") and str(tmp_path) in message and complaint in message
    assert "\n" not in message
