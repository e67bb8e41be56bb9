"""Files in MNIST's format: what is read, where it is found, what is refused."""

import gzip
import shutil
import struct

import numpy as np
import pytest
import torch
from conftest import refused
from torchvision.datasets import MNIST

from common import load_dataset
from datafiles.idx import write_idx

FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


@pytest.fixture
def copied(tiny_data, tmp_path):
    """A copy of four idx files, to be changed."""
    return shutil.copytree(tiny_data, tmp_path / "copied")


def test_images_are_read_and_padded_from_28_to_32(tiny_data):
    images, labels, names = load_dataset("idx", tiny_data, "train")
    raw = np.frombuffer((tiny_data / FILES[0]).read_bytes()[16:], np.uint8).reshape(300, 28, 28)
    assert images.shape == (300, 1, 32, 32) and images.dtype == torch.uint8
    assert labels.shape == (300,) and labels.dtype == torch.int64
    assert names == ["0", "1", "2"]
    assert np.array_equal(images[:, 0, 2:30, 2:30].numpy(), raw)
    images[:, :, 2:30, 2:30] = 0
    assert images.max() == 0


def test_splits_are_the_train_and_t10k_files(tiny_data):
    sizes = [len(load_dataset("idx", tiny_data, split)[0]) for split in ("train", "test")]
    assert sizes == [300, 60]


def test_torchvision_reads_what_write_idx_writes(tmp_path):
    random, arrays, raw = np.random.default_rng(1), {}, tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, n in [("train", 7), ("t10k", 5)]:
        images = random.integers(0, 256, (n, 28, 28), np.uint8)
        arrays[prefix] = images, random.integers(0, 10, n, np.uint8)
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", arrays[prefix][1])
    for prefix, (images, labels) in arrays.items():
        theirs = MNIST(tmp_path, train=prefix == "train")
        assert np.array_equal(theirs.data.numpy(), images)
        assert np.array_equal(theirs.targets.numpy(), labels)


def test_categories_can_be_chosen_and_ordered(tiny_data):
    options = dict(categories="2,0", images_per_category=30)
    images, labels, names = load_dataset("idx", tiny_data, "train", **options)
    everything, theirs, _ = load_dataset("idx", tiny_data, "train")
    assert names == ["2", "0"] and torch.bincount(labels).tolist() == [30, 30]
    assert torch.equal(images[:30], everything[theirs == 2][:30])
    assert torch.equal(images[30:], everything[theirs == 0][:30])
    assert len(load_dataset("idx", tiny_data, "test", **options)[0]) == 40
    assert f"names 7, which {tiny_data} has not; it has 0, 1, 2" in refused(
        "idx", tiny_data, "train", categories="7"
    )
    for options in (dict(crop=True), dict(image_size=64)):
        assert "are for lsun and folder" in refused("idx", tiny_data, "train", **options)


# Where the files are found


def pack(path):
    """Replace a file by a gzip file of its own name and .gz."""
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def pack_in_place(path):
    path.write_bytes(gzip.compress(path.read_bytes()))


def name_with_a_dot(path):
    path.rename(path.with_name(path.name.replace("-idx", ".idx")))


def into_a_folder_of_its_name(path):
    path.rename(path.with_name("moving"))
    path.mkdir()
    path.with_name("moving").rename(path / path.name)


def one_deeper(path):
    (path.parent / "raw").mkdir(exist_ok=True)
    path.rename(path.parent / "raw" / path.name)


def two_deeper(path):
    (path.parent / "My data" / "raw").mkdir(parents=True, exist_ok=True)
    path.rename(path.parent / "My data" / "raw" / path.name)


