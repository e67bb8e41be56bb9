"""Every category needs enough images: one check for every data set, before anything is learned."""

import io

import numpy as np
import pytest
import torch
from conftest import refused
from PIL import Image
from scipy.io import savemat
from test_lsun import write_lmdb

from common import load_dataset
from datafiles.idx import NAMES, write_idx

ENOUGH = {"1": (6, 3), "2": (7, 4), "3": (5, 2)}  # training and test images by category
TOO_LITTLE = {
    "one training image": (1, 4),
    "no test image": (7, 0),
    "one test image": (7, 1),
    "no image": (0, 0),
    "no training image": (0, 3),
}


def split_arrays(counts, split, shape, white):
    """Images [N, *shape] of random values up to white, and labels that are mixed, uint8."""
    numbers = [pair[split == "test"] for pair in counts.values()]
    labels = np.repeat([int(name) for name in counts], numbers)
    random = np.random.default_rng(0)
    images = random.integers(0, white + 1, (len(labels), *shape), np.uint8)
    return images, random.permutation(labels).astype(np.uint8)


def write_idx_files(folder, counts, white=255, names=NAMES):
    for split, (image_name, label_name) in [("train", names[:2]), ("test", names[2:])]:
        images, labels = split_arrays(counts, split, (28, 28), white)
        write_idx(folder / image_name, images)
        write_idx(folder / label_name, labels)


def write_mat_files(folder, counts, white=255):
    for split in ("train", "test"):
        images, labels = split_arrays(counts, split, (32, 32, 3), white)
        variables = {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None]}
        savemat(folder / f"{split}_32x32.mat", variables)


def encoded(counts, split, white):
    """Encoded images by category and name."""
    images, labels = split_arrays(counts, split, (8, 8, 3), white)
    found = {name: {} for name in counts}
    for number, (pixels, label) in enumerate(zip(images, labels)):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        found[str(label)][f"{number}.png"] = buffer.getvalue()
    return found


def write_folders(folder, counts, white=255):
    for split in ("train", "test"):
        for name, images in encoded(counts, split, white).items():
            (folder / split / name).mkdir(parents=True)
            for file, data in images.items():
                (folder / split / name / file).write_bytes(data)


def write_lmdbs(folder, counts, white=255):
    for split, suffix in [("train", "train"), ("test", "val")]:
        for name, images in encoded(counts, split, white).items():
            images = {file.encode(): data for file, data in images.items()}
            write_lmdb(folder / f"{name}_{suffix}_lmdb", images)


WRITERS = {
    "idx": write_idx_files,
    "svhn": write_mat_files,
    "folder": write_folders,
    "lsun": write_lmdbs,
}


@pytest.mark.parametrize("dataset", WRITERS)
def test_categories_that_are_asked_for_are_enough(tmp_path, dataset):
    """Labels may start at 1, and other categories may be too small."""
    WRITERS[dataset](tmp_path, {**ENOUGH, "4": (1, 0)})
    for split, expected in [("train", [7, 6, 5]), ("test", [4, 3, 2])]:
        images, labels, names = load_dataset(dataset, tmp_path, split, categories="2,1,3")
        assert names == ["2", "1", "3"] and torch.bincount(labels).tolist() == expected
        assert len(images) == sum(expected)


@pytest.mark.parametrize("case", TOO_LITTLE)
@pytest.mark.parametrize("dataset", WRITERS)
def test_a_category_with_too_few_images_is_named_at_the_start_of_training(tmp_path, dataset, case):
    train, test = TOO_LITTLE[case]
    WRITERS[dataset](tmp_path, {**ENOUGH, "2": (train, test)})
    message = refused(dataset, tmp_path, "train", categories="1,2,3")
    assert f"category 2 has {train} training and {test} test images" in message
    assert "expected at least 4 training and 2 test images in each category" in message
    assert "--categories=1,3" in message


@pytest.mark.parametrize("dataset", ["idx", "svhn"])
def test_numbers_without_images_are_named_when_all_are_to_be_learned(tmp_path, dataset):
    WRITERS[dataset](tmp_path, ENOUGH)
    message = refused(dataset, tmp_path, "train")
    assert "category 0 has 0 training and 0 test images" in message
    assert "--categories=1,2,3" in message


def test_a_category_in_the_test_labels_only_is_named(tmp_path):
    WRITERS["idx"](tmp_path, {"0": (5, 2), "1": (5, 2), "2": (0, 2)})
    assert "category 2 has 0 training and 2 test" in refused("idx", tmp_path, "train")


@pytest.mark.parametrize("dataset", WRITERS)
def test_a_limit_counts_for_training(tmp_path, dataset):
    WRITERS[dataset](tmp_path, {"1": (9, 7), "2": (9, 7)})
    options = dict(images_per_category=5, categories="1,2")
    for split, expected in [("train", [5, 5]), ("test", [7, 7])]:
        labels = load_dataset(dataset, tmp_path, split, **options)[1]
        assert torch.bincount(labels).tolist() == expected


@pytest.mark.parametrize("dataset", WRITERS)
@pytest.mark.parametrize("white", [255, 15])
def test_nearly_constant_pixels_are_warned_about(tmp_path, dataset, white, capsys):
    WRITERS[dataset](tmp_path, ENOUGH, white)
    for _ in range(2):  # the second time, from the cache
        load_dataset(dataset, tmp_path, "train", categories="1,2,3")
        output = capsys.readouterr().out
        warning = "warning: the images are nearly constant in 1 (standard deviation "
        assert (warning in output) == (white == 15)
        load_dataset(dataset, tmp_path, "test", categories="1,2,3")
        assert "nearly constant" not in capsys.readouterr().out
