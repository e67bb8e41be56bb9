"""LSUN's LMDBs, made here: read as a folder of the same images is."""

import sys

import lmdb
import numpy as np
import pytest
import torch
from conftest import refused

from common import load_dataset


def write_lmdb(path, images):
    """An LMDB as LSUN's: key → encoded image."""
    path.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), map_size=2**26) as env, env.begin(write=True) as transaction:
        for key, data in images.items():
            transaction.put(key, data)


@pytest.fixture
def lsun(tiny_photos, tmp_path):
    """Photographs as LSUN's LMDBs, key order being name order."""
    for category in ("attic", "barn"):
        images = {
            path.name.encode(): path.read_bytes() for path in (tiny_photos / category).iterdir()
        }
        write_lmdb(tmp_path / "lsun" / f"{category}_train_lmdb", images)
    return tmp_path / "lsun"


def load(folder, split="train", **options):
    return load_dataset("lsun", folder, split, image_size=32, categories="barn,attic", **options)


def test_an_lmdb_and_a_folder_of_the_same_images_give_the_same_batches(tiny_photos, lsun, tmp_path):
    for split in ("train", "test"):
        images, labels, names = load(lsun, split, images_per_category=17)
        options = dict(categories="barn,attic", image_size=32, images_per_category=17)
        options["cache_dir"] = tmp_path / "cache"
        reference = load_dataset("folder", tiny_photos, split, **options)
        assert np.array_equal(images, reference[0]) and torch.equal(labels, reference[1])
        assert names == reference[2] == ["barn", "attic"]
    written = sorted(path.name for path in lsun.iterdir())
    assert written == [".cache", "attic_train_lmdb", "barn_train_lmdb"]


def test_the_official_validation_set_is_the_test_split(tiny_photos, lsun, capsys):
    cellar = [path.read_bytes() for path in sorted((tiny_photos / "cellar").iterdir())]
    write_lmdb(lsun / "attic_val_lmdb", {b"0": cellar[0], b"1": cellar[1]})
    load(lsun, images_per_category=15)
    assert "held out of training, as barn_val_lmdb is missing" in capsys.readouterr().out
    write_lmdb(lsun / "barn_val_lmdb", {b"0": cellar[2], b"1": cellar[3]})
    assert [len(load(lsun, split, images_per_category=15)[0]) for split in ("train", "test")] == [
        30,
        4,
    ]


def test_values_that_are_no_images_are_named_and_take_no_place_in_the_test_split(lsun, capsys):
    # So many that some of them would be among the tenth whose keys hash lowest
    others = {f"length{number}".encode(): b"20" for number in range(30)}
    write_lmdb(lsun / "barn_train_lmdb", others)
    images, labels, _ = load(lsun)
    assert torch.bincount(labels).tolist() == [18, 18]
    assert "barn/length0: no image that Pillow opens" in capsys.readouterr().out
    assert len(load(lsun, "test")[0]) == 4
    assert np.array_equal(load(lsun, images_per_category=20)[0], images)


def test_without_lsun_the_error_says_what_to_download(tmp_path):
    message = refused("lsun", tmp_path, "train")
    assert "bedroom_train_lmdb, kitchen_train_lmdb, church_outdoor_train_lmdb, tower" in message
    assert f"unpack them to {tmp_path}/bedroom_train_lmdb/data.mdb" in message


@pytest.mark.parametrize(
    "damage", [lambda data: b"damaged!" * 1000, lambda data: data[: len(data) // 2]]
)
def test_a_corrupt_lmdb_is_named(lsun, damage):
    path = lsun / "barn_train_lmdb" / "data.mdb"
    path.write_bytes(damage(path.read_bytes()))
    message = refused("lsun", lsun, "train", categories="attic,barn")
    assert f"{lsun / 'barn_train_lmdb'} is no readable LMDB" in message


def test_without_lmdb_the_error_names_the_install_command(lsun, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    message = refused("lsun", lsun, "train", categories="attic,barn")
    assert "pip install -r requirements-extras.txt" in message
