"""Folders of images: which files are images, which folders categories or splits; errors."""

import argparse
import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import torch
from conftest import TINY, call_main, photograph, refused
from PIL import Image

import prepare
from common import add_data_options, load_dataset, use_any_encoding
from datafiles import build
from datafiles.build import hold_out
from datafiles.decode import decode
from datafiles.folders import walk
from datafiles.layout import split_of
from datafiles.names import natural_order, parse_categories, write_categories

CATEGORIES = ["attic", "barn", "cellar"]


def load(folder, split="train", **options):
    return load_dataset("folder", folder, split, **{"image_size": 32, **options})


def counts(folder, split="train", **options):
    """Images of a split by category."""
    _, labels, names = load(folder, split, **options)
    return dict(zip(names, torch.bincount(labels, minlength=len(names)).tolist()))


def write_images(folder, count=8, suffix="png", first=0):
    """Small images, all different, named 00, 01, …"""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng([number, *os.fsencode(folder)]).integers(0, 256, (8, 8, 3))
        buffer = io.BytesIO()
        image_format = {"jfif": "JPEG", "tif": "TIFF", "jp2": "JPEG2000", "": "PNG"}.get(
            suffix, suffix.upper()
        )
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, image_format)
        name = f"{number:02d}.{suffix}" if suffix else f"{number:02d}"
        (folder / name).write_bytes(buffer.getvalue())
    return folder


def summary_of(folder):
    (path,) = (folder / ".cache").glob("*/summary.json")
    return json.loads(path.read_text())


# Order and splits


def test_a_folder_is_read_in_order_with_a_tenth_held_out(photos):
    parts = {split: load(photos, split) for split in ("train", "test")}
    for split, (images, labels, names) in parts.items():
        n = {"train": 18, "test": 2}[split]
        assert images.shape == (3 * n, 3, 32, 32) and images.dtype == np.uint8
        assert labels.tolist() == [0] * n + [1] * n + [2] * n and names == CATEGORIES
    for c, category in enumerate(CATEGORIES):
        paths = sorted((photos / category).iterdir())
        every = [decode(path, 32, False)[0].tobytes() for path in paths]
        train, test = (
            [image.tobytes() for image in parts[split][0][parts[split][1] == c]]
            for split in ("train", "test")
        )
        assert train == [image for image in every if image in train]
        assert sorted(train + test) == sorted(every)


def test_the_tenth_whose_names_hash_lowest_is_held_out():
    names = [f"{number:02d}.jpg" for number in range(35)]
    lowest = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:3]
    assert [name for name, out in zip(names, hold_out(names)) if out] == sorted(lowest)
    assert hold_out(names[:5]).sum() == hold_out(names[:2]).sum() == 2
    keys = [name.encode() for name in names]  # of an LMDB
    assert hold_out(keys).tolist() == hold_out(names).tolist()


def test_another_image_leaves_the_held_out_ones_held_out(photos):
    before = {image.tobytes() for image in load(photos, "test")[0]}
    photograph(1234).save(photos / "attic" / "05 more.png")
    after = {image.tobytes() for image in load(photos, "test")[0]}
    assert len(before) == len(after) == 6 and len(before & after) >= 5


def test_categories_are_learned_in_the_order_asked_for(photos):
    options = dict(categories="cellar, attic", images_per_category=10)
    images, labels, names = load(photos, **options)
    assert names == ["cellar", "attic"] and torch.bincount(labels).tolist() == [8, 8]
    everything, theirs, _ = load(photos)
    assert images[0].tobytes() in [image.tobytes() for image in everything[theirs == 2]]
    assert len(load(photos, "test", **options)[0]) == 4


def test_image_size_and_crop_have_caches_of_their_own(photos):
    small, _, _ = load(photos)
    assert small.shape == (54, 3, 32, 32) and load(photos, image_size=64)[0].shape[2:] == (64, 64)
    assert not np.array_equal(load(photos, crop=True)[0], small)
    assert np.array_equal(load(photos)[0], small)


def test_numbered_categories_are_in_the_order_of_their_numbers(tmp_path):
    for number in range(12):
        write_images(tmp_path / str(number), 6)
    assert load(tmp_path)[2] == [str(number) for number in range(12)]


def test_natural_order_changes_the_order_of_numbers_only():
    names = ["a-b", "a1", "beach", "beach 2", "beach2", "Beach", "été", "01", "1", "x.y"]
    assert sorted(names, key=natural_order) == sorted(names)
    names = ["c9", "c10", "c10b2", "c10b10"]
    assert sorted(sorted(names), key=natural_order) == names


