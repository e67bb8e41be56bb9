"""Every category needs enough images: one check for every data set, before anything is learned."""

import io

import lmdb
import numpy as np
import pytest
import torch
from conftest import refused
from PIL import Image
from scipy.io import savemat

from common import load_dataset
from datafiles.idx import write_idx

ENOUGH = {"1": (6, 3), "2": (7, 4), "3": (5, 2)}  # training and test images by category
TOO_LITTLE = {
    "one training image": {"2": (1, 4)},
    "no test image": {"2": (7, 0)},
    "one test image": {"2": (7, 1)},
    "no image": {"2": (0, 0)},
    "no training image": {"2": (0, 3)},
}


def labels_of(counts, split):
    """Labels in an order that mixes them. uint8"""
    of_split = {name: pair[split == "test"] for name, pair in counts.items()}
    labels = np.repeat([int(name) for name in of_split], list(of_split.values()))
    return np.random.default_rng(0).permutation(labels).astype(np.uint8)


def write_idx_files(folder, counts):
    for split, prefix in [("train", "train"), ("test", "t10k")]:
        labels = labels_of(counts, split)
        images = np.random.default_rng(1).integers(0, 256, (len(labels), 28, 28), np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)


def write_mat_files(folder, counts):
    for split in ("train", "test"):
        labels = labels_of(counts, split)
        images = np.random.default_rng(1).integers(0, 256, (32, 32, 3, len(labels)), np.uint8)
        savemat(folder / f"{split}_32x32.mat", {"X": images, "y": labels[:, None]})


def pictures(count, seed):
    """Encoded images by name."""
    random = np.random.default_rng([seed, count])
    found = {}
    for number in range(count):
        buffer = io.BytesIO()
        pixels = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        found[f"{number}.png"] = buffer.getvalue()
    return found


def write_folders(folder, counts):
    for name, pair in counts.items():
        for split, count in zip(("train", "test"), pair):
            (folder / split / name).mkdir(parents=True)
            for file, data in pictures(count, int(name)).items():
                (folder / split / name / file).write_bytes(data)


def write_lmdbs(folder, counts):
    for name, pair in counts.items():
        for split, count in zip(("train", "val"), pair):
            path = folder / f"{name}_{split}_lmdb"
            with lmdb.open(str(path), map_size=2**24) as env, env.begin(write=True) as transaction:
                for file, data in pictures(count, int(name)).items():
                    transaction.put(file.encode(), data)


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
    counts = {**ENOUGH, **TOO_LITTLE[case]}
    WRITERS[dataset](tmp_path, counts)
    message = refused(dataset, tmp_path, "train", categories="1,2,3")
    train, test = counts["2"]
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


def test_a_limit_counts_for_training(tmp_path):
    WRITERS["idx"](tmp_path, {"0": (9, 7), "1": (9, 7)})
    for split, expected in [("train", [5, 5]), ("test", [7, 7])]:
        labels = load_dataset("idx", tmp_path, split, images_per_category=5)[1]
        assert torch.bincount(labels).tolist() == expected


@pytest.mark.parametrize("dataset", ["idx", "svhn"])
def test_nearly_constant_pixels_are_warned_about(tmp_path, dataset, capsys):
    WRITERS[dataset](tmp_path, ENOUGH)
    load_dataset(dataset, tmp_path, "train", categories="1,2,3")
    assert "nearly constant" not in capsys.readouterr().out
    if dataset == "idx":
        path, labels = tmp_path / "train-images-idx3-ubyte", labels_of(ENOUGH, "train")
        write_idx(path, np.random.default_rng(1).integers(0, 2, (len(labels), 28, 28), np.uint8))
    else:
        labels = labels_of(ENOUGH, "train")
        images = np.random.default_rng(1).integers(0, 2, (32, 32, 3, len(labels)), np.uint8)
        savemat(tmp_path / "train_32x32.mat", {"X": images, "y": labels[:, None]})
    load_dataset(dataset, tmp_path, "train", categories="1,2,3")
    assert "warning: the images are nearly constant in 1 (standard" in capsys.readouterr().out