@pytest.mark.parametrize(
    "change",
    [pack, pack_in_place, name_with_a_dot, into_a_folder_of_its_name, one_deeper, two_deeper],
)
def test_files_are_found_as_archives_leave_them(tiny_data, copied, change, capsys):
    for name in FILES:
        change(copied / name)
    for split in ("train", "test"):
        for ours, theirs in zip(
            load_dataset("idx", copied, split), load_dataset("idx", tiny_data, split)
        ):
            assert torch.equal(ours, theirs) if torch.is_tensor(ours) else ours == theirs
    output = capsys.readouterr().out
    deeper = change in (one_deeper, two_deeper)
    assert output.count("data: the idx files are those in") == deeper


def test_of_two_data_sets_one_folder_deeper_neither_is_guessed(tiny_data, copied):
    for name in ("one", "two"):
        shutil.copytree(tiny_data, copied / name)
    load_dataset("idx", copied, "train")  # its own files come first
    (copied / FILES[2]).unlink()
    message = refused("idx", copied, "train")
    assert f"--data-dir: {copied / 'one'}, {copied / 'two'}" in message


def test_files_of_two_folders_are_not_mixed(copied):
    one_deeper(copied / FILES[2])
    one_deeper(copied / FILES[3])
    assert f"{FILES[2]}, {FILES[3]} not found" in refused("idx", copied, "train")


# What is refused


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def shorten(path):
    write_idx(path, np.frombuffer(path.read_bytes()[16:], np.uint8).reshape(-1, 28, 28)[:-1])


def enlarge(path):
    write_idx(path, np.zeros((300, 34, 34), np.uint8))


def colour(path):
    write_idx(path, np.zeros((300, 32, 32, 3), np.uint8))


def floats(path):
    header = struct.pack(">4I", 0x0D03, 300, 28, 28)
    path.write_bytes(header + np.zeros((300, 28, 28), ">f4").tobytes())


def skip_a_label(path):
    write_idx(path, np.arange(300, dtype=np.uint8) % 2 * 2)


def remove(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def no_images(path):
    write_idx(path, np.zeros((0, 28, 28), np.uint8))


def web_page(path):
    path.write_bytes(b"\n<!DOCTYPE html><html>" * 99)


def zip_archive(path):
    path.write_bytes(b"PK\3\4" * 99)


def half_packed(path):
    path.write_bytes(gzip.compress(path.read_bytes())[:-100])


def text(path):
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1")


def labels_for_images(path):
    shutil.copy(path.with_name("train-labels-idx1-ubyte"), path)


IMAGES, LABELS = FILES[0], FILES[1]


@pytest.mark.parametrize(
    "name, damage, complaint",
    [
        (IMAGES, remove, f"{IMAGES} not found; --dataset idx expects {IMAGES}"),
        (IMAGES, truncate, "found 235215 bytes, expected 235216 for [300, 28, 28]; fetch it again"),
        (LABELS, truncate, "found 307 bytes, expected 308 for [300]; fetch it again"),
        (LABELS, empty, "found an empty file"),
        (IMAGES, no_images, "found training images [0, 28, 28]"),
        (IMAGES, web_page, "found a web page, expected an idx file of images"),
        (LABELS, web_page, "found a web page, expected an idx file of labels"),
        (IMAGES, zip_archive, "found a zip archive"),
        (IMAGES, half_packed, "damaged gzip: Compressed file ended"),
        (IMAGES, text, "found a file that begins with 76 65 72 73, expected an idx file of images"),
        (IMAGES, colour, "found colour images [300, 32, 32, 3], expected greyscale"),
        (IMAGES, floats, "found values of type float32, expected uint8"),
        (IMAGES, labels_for_images, "are images and labels exchanged?"),
        (IMAGES, shorten, "found training images [299, 28, 28] and 300 labels"),
        (IMAGES, enlarge, "expected square images of even size, at most 32×32"),
        (LABELS, skip_a_label, "category 1 has 0 training and 20 test images"),
        (FILES[2], truncate, "expected 47056 for [60, 28, 28]"),  # noticed before training
    ],
)
def test_unusable_files_end_in_one_clear_line(copied, name, damage, complaint):
    damage(copied / name)
    message = refused("idx", copied, "train")
    assert str(copied) in message and complaint in message