# Which sub-folders are splits, and which are categories


SPELLINGS = ["train test", "train val", "Training Testing", "TRAIN Validation", "train valid"]


@pytest.mark.parametrize("spellings", SPELLINGS)
def test_splits_are_found_in_their_usual_spellings(tmp_path, spellings):
    train, test = spellings.split()
    for category in ("beach", "city"):
        write_images(tmp_path / train / category, 8)
        write_images(tmp_path / test / category, 3)
    assert counts(tmp_path) == {"beach": 8, "city": 8}
    assert counts(tmp_path, "test") == {"beach": 3, "city": 3}


def write_tree(root, folders):
    """Six images in each of these folders; names of other files become text files."""
    for name in folders.split():
        if name.endswith((".txt", ".md", ".json", ".zip", ".parquet")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("no image")
        else:
            write_images(root / name, 6)
    return root


COMMAND = "if the categories are {}, use {}"
TREES = {
    "splits of another name, and a folder around": (
        "training_set/training_set/cats training_set/training_set/dogs "
        "test_set/test_set/cats test_set/test_set/dogs",
        "found folders named like splits: test_set, training_set",
        COMMAND.format("cats, dogs", "--data-dir={}/training_set/training_set"),
    ),
    "three splits": (
        "seg_train/seg_train/sea seg_train/seg_train/street "
        "seg_test/seg_test/sea seg_test/seg_test/street seg_pred/seg_pred",
        "found folders named like splits: seg_pred, seg_test, seg_train",
        COMMAND.format("sea, street", "--data-dir={}/seg_train/seg_train"),
    ),
    "flat splits": (
        "train test",
        "found folders named like splits: test, train",
        "those that are categories all the same, name in --categories",
    ),
    "flat splits of a word in a name": (
        "trainA trainB testA testB",
        "found folders named like splits: testA, testB, trainA",
        "those that are categories all the same, name in --categories",
    ),
    "a split beside categories, of which one begins with a hyphen": (
        "-beach city test/-beach test/city",
        "found folders named like splits: test",
        "to learn only the other folders, use --categories=-beach,city",
    ),
    "splits inside categories": (
        "cats/train cats/test dogs/train dogs/test",
        "found splits inside categories: cats/test, cats/train, dogs/test, …",
        "move cats/test to test/cats",
    ),
    "a category without a test split": (
        "train/beach train/city train/lake test/beach test/lake",
        "{}/test has no category city; it has beach, lake; expected",
        COMMAND.format("beach, city, lake", "--data-dir={}/train (a tenth is held out for tests)"),
    ),
    "a test split without labels": (
        "train/n01/images train/n02/images test/images val/images val/val_annotations.txt",
        "found folders of images inside folders: n01/images, n02/images",
        "use --data-dir={}/train --categories='*' (a tenth is held out for tests)",
    ),
    "a flat test split": (
        "train/a train/b train/c train/d test",
        "{}/test has none of the categories a, b, c, …; it has no folders",
        COMMAND.format("a, b, c, …", "--data-dir={}/train (a tenth is held out for tests)"),
    ),
    "a category for tests only": (
        "train/beach train/city test/beach test/city test/lake",
        "{}/test has lake, training has not",
        COMMAND.format("beach, city", "--data-dir={}/train"),
    ),
    "images beside the splits": (
        "train/beach train/city test/beach test/city extra",
        "found train and, beside it, extra with images",
        "move extra away",
    ),
    "two folders for one split": (
        "train/beach train/city Training/beach Training/city",
        "found Training and train, two folders for one split",
        "move one of them away",
    ),
    "chunks": (
        "00000 00001 dataset.json",
        "found dataset.json beside 00000, 00001",
        "make a folder for each label, or, if these are categories, name them in --categories",
    ),
    "one folder of images among others": (
        "images parts/a.txt attributes/b.txt",
        "found only one folder with images (images), and files: 6 .png, 2 .txt",
        "expected <category>/<image>",
    ),
    "one folder of categories among others": (
        "images/001.Auk images/002.Emu parts/a.txt attributes/b.txt",
        "found folders of images inside folders: images/001.Auk, images/002.Emu",
        COMMAND.format("001.Auk, 002.Emu", "--data-dir={}/images (a tenth is held out for tests)"),
    ),
    "a folder around whose name a shell would change": (
        "my$photos/beach my$photos/city",
        "found folders of images inside folders: my$photos/beach, my$photos/city",
        COMMAND.format("beach, city", "--data-dir='{}/my$photos'"),
    ),
    "splits inside a folder around": (
        "data/train2020/beach data/train2020/city data/val2020/beach data/val2020/city",
        "found folders of images inside folders: data/train2020, data/val2020",
        COMMAND.format("beach, city", "--data-dir={}/data/train2020"),
    ),
    "tables": (
        "data/train-0.parquet data/train-1.parquet README.md",
        "found no folder with images, and files: 2 .parquet, 1 .md",
        "expected <category>/<image>",
    ),
    "folders of categories": (
        "birds/auk birds/emu fish/cod fish/eel",
        "found folders of images inside folders: birds/auk, birds/emu, fish/cod, …",
        "if the categories are birds, fish and hold folders on purpose, use --categories='*'",
    ),
}


@pytest.mark.parametrize("case", TREES)
def test_what_is_neither_layout_is_refused_before_decoding_and_the_command_meant_works(
    tmp_path, case, monkeypatch
):
    """What follows "use" in the line is typed, and learns no split as a category."""
    folders, found, advice = TREES[case]
    root = write_tree(tmp_path / "my", folders)
    with monkeypatch.context() as patch:
        patch.setattr(build, "decode", None)
        message = refused("folder", root, "train")
    assert message.startswith(f"error: {root}: {found.format(root)}")
    assert advice.format(root) in message
    assert len(message) < 500 + 3 * len(str(root))
    for command in message.split(", use ")[1:]:
        options = shlex.split(command.split(" (")[0].split(";")[0])
        options = dict(option.split("=", 1) for option in options)
        categories = options.get("--categories", "")
        names = load(options.get("--data-dir", root), categories=categories)[2]
        assert len(names) > 1
        assert not any("train" in name or "test" in name for name in names)


def test_names_in_categories_and_a_star_allow_folders_inside_and_names_of_splits(tmp_path):
    write_tree(tmp_path, "beach/a/b beach/c zoo/pictures zoo")
    assert counts(tmp_path, categories="*") == {"beach": 10, "zoo": 10}
    assert list(counts(tmp_path, categories="zoo,beach")) == ["zoo", "beach"]
    write_tree(tmp_path, "test")
    assert list(counts(tmp_path, categories="test,beach")) == ["test", "beach"]
    for categories in ("", "*"):
        message = refused("folder", tmp_path, "train", categories=categories)
        assert "found folders named like splits: test" in message
    write_tree(tmp_path, "test/more")  # so it holds folders, as a split does
    message = refused("folder", tmp_path, "train", categories="test,beach")
    assert "found folders named like splits: test" in message


@pytest.mark.parametrize("deeper", ["", "parts/"])
@pytest.mark.parametrize("categories", ["*", "cats,dogs"])
def test_splits_inside_categories_are_never_learned(tmp_path, categories, deeper):
    for category in ("cats", "dogs"):
        write_tree(tmp_path / category, f"{deeper}train {deeper}test")
    message = refused("folder", tmp_path, "train", categories=categories)
    assert f"found splits inside categories: cats/{deeper}test" in message
    assert f"move cats/{deeper}test to test/cats" in message and "use --" not in message


def test_a_star_with_a_test_split_without_labels_is_led_to_the_training_split(tmp_path):
    write_tree(tmp_path, TREES["a test split without labels"][0])
    message = refused("folder", tmp_path, "train", categories="*")
    assert f"{tmp_path / 'test'} has none of the categories n01, n02; it has images" in message
    assert f"use --data-dir={tmp_path / 'train'} --categories='*'" in message
    assert counts(tmp_path / "train", categories="*") == {"n01": 4, "n02": 4}


def test_a_star_keeps_the_splits(tmp_path):
    write_tree(tmp_path, "train/beach/a train/city test/beach test/city/b")
    assert counts(tmp_path, categories="*") == {"beach": 6, "city": 6}
    assert counts(tmp_path, "test", categories="*") == {"beach": 6, "city": 6}


def test_whoever_names_folders_of_either_level_means_them(tmp_path):
    write_tree(tmp_path, "train/steam train/diesel bus car")
    assert list(counts(tmp_path, categories="bus,car")) == ["bus", "car"]
    assert list(counts(tmp_path, categories="steam,diesel")) == ["steam", "diesel"]
    assert "found train and, beside it, bus, car with images" in refused(
        "folder", tmp_path, "train"
    )


SPLIT_NAMES = "TRAIN valSet x_test testdata MNISTTrain train2017 my_test_images dev pred"
OTHER_NAMES = "contest Valley protest straining devil Oval trains"


def test_a_name_is_a_splits_if_a_whole_word_of_it_is():
    assert all(split_of(name) for name in SPLIT_NAMES.split())
    assert not any(split_of(name) for name in OTHER_NAMES.split())


def test_other_splits_beside_are_left_out_with_a_line(tmp_path, capsys):
    write_tree(tmp_path, "train/beach train/city test/beach test/city val/beach test2 notes/a.txt")
    assert counts(tmp_path, "test") == {"beach": 6, "city": 6}
    counts(tmp_path)
    beside = f"left out, as it lies beside {tmp_path / 'train'}: test2, val"
    assert beside in capsys.readouterr().out


# Which files are images


def test_images_at_any_depth_count_and_hidden_files_do_not(photos):
    (photos / "attic" / "deeper").mkdir()
    photograph(7).save(photos / "attic" / "deeper" / "UPPER.JPG")
    photograph(8).save(photos / "attic" / ".hidden.png")
    assert len(list(walk(photos / "attic"))) == 21
    (photos / "attic" / "loop").symlink_to(photos / "attic")
    (photos / "barn" / "loop").symlink_to(photos)
    assert len(list(walk(photos / "attic"))) == 21
    assert len(list(walk(photos / "barn"))) == 61  # with attic, cellar and itself, once
    assert "found folders of images inside folders: attic/deeper" in refused(
        "folder", photos, "train"
    )
    sums = [len(load(photos, split, categories="*")[0]) for split in ("train", "test")]
    assert sum(sums) == 21 + 61 + 20


def test_what_pillow_opens_is_an_image_whatever_its_name(tmp_path):
    for category in ("beach", "city"):
        for number, suffix in enumerate(["png", "jfif", "ppm", "jp2", "tif", ""]):
            write_images(tmp_path / category, 5, suffix, first=5 * number)
    assert counts(tmp_path) == {"beach": 27, "city": 27}


def test_a_category_is_one_also_where_no_file_is_named_as_an_image(tmp_path):
    for category in ("beach", "city"):
        write_images(tmp_path / category, 6, "")
        (tmp_path / category / "00.txt").write_text("no image")
    assert counts(tmp_path) == {"beach": 4, "city": 4}


def test_files_that_are_no_images_are_counted_and_the_first_are_named(photos, tmp_path, capsys):
    path = photos / "barn" / "04.jpg"
    path.write_bytes(path.read_bytes()[:300])
    (photos / "cellar" / "99.png").write_text("no image")
    (photos / "cellar" / "98.png").symlink_to(photos / "nowhere.png")
    for name in ("note.heic", "Makefile"):
        (photos / "cellar" / name).write_text("no image")
    expected = {
        "barn/04.jpg": "… truncated …",
        "cellar/98.png": "No such file or directory",
        "cellar/99.png": "no image that Pillow opens",
        "cellar/Makefile": "no image that Pillow opens",
        "cellar/note.heic": "no image that Pillow opens",
    }
    for _ in range(2):  # decoded, and from the cache
        assert counts(photos) == {"attic": 18, "barn": 17, "cellar": 18}
        output = capsys.readouterr().out
        assert (
            "left out, as no image: 2 .png, 1 .jpg, 1 no suffix, 1 .heic (barn/04.jpg: " in output
        )
        assert "cellar/98.png: No such file or directory, cellar/99.png: no image" in output
        assert f"all of them are listed in {photos / '.cache'}" in output
    left_out = summary_of(photos)["left_out"]
    assert left_out.keys() == expected.keys()
    assert "truncated" in left_out.pop("barn/04.jpg").lower()
    assert all(left_out[name] == expected[name] for name in left_out)


def test_unreadable_images_of_both_splits_are_all_named(tmp_path):
    for split in ("train", "test"):
        for category in ("beach", "lake"):
            write_images(tmp_path / split / category)
        (tmp_path / split / "beach" / "03.png").write_text("no image")
    load(tmp_path)
    named = sorted(summary_of(tmp_path)["left_out"])
    assert named == ["beach/03.png", "test split: beach/03.png"]


def test_files_that_do_not_decode_take_no_place_among_the_first(photos):
    for name in ("00.png", "01.jpg", "02.webp"):
        (photos / "barn" / name).write_bytes(b"broken")
    assert counts(photos, images_per_category=17) == {"attic": 15, "barn": 15, "cellar": 15}
    assert counts(photos, "test", images_per_category=17) == dict.fromkeys(CATEGORIES, 2)


def test_files_that_do_not_decode_take_no_place_in_the_test_split(photos):
    names = sorted(path.name for path in (photos / "barn").iterdir())
    held_out = [name for name, out in zip(names, hold_out(names)) if out]
    for name in held_out:
        (photos / "barn" / name).write_bytes(b"broken")
    assert counts(photos, "test") == dict.fromkeys(CATEGORIES, 2)
    assert counts(photos)["barn"] == 16


@pytest.mark.parametrize("category, held_out", [("attic", False), ("barn", True)])
def test_the_same_image_in_two_categories_or_splits_is_told(photos, capsys, category, held_out):
    names = sorted(path.name for path in (photos / "attic").iterdir())
    test = [name for name, out in zip(names, hold_out(names)) if out]
    train = [name for name in names if name not in test]
    source, target = (test, train) if held_out else (train, test)
    shutil.copy(photos / "attic" / source[0], photos / category / target[0])
    load(photos)
    assert "warning: in two categories or splits: 1 images" in capsys.readouterr().out


# Too little


@pytest.mark.parametrize("split", ["", "train"])
def test_an_empty_category_is_left_out_and_told_or_refused_when_asked_for(tmp_path, split, capsys):
    write_tree(tmp_path / split, "beach city")
    if split:
        write_tree(tmp_path / "test", "beach city")
    (tmp_path / split / "void").mkdir()
    (tmp_path / split / "docs").mkdir()
    (tmp_path / split / "docs" / "README.md").write_text("no image")
    for name in ("b.JPG", "a.png", "README.md"):
        (tmp_path / split / name).write_text("beside the folders")
    assert load(tmp_path)[2] == ["beach", "city"]
    told = capsys.readouterr().out
    assert "left out, as no image is in it: docs, void" in told
    assert "left out, as they lie beside the categories: a.png, b.JPG\n" in told
    if not split:
        message = refused("folder", tmp_path, "train", categories="void,city")
        assert "category void has 0 training and 0 test images" in message


OPTIONS = {
    "has no category zoo; it has attic, barn, cellar": dict(categories="zoo,attic"),
    "expected different names": dict(categories="attic,attic"),
    "expected at least 2 categories with images, found attic": dict(categories="attic"),
    "expected at least 4": dict(images_per_category=3),
    "category attic has 2 training and 2 test images": dict(images_per_category=4),
}


@pytest.mark.parametrize("complaint", OPTIONS)
def test_options_that_leave_too_little_are_refused_before_decoding(
    tiny_photos, complaint, tmp_path
):
    options = dict(OPTIONS[complaint], cache_dir=tmp_path / "cache")
    assert complaint in refused("folder", tiny_photos, "train", **options)
    assert not list(tmp_path.rglob("*"))


def test_unusable_folders_end_in_one_clear_line(photos, tmp_path):
    assert "is no folder" in refused("folder", tmp_path / "nowhere", "train")
    message = refused("folder", photos / "attic", "train")
    assert "found no folder with images, and files: 7 .png, 7 .jpg, 6 .webp" in message
    write_images(photos / "few", 5)
    message = refused("folder", photos, "train")
    assert "category few has 3 training and 2 test images" in message
    assert "--categories=attic,barn,cellar" in message
    shutil.rmtree(photos / "few")
    for path in (photos / "barn").iterdir():
        path.write_bytes(b"broken")
    message = refused("folder", photos, "train")
    found = "category barn has 0 training and 0 test images (left out: 20 files, the first 00.png"
    assert f"{found}: no image that Pillow opens)" in message
    assert [path.name for path in (photos / ".cache").iterdir()] == ["lock"]


# Names


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp932"])
def test_names_in_any_encoding_work(tmp_path, encoding, monkeypatch):
    for category in (b"caf\xe9", "日本".encode(), b"plain"):
        folder = write_images(tmp_path / "photos" / os.fsdecode(category), 6)
        (folder / "00.png").rename(folder / os.fsdecode(b"\xfcber.png"))
        (folder / os.fsdecode(b"z\xff.png")).write_bytes(b"broken")
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding, write_through=True))
    options = ["--dataset", "folder", "--data-dir", tmp_path / "photos", "--image-size", 32]
    assert not call_main(prepare, *options)
    assert b"train: caf\\udce9 4, plain 4, " in output.getvalue()
    left_out = summary_of(tmp_path / "photos")["left_out"]
    assert os.fsdecode(b"caf\xe9/z\xff.png") in left_out
    names = load(tmp_path / "photos")[2]
    assert names == [os.fsdecode(b"caf\xe9"), "plain", "日本"]
    assert load(tmp_path / "photos", categories=f"plain,{names[0]}")[2] == ["plain", names[0]]


