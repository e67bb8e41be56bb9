"""Files in MNIST's format: what is read, where it is found, what is refused."""

import gzip
import shutil
import struct

import numpy as np
import pytest
import torch
from conftest import pack, refused

from common import load_dataset
from datafiles.idx import NAMES

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = NAMES


@pytest.fixture
def copied(tiny_data, tmp_path):
    """A copy of four idx files, to be changed."""
    return shutil.copytree(tiny_data, tmp_path / "copied")


def test_images_are_read_and_padded_from_28_to_32(tiny_data):
    images, labels, names = load_dataset("idx", tiny_data, "train")
    raw = np.frombuffer((tiny_data / IMAGES).read_bytes()[16:], np.uint8).reshape(300, 28, 28)
    assert images.shape == (300, 1, 32, 32) and images.dtype == torch.uint8
    assert labels.shape == (300,) and labels.dtype == torch.int64
    assert names == ["0", "1", "2"]
    assert np.array_equal(images[:, 0, 2:30, 2:30].numpy(), raw)
    images[:, :, 2:30, 2:30] = 0
    assert images.max() == 0
    assert len(load_dataset("idx", tiny_data, "test")[0]) == 60


def test_categories_can_be_chosen_and_ordered(tiny_data):
    options = dict(categories="2,0", images_per_category=30)
    images, labels, names = load_dataset("idx", tiny_data, "train", **options)
    everything, every_label, _ = load_dataset("idx", tiny_data, "train")
    assert names == ["2", "0"] and torch.bincount(labels).tolist() == [30, 30]
    assert torch.equal(images[:30], everything[every_label == 2][:30])
    assert torch.equal(images[30:], everything[every_label == 0][:30])
    assert len(load_dataset("idx", tiny_data, "test", **options)[0]) == 40
    assert f"names 7, which {tiny_data} has not; it has 0, 1, 2" in refused(
        "idx", tiny_data, "train", categories="7"
    )
    for options in (dict(crop=True), dict(image_size=64)):
        assert "are for lsun and folder" in refused("idx", tiny_data, "train", **options)


# Where the files are found


def pack_in_place(path):
    path.write_bytes(gzip.compress(path.read_bytes()))


def name_with_a_dot(path):
    path.rename(path.with_name(path.name.replace("-idx", ".idx")))


@pytest.mark.parametrize("change", [pack, pack_in_place, name_with_a_dot])
def test_files_are_found_as_archives_leave_them(tiny_data, copied, change):
    for name in NAMES:
        change(copied / name)
    for split in ("train", "test"):
        images, labels, names = load_dataset("idx", tiny_data, split)
        found = load_dataset("idx", copied, split)
        assert torch.equal(found[0], images) and torch.equal(found[1], labels)
        assert found[2] == names


# What is refused


def idx(*shape, kind=8):
    """The bytes of an idx file of zeros; kind 8 is uint8, 13 is float32."""
    size = {8: 1, 13: 4}[kind] * int(np.prod(shape))
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(size)


PAGE = b"\n<!DOCTYPE html><html>"
BROKEN = {
    "cut off": (IMAGES, idx(300, 28, 28)[:-1], "235215 bytes, expected 235216 for [300, 28, 28]"),
    "cut off in the header": (LABELS, idx(300)[:6], "found a file that begins with"),
    "of another data set": (LABELS, idx(300)[:-1], "found 307 bytes, expected 308 for [300]"),
    "empty": (LABELS, b"", "found a file that begins with b''"),
    "a web page": (IMAGES, PAGE, r"begins with b'\n<!DOCTYPE html>', expected greyscale images"),
    "a zip archive": (LABELS, b"PK\3\4", r"begins with b'PK\x03\x04', expected greyscale labels"),
    "half a gzip": (
        IMAGES,
        gzip.compress(PAGE)[:-9],
        "is damaged or not ours (EOFError: Compressed file",
    ),
    "colour": (IMAGES, idx(300, 32, 32, 3), r"which begin with b'\x00\x00\x08\x03'"),
    "floats": (IMAGES, idx(300, 28, 28, kind=13), "expected greyscale images of uint8"),
    "labels for images": (IMAGES, idx(300), "expected greyscale images of uint8"),
    "no images": (IMAGES, idx(0, 28, 28), "found train images [0, 28, 28]"),
    "fewer images": (IMAGES, idx(299, 28, 28), "images [299, 28, 28] and 300 labels"),
    "large": (IMAGES, idx(300, 34, 34), "expected square images of even size, at most 32×32"),
    "odd": (IMAGES, idx(300, 7, 7), "expected square images of even size, at most 32×32"),
    "one label": (LABELS, idx(300), "category 1 has 0 training and 20 test images"),
    "a cut off test split": (TEST_IMAGES, idx(60, 28, 28)[:-1], "expected 47056 for [60, 28, 28]"),
    "not there": (IMAGES, None, f"{IMAGES} not found; --dataset idx expects {IMAGES}"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_unusable_files_end_in_one_clear_line(copied, case):
    name, data, complaint = BROKEN[case]
    (copied / name).unlink()
    if data is not None:
        (copied / name).write_bytes(data)
    message = refused("idx", copied, "train")
    assert str(copied) in message and complaint in message
