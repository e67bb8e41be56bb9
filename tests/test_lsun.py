"""LSUN's LMDBs, made here: read as a folder of the same images is."""

import io
import shutil
import sys

import lmdb
import numpy as np
import pytest
import torch
from conftest import photograph, refused

from common import load_dataset
from datafiles import lsun as reader


def write_lmdb(path, images):
    """An LMDB as LSUN's: key → encoded image."""
    path.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), map_size=2**26) as env, env.begin(write=True) as transaction:
        for key, data in images.items():
            transaction.put(key, data)


@pytest.fixture
def lsun(tiny_photos, tmp_path):
    """Photographs as LSUN's LMDBs, key order being name order."""
    for category in ("attic", "barn", "cellar"):
        images = {
            path.name.encode(): path.read_bytes() for path in (tiny_photos / category).iterdir()
        }
        write_lmdb(tmp_path / "lsun" / f"{category}_train_lmdb", images)
    return tmp_path / "lsun"


def load(folder, split="train", **options):
    return load_dataset("lsun", folder, split, image_size=32, **options)


def encoded(seed):
    buffer = io.BytesIO()
    photograph(seed).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("reopen", [4096, 7])
def test_an_lmdb_and_a_folder_of_the_same_images_give_the_same_batches(
    tiny_photos, lsun, tmp_path, monkeypatch, reopen
):
    monkeypatch.setattr(reader, "CHUNK", 3)
    monkeypatch.setattr(reader, "REOPEN", reopen)
    for split in ("train", "test"):
        options = dict(categories="barn,attic", image_size=32, images_per_category=17)
        ours = load_dataset("lsun", lsun, split, **options)
        theirs = load_dataset("folder", tiny_photos, split, cache_dir=tmp_path / "cache", **options)
        assert np.array_equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
        assert ours[2] == theirs[2] == ["barn", "attic"]
    names = [f"{category}_train_lmdb" for category in ("attic", "barn", "cellar")]
    assert sorted(path.name for path in lsun.iterdir()) == [".cache", *names]


def test_the_official_validation_set_is_the_test_split(lsun, capsys):
    options = dict(categories="attic,barn", images_per_category=15)
    write_lmdb(lsun / "attic_val_lmdb", {b"0": encoded(77), b"1": encoded(78)})
    load(lsun, **options)
    assert "held out of training, as barn_val_lmdb is missing" in capsys.readouterr().out
    write_lmdb(lsun / "barn_val_lmdb", {b"0": encoded(77), b"1": encoded(79)})
    assert [len(load(lsun, split, **options)[0]) for split in ("train", "test")] == [30, 4]


def test_values_that_are_no_images_are_named_and_take_no_place_in_the_test_split(lsun, capsys):
    # So many that some of them would be among the tenth whose keys hash lowest.
    others = {f"length{number}".encode(): b"20" for number in range(30)}
    write_lmdb(lsun / "barn_train_lmdb", others)
    images, labels, _ = load(lsun, categories="attic,barn")
    assert torch.bincount(labels).tolist() == [18, 18]
    assert "barn/length0: no image that Pillow opens" in capsys.readouterr().out
    assert len(load(lsun, "test", categories="attic,barn")[0]) == 4
    only = load(lsun, categories="attic,barn", images_per_category=20)
    assert np.array_equal(only[0], images)


def test_lmdbs_one_folder_deeper_are_found(lsun, tmp_path):
    shutil.copytree(lsun, tmp_path / "outer" / "lsun")
    deeper = load(tmp_path / "outer", categories="attic,barn")[0]
    assert np.array_equal(deeper, load(lsun, categories="attic,barn")[0])


def test_without_lsun_the_error_says_what_to_download(tmp_path):
    message = refused("lsun", tmp_path, "train")
    sizes = ["bedroom (3,033,042 images)", "kitchen (2,212,277", "tower (708,264"]
    for part in [*sizes, "church_outdoor (126,227", "bedroom_train_lmdb", "--dataset folder"]:
        assert part in message
    (tmp_path / "tower_train_lmdb.zip").write_bytes(b"PK")
    assert "tower_train_lmdb.zip in --data-dir" in refused("lsun", tmp_path, "train")


def damage_header(path):
    path.write_bytes(b"damaged!" * 1000)


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [damage_header, cut_off])
def test_a_corrupt_lmdb_is_named(lsun, damage):
    damage(lsun / "barn_train_lmdb" / "data.mdb")
    message = refused("lsun", lsun, "train", categories="attic,barn")
    assert f"{lsun / 'barn_train_lmdb'} is no readable LMDB" in message


def test_without_lmdb_the_error_names_the_install_command(lsun, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    message = refused("lsun", lsun, "train", categories="attic,barn")
    assert "pip install -r requirements-extras.txt" in message