@pytest.mark.parametrize("form, other", [("NFC", "NFD"), ("NFD", "NFC")])
def test_categories_match_in_both_unicode_forms(tmp_path, form, other):
    for name in ("café", "plage"):
        write_images(tmp_path / "train" / unicodedata.normalize(form, name), 6)
        write_images(tmp_path / "test" / unicodedata.normalize(other, name), 2)
    asked = unicodedata.normalize(other, "plage,café")
    assert load(tmp_path, categories=asked)[2] == ["plage", unicodedata.normalize(form, "café")]
    assert len(load(tmp_path, "test", categories=asked)[0]) == 4


def test_a_name_with_a_comma_stands_in_quotes(tmp_path):
    for name in ("Paris, France", "Rome", 'so-called "city"'):
        write_images(tmp_path / name, 6)
    assert load(tmp_path, categories='Rome, "Paris, France"')[2] == ["Rome", "Paris, France"]
    message = refused("folder", tmp_path, "train", categories="Paris, France")
    assert "none of the categories Paris, France; it has Paris, France" in message
    assert "those with a comma in double quotes" in refused(
        "folder", tmp_path, "train", categories='"Paris, France'
    )


def test_a_run_learns_and_saves_names_in_any_encoding(tmp_path):
    import sft

    for category in (b"caf\xe9", b"plain"):
        write_images(tmp_path / "photos" / os.fsdecode(category), 6)
    use_any_encoding()
    tiny = [option for option in TINY if option not in ("--dataset", "idx")]
    options = ["--dataset", "folder", "--data-dir", tmp_path / "photos", "--image-size", 32]
    assert not call_main(sft, *tiny, *options, "--run-dir", tmp_path / "run")
    names = torch.load(tmp_path / "run" / "task_2.pt", weights_only=True)["categories"]
    assert names == [os.fsdecode(b"caf\xe9"), "plain"]


def test_what_an_error_suggests_for_categories_can_be_typed():
    parser = argparse.ArgumentParser()
    add_data_options(parser)
    for names in [["a", "b, c", 'say "x", y', '"', "it's", "日本"], ["-old", "new"], ["*", "$x"]]:
        command = f'printf "%s\\n" {write_categories(names)}'
        done = subprocess.run(["sh", "-c", command], capture_output=True, encoding="utf-8")
        options = parser.parse_args(done.stdout.splitlines())
        assert parse_categories(options.categories) == names


def test_a_category_of_many_more_is_not_written_out():
    names = [str(number) for number in range(31)]
    assert write_categories(names) == "--categories with their names, separated by commas"
    assert write_categories(names[1:]).count(",") == 29


@pytest.mark.parametrize("option", ["data_dir", "cache_dir", "categories"])
def test_line_ends_of_windows_are_refused_or_stripped(tmp_path, option):
    """Where a list of options has them, they stand behind the last option."""
    write_tree(tmp_path / "photos", "beach city")
    options = {"data_dir": tmp_path / "photos", "categories": "beach,city", "split": "train"}
    options[option] = f"{options.get(option, tmp_path / 'cache')}\r"
    if option == "categories":
        assert load_dataset("folder", **options)[2] == ["beach", "city"]
        options[option] = "bea\tch,city"
    before = sorted(tmp_path.rglob("*"))
    message = refused("folder", **options)
    assert f"--{option.replace('_', '-')} is " in message and "control characters" in message
    assert sorted(tmp_path.rglob("*")) == before


def test_a_pipe_is_not_waited_for(tmp_path):
    write_tree(tmp_path, "beach city")
    for folder in ("beach", "docs"):
        (tmp_path / folder).mkdir(exist_ok=True)
        os.mkfifo(tmp_path / folder / "pipe.png")
        (tmp_path / folder / "link.png").symlink_to(tmp_path / folder / "pipe.png")
    (tmp_path / "beach" / "itself.png").symlink_to(tmp_path / "beach" / "itself.png")
    assert counts(tmp_path) == {"beach": 4, "city": 4}
