"""Photographs, LMDBs and .mat files, made here: what is decoded, how it is split and cached, what is refused."""

import json
import shutil
import signal
import subprocess
import sys
import time

import lmdb
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, photograph
from PIL import Image
from scipy.io import savemat

from common import RealImages, fingerprint, load_dataset
from datafiles import cache, decode, folders, svhn


@pytest.fixture
def photos(tiny_photos, tmp_path):
    """A copy of three categories of 20 photographs each, to be changed."""
    return shutil.copytree(tiny_photos, tmp_path / "photos")


def load(folder, split="train", **options):
    return load_dataset("folder", folder, split, **options)


def refused(*arguments, **options):
    """The line that load_dataset exits with."""
    with pytest.raises(SystemExit) as stop:
        load_dataset(*arguments, **options)
    assert stop.value.code.startswith("error: ") and "\n" not in stop.value.code
    return stop.value.code


def encoded(image, tmp_path, suffix="png", **options):
    path = tmp_path / f"one.{suffix}"
    image.save(path, **options)
    return path.read_bytes()


# Decoding


def test_an_image_of_the_right_size_is_kept_as_it_is(tmp_path):
    image = photograph(1, (64, 64))
    pixels = decode.decode(encoded(image, tmp_path), 64, crop=False)
    assert pixels.shape == (3, 64, 64) and pixels.dtype == np.uint8
    assert np.array_equal(pixels.transpose(1, 2, 0), np.asarray(image))


def test_larger_images_are_antialiased_and_squashed_to_a_square(tmp_path):
    image = photograph(2, (256, 192))
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    reference = F.interpolate(x, (64, 64), mode="bicubic", antialias=True, align_corners=False)[
        0
    ].clamp(0, 255)
    pixels = torch.from_numpy(decode.decode(encoded(image, tmp_path), 64, crop=False)).float()
    assert (pixels - reference).abs().max() < 3 and (pixels - reference).abs().mean() < 0.5
    aliased = F.interpolate(x, (64, 64))[0]
    assert (pixels - aliased).abs().mean() > 2


@pytest.mark.parametrize("size", [(96, 32), (32, 96)])
def test_crop_takes_the_middle(tmp_path, size):
    image = Image.new("RGB", size, "red")
    image.paste("lime", tuple((n - 32) // 2 for n in size) + tuple((n + 32) // 2 for n in size))
    data = encoded(image, tmp_path)
    cropped, squashed = (decode.decode(data, 32, crop) for crop in (True, False))
    assert (cropped[1] == 255).all() and (cropped[0] == 0).all()
    assert squashed[0].max() == 255 and squashed[1].max() == 255


def test_orientation_of_a_camera_is_followed(tmp_path):
    upright = photograph(3, (64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    turned = encoded(
        upright.transpose(Image.Transpose.ROTATE_90), tmp_path, "jpg", exif=exif, quality=100
    )
    plain = encoded(upright, tmp_path, "jpg", quality=100)
    difference = decode.decode(turned, 32, False).astype(int) - decode.decode(plain, 32, False)
    assert np.abs(difference).mean() < 2


def test_grey_palette_cmyk_and_sixteen_bit_images_become_rgb(tmp_path):
    image = photograph(4, (32, 32))
    grey = np.asarray(image.convert("L"))
    for mode in ("L", "LA"):
        assert np.array_equal(
            decode.decode(encoded(image.convert(mode), tmp_path), 32, False), np.stack([grey] * 3)
        )
    sixteen = Image.fromarray(grey.astype(np.uint16) * 257)
    assert sixteen.mode.startswith("I;16")
    assert np.array_equal(
        decode.decode(encoded(sixteen, tmp_path), 32, False), np.stack([grey] * 3)
    )
    rgb = np.asarray(image).transpose(2, 0, 1).astype(int)
    palette = decode.decode(encoded(image.quantize(256), tmp_path), 32, False)
    cmyk = decode.decode(encoded(image.convert("CMYK"), tmp_path, "jpg", quality=100), 32, False)
    assert np.abs(palette - rgb).mean() < 8 and np.abs(cmyk - rgb).mean() < 8


def test_transparency_turns_white(tmp_path):
    image = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 16, 32))
    pixels = decode.decode(encoded(image, tmp_path), 32, False)
    assert (
        (pixels[:, :, 20:] == 255).all()
        and (pixels[0, :, :12] == 0).all()
        and (pixels[2, :, :12] == 255).all()
    )


@pytest.mark.parametrize("data", [None, b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_image_decodes_to_none(data):
    assert decode.decode(data, 32, False) is None


def test_a_truncated_image_decodes_to_none(tmp_path):
    for suffix in ("png", "jpg", "webp"):
        data = encoded(photograph(5), tmp_path, suffix)
        assert decode.decode(data, 32, False) is not None
        assert decode.decode(data[: len(data) // 2], 32, False) is None


# Folders: which images, in which order, in which split


def test_a_folder_is_read_in_order_with_a_tenth_held_out(photos):
    parts = {split: load(photos, split) for split in ("train", "test")}
    for split, (images, labels, names) in parts.items():
        n = {"train": 18, "test": 2}[split]
        assert images.shape == (3 * n, 3, 64, 64) and images.dtype == np.uint8
        assert labels.tolist() == [0] * n + [1] * n + [2] * n and names == [
            "attic",
            "barn",
            "cellar",
        ]
    for c, category in enumerate(("attic", "barn", "cellar")):
        every = [
            decode.decode(path.read_bytes(), 64, False)
            for path in sorted((photos / category).iterdir())
        ]
        own = {
            split: [image.tobytes() for image in images[labels == c]]
            for split, (images, labels, _) in parts.items()
        }
        order = [image.tobytes() for image in every if image.tobytes() in own["train"]]
        assert own["train"] == order
        assert sorted(own["train"] + own["test"]) == sorted(image.tobytes() for image in every)


@pytest.mark.parametrize("train, test", [("", "test"), ("train", "test"), ("train", "val")])
def test_a_test_split_that_is_there_is_used(photos, tmp_path, train, test):
    target = tmp_path / "split"
    shutil.copytree(photos, target / train)
    for category in ("attic", "barn", "cellar"):
        (target / test / category).mkdir(parents=True)
        photograph(999).save(target / test / category / "new.png")
    assert [len(load(target, split)[0]) for split in ("train", "test")] == [60, 3]
    assert load(target)[2] == load(target, "test")[2] == ["attic", "barn", "cellar"]
    shutil.rmtree(target / test / "barn")
    assert f"the test split has no {target / test / 'barn'}" in refused("folder", target, "train")


def test_train_and_test_without_folders_in_them_are_categories_like_others(photos):
    (photos / "attic").rename(photos / "train")
    (photos / "barn").rename(photos / "test")
    assert load(photos)[2] == ["cellar", "test", "train"]


def test_another_image_leaves_the_held_out_ones_held_out(photos):
    before = {image.tobytes() for image in load(photos, "test")[0]}
    photograph(1234).save(photos / "attic" / "05 more.png")
    after = {image.tobytes() for image in load(photos, "test")[0]}
    assert len(before) == len(after) == 6 and len(before & after) >= 5


def test_categories_are_learned_in_the_order_asked_for(photos):
    images, labels, names = load(photos, categories="cellar, attic", images_per_category=10)
    assert names == ["cellar", "attic"] and torch.bincount(labels).tolist() == [8, 8]
    everything, theirs, _ = load(photos)
    assert images[0].tobytes() in [image.tobytes() for image in everything[theirs == 2]]
    assert len(load(photos, "test", categories="cellar,attic", images_per_category=10)[0]) == 4


def test_image_size_and_crop_have_caches_of_their_own(photos):
    small, _, _ = load(photos, image_size=32)
    assert small.shape == (54, 3, 32, 32)
    assert not np.array_equal(load(photos, image_size=32, crop=True)[0], small)
    assert np.array_equal(load(photos, image_size=32)[0], small)


def test_images_at_any_depth_count_and_hidden_or_other_files_do_not(photos):
    (photos / "attic" / "deeper").mkdir()
    photograph(7).save(photos / "attic" / "deeper" / "UPPER.JPG")
    photograph(8).save(photos / "attic" / ".hidden.png")
    (photos / "attic" / "notes.txt").write_text("no image")
    assert len(folders.list_images(photos / "attic")) == 21
    (photos / "attic" / "loop").symlink_to(photos / "attic")
    (photos / "barn" / "loop").symlink_to(photos)
    assert len(folders.list_images(photos / "attic")) == 21
    assert len(folders.list_images(photos / "barn")) == 61  # with attic, cellar and itself, once
    assert sum(len(load(photos, split)[0]) for split in ("train", "test")) == 21 + 61 + 20


def test_unreadable_images_are_named_and_left_out(photos, capsys):
    path = photos / "barn" / "04.jpg"
    path.write_bytes(path.read_bytes()[:300])
    (photos / "cellar" / "99.png").write_text("no image")
    (photos / "cellar" / "98.png").symlink_to(photos / "nowhere.png")
    total = sum(len(load(photos, split)[0]) for split in ("train", "test"))
    output = capsys.readouterr().out
    assert total == 59
    (summary,) = (photos / ".cache").glob("*.json")
    assert sorted(json.loads(summary.read_text())["unreadable"]) == [
        "barn/04.jpg",
        "cellar/98.png",
        "cellar/99.png",
    ]
    for name in ("barn/04.jpg", "cellar/99.png", "cellar/98.png", str(summary)):
        assert name in output
    assert "left out, as they do not decode" in output


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("category", ["attic", "barn"])
def test_the_same_image_in_two_categories_or_splits_is_told(photos, capsys, category, held_out):
    names = cache.hold_out(folders.list_images(photos / "attic"))
    source, target = names[::-1] if held_out else names
    shutil.copy(photos / "attic" / source[0], photos / category / target[0])
    load(photos)
    assert "warning: in two categories or splits: 1 images" in capsys.readouterr().out


def test_an_empty_category_is_left_out_and_told_or_refused_when_asked_for(photos, capsys):
    (photos / "void").mkdir()
    assert load(photos)[2] == ["attic", "barn", "cellar"]
    assert "left out, as no image is in it: void" in capsys.readouterr().out
    assert "too few images in void (0)" in refused(
        "folder", photos, "train", categories="void,attic"
    )


def test_unusable_folders_end_in_one_clear_line(photos, tmp_path):
    assert "is no folder" in refused("folder", tmp_path / "nowhere", "train")
    assert "found 0 categories" in refused("folder", photos / "attic", "train")
    assert "has no sub-folder zoo; found attic, barn, cellar" in refused(
        "folder", photos, "train", categories="zoo,attic"
    )
    assert "expected different names" in refused(
        "folder", photos, "train", categories="attic,attic"
    )
    assert "found 1 categories (attic), expected at least 2" in refused(
        "folder", photos, "train", categories="attic"
    )
    assert "expected at least 2" in refused("folder", photos, "train", images_per_category=1)
    (photos / "single").mkdir()
    photograph(1).save(photos / "single" / "0.png")
    assert "too few images in single (1)" in refused("folder", photos, "train")
    shutil.rmtree(photos / "single")
    for path in (photos / "barn").iterdir():
        path.write_bytes(b"broken")
    assert "none of 18 images of barn for training could be read" in refused(
        "folder", photos, "train"
    )
    assert not list((photos / ".cache").glob("*.u8*"))


# The cache


def test_a_second_call_reads_the_cache_and_a_changed_folder_is_decoded_again(photos, monkeypatch):
    before = np.array(load(photos)[0])
    with monkeypatch.context() as patch:
        patch.setattr(cache, "decode", None)
        assert np.array_equal(load(photos)[0], before)
    names = {path.name for path in (photos / "attic").iterdir()}
    for name in names:
        photograph(5).save(photos / "attic" / name)
    assert not np.array_equal(load(photos)[0], before)


def test_cache_dir_takes_the_cache_and_nothing_is_written_beside_the_images(photos, tmp_path):
    before = sorted(photos.rglob("*"))
    load(photos, cache_dir=tmp_path / "elsewhere")
    assert sorted(photos.rglob("*")) == before and list((tmp_path / "elsewhere").glob("*.u8"))
    (tmp_path / "file").write_text("in the way")
    assert "choose another --cache-dir" in refused(
        "folder", photos, "train", cache_dir=tmp_path / "file"
    )


PREPARE = [sys.executable, "prepare.py", "--dataset", "folder", "--data-dir"]


def test_a_killed_build_leaves_no_cache_and_the_next_one_is_whole(photos, tmp_path):
    slow = "import prepare, sys, time; from datafiles import cache; d = cache.decode\n"
    slow += "cache.decode = lambda *a: (time.sleep(0.3), d(*a))[1]; sys.argv = sys.argv[1:]; prepare.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *PREPARE[1:], photos], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    while not list((photos / ".cache").glob("*.tmp")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((photos / ".cache").glob("*.u8"))
    for split in ("train", "test"):
        assert np.array_equal(
            load(photos, split)[0], load(photos, split, cache_dir=tmp_path / "uninterrupted")[0]
        )
    assert not list((photos / ".cache").glob("*.tmp"))


def test_of_two_processes_one_decodes_and_the_other_waits(photos):
    both = [
        subprocess.Popen([*PREPARE, photos], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(output.count("decoded once") for output in outputs) == 1
    for output in outputs:
        assert (
            "train: attic 18, barn 18, cellar 18; [3, 64, 64]" in output
            and "test: attic 2, barn 2" in output
        )


def test_a_process_that_waits_says_so_and_goes_on_when_the_other_is_done(photos):
    with cache.lock(photos / ".cache"):
        process = subprocess.Popen([*PREPARE, photos], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert "waiting for another process" in process.stdout.readline()
    assert "decoded once" in process.communicate()[0] and process.returncode == 0


def test_a_summary_that_was_lost_is_made_again(photos):
    before = np.array(load(photos)[0])
    (summary,) = (photos / ".cache").glob("*.json")
    summary.unlink()
    assert np.array_equal(load(photos)[0], before) and summary.exists()


def test_a_cache_of_the_wrong_size_is_named(photos):
    load(photos)
    (path,) = (photos / ".cache").glob("*_train.u8")
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path} is damaged" in refused("folder", photos, "train")


def test_a_disk_without_room_is_told_before_decoding(photos, monkeypatch):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 10**5)
    )
    monkeypatch.setattr(cache, "decode", None)
    assert "free, the cache of 60 images needs" in refused("folder", photos, "train")


def test_a_disk_that_fills_up_ends_in_one_line_and_leaves_nothing(photos):
    limit = (
        "import resource, sys, prepare; resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))\n"
    )
    limit += "sys.argv = sys.argv[1:]; prepare.main()"
    done = subprocess.run(
        [sys.executable, "-c", limit, *PREPARE[1:], photos],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 1
        and done.stderr.startswith("error: ")
        and len(done.stderr.splitlines()) == 1
    )
    assert "could not be written" in done.stderr
    assert [
        path.name for path in (photos / ".cache").iterdir() if not path.name.startswith("lock")
    ] == []


# LSUN


def write_lmdb(path, images):
    """An LMDB as LSUN's: key → encoded image."""
    path.mkdir(parents=True)
    with lmdb.open(str(path), map_size=2**26) as env, env.begin(write=True) as transaction:
        for key, data in images.items():
            transaction.put(key, data)


@pytest.fixture
def lsun(photos, tmp_path):
    """The photographs as LSUN's LMDBs, key order being name order."""
    for category in ("attic", "barn", "cellar"):
        paths = sorted((photos / category).iterdir())
        write_lmdb(
            tmp_path / "lsun" / f"{category}_train_lmdb",
            {p.name.encode(): p.read_bytes() for p in paths},
        )
    return tmp_path / "lsun"


def test_an_lmdb_and_a_folder_of_the_same_images_give_the_same_batches(photos, lsun):
    for split in ("train", "test"):
        ours, theirs = load_dataset("lsun", lsun, split, categories="barn,attic"), load(
            photos, split, categories="barn,attic"
        )
        assert (
            np.array_equal(ours[0], theirs[0])
            and torch.equal(ours[1], theirs[1])
            and ours[2] == theirs[2]
        )
    assert sorted(path.name for path in lsun.iterdir()) == [".cache"] + [
        f"{c}_train_lmdb" for c in ("attic", "barn", "cellar")
    ]


def test_the_official_validation_set_is_the_test_split(lsun, tmp_path):
    for category in ("attic", "barn"):
        data = encoded(photograph(77), tmp_path)
        write_lmdb(lsun / f"{category}_val_lmdb", {b"0": data, b"1": data})
    options = dict(categories="attic,barn", images_per_category=15)
    assert [
        len(load_dataset("lsun", lsun, split, **options)[0]) for split in ("train", "test")
    ] == [30, 4]


def test_values_that_do_not_decode_are_named(lsun, capsys):
    with lmdb.open(str(lsun / "barn_train_lmdb"), map_size=2**26) as env, env.begin(
        write=True
    ) as transaction:
        for key in (b"000", b"001", b"002"):
            transaction.put(key, b"no image")
    sizes = [
        len(load_dataset("lsun", lsun, split, categories="attic,barn")[0])
        for split in ("train", "test")
    ]
    assert sum(sizes) == 40 and "barn/001" in capsys.readouterr().out


def test_without_lsun_the_error_says_what_to_download(tmp_path):
    message = refused("lsun", tmp_path, "train")
    for part in (
        "bedroom (3,033,042 images)",
        "kitchen (2,212,277",
        "church_outdoor (126,227",
        "tower (708,264",
    ):
        assert part in message
    assert "bedroom_train_lmdb" in message and "--dataset folder" in message


def damage_header(path):
    path.write_bytes(b"damaged!" * 1000)


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [damage_header, cut_off])
def test_a_corrupt_lmdb_is_named(lsun, damage):
    damage(lsun / "barn_train_lmdb" / "data.mdb")
    assert f"{lsun / 'barn_train_lmdb'} is no readable LMDB" in refused(
        "lsun", lsun, "train", categories="attic,barn"
    )


def test_without_lmdb_the_error_names_the_install_command(lsun, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    assert "pip install -r requirements-extras.txt" in refused(
        "lsun", lsun, "train", categories="attic,barn"
    )


# SVHN


def write_svhn(path, count):
    random = np.random.default_rng(count)
    images, labels = (
        random.integers(0, 256, (32, 32, 3, count), np.uint8),
        np.arange(count) % 10 + 1,
    )
    savemat(path, {"X": images, "y": labels[:, None].astype(np.uint8)})
    return images, labels


def test_svhn_is_read_with_label_10_as_digit_0(tmp_path):
    for split, count in [("train", 40), ("test", 20)]:
        raw, raw_labels = write_svhn(tmp_path / f"{split}_32x32.mat", count)
        images, labels, names = load_dataset("svhn", tmp_path, split)
        assert (
            images.shape == (count, 3, 32, 32)
            and images.dtype == torch.uint8
            and names == list("0123456789")
        )
        assert labels.tolist() == [0 if label == 10 else label for label in raw_labels]
        assert np.array_equal(images[7].permute(1, 2, 0), raw[..., 7])


@pytest.mark.parametrize(
    "write", [lambda path: path.write_bytes(b"<html>"), lambda path: savemat(path, {"Z": 1})]
)
def test_a_damaged_svhn_file_is_named(tmp_path, write):
    write(tmp_path / "train_32x32.mat")
    assert f"{tmp_path / 'train_32x32.mat'} is damaged or not SVHN's" in refused(
        "svhn", tmp_path, "train"
    )


def test_svhn_that_cannot_be_fetched_is_named_with_its_checksum(tmp_path, monkeypatch):
    def unreachable(*_):
        raise OSError("cannot be reached")

    monkeypatch.setattr(svhn, "download_url", unreachable)
    message = refused("svhn", tmp_path / "data", "train")
    assert (
        "cannot be reached" in message
        and "train_32x32.mat (MD5 e26dedcc434d2e4c54c9b2d4a06d8373)" in message
    )
    assert not list((tmp_path / "data").iterdir())


# Digits too


def test_digits_can_be_chosen_and_ordered(tiny_data):
    images, labels, names = load_dataset(
        "idx", tiny_data, "train", categories="2,0", images_per_category=30
    )
    everything, theirs, _ = load_dataset("idx", tiny_data, "train")
    assert names == ["2", "0"] and torch.bincount(labels).tolist() == [30, 30]
    assert torch.equal(images[:30], everything[theirs == 2][:30]) and torch.equal(
        images[30:], everything[theirs == 0][:30]
    )
    assert (
        len(load_dataset("idx", tiny_data, "test", categories="2,0", images_per_category=5)[0])
        == 40
    )
    assert "names 7, which idx has not; it has 0, 1, 2" in refused(
        "idx", tiny_data, "train", categories="7"
    )
    for options in (dict(crop=True), dict(image_size=64)):
        assert "are for lsun and folder" in refused("idx", tiny_data, "train", **options)


# Drawing from a memory map


def tinted(tmp_path, n=50):
    """A memory map of three categories whose pixels all have the category's number, and its labels."""
    pixels = np.repeat(np.arange(3, dtype=np.uint8), n)[:, None, None, None] * np.ones(
        (1, 3, 8, 8), np.uint8
    )
    pixels[:, :, 0, 0] = (np.arange(3 * n) % n)[:, None]
    pixels.tofile(tmp_path / "pixels.u8")
    return np.memmap(tmp_path / "pixels.u8", np.uint8, "c", shape=pixels.shape), torch.arange(
        3
    ).repeat_interleave(n)


def test_batches_of_a_map_that_is_held_are_those_of_a_tensor(tmp_path):
    images, labels = tinted(tmp_path)
    held, whole = (
        RealImages(x, labels, torch.device("cpu"))
        for x in (images, torch.from_numpy(np.array(images)))
    )
    for y in (torch.tensor([1]), torch.tensor([0, 1, 2])):
        batches = []
        for real_images in (held, whole):
            real_images.begin(y, 6)
            torch.manual_seed(3)
            batches.append(torch.cat([real_images.draw(y, 6) for _ in range(3)]))
        assert torch.equal(*batches)


@pytest.fixture
def streamed(tmp_path, monkeypatch):
    """A function that makes RealImages of a map too large to hold."""
    images, labels = tinted(tmp_path)
    monkeypatch.setattr(RealImages, "room", lambda self: 0)
    return lambda seed=1: RealImages(images, labels, torch.device("cpu"), seed)


def drawn(real_images, y, n, count, skip=0):
    real_images.begin(y, n, skip)
    return [real_images.draw(y, n) for _ in range(count)]


def test_batches_read_ahead_are_of_their_categories_and_continue_after_a_resume(streamed):
    y = torch.tensor([2, 1])
    batches = drawn(streamed(), y, 5, 4)
    for batch in batches:
        assert batch.shape == (10, 3, 8, 8) and batch.dtype == torch.float32
        pixel = ((batch[:, 0, 4, 4] + 1) * 127.5).round()
        assert pixel.tolist() == [2.0] * 5 + [1.0] * 5
    assert not torch.equal(batches[0], batches[1])
    continued = drawn(streamed(), y, 5, 2, skip=2)
    assert all(torch.equal(a, b) for a, b in zip(continued, batches[2:]))
    assert not torch.equal(drawn(streamed(seed=2), y, 5, 1)[0], batches[0])
    numbers = torch.cat(
        [
            ((b[:, 0, 0, 0] + 1) * 127.5).round()
            for b in drawn(streamed(), torch.tensor([0]), 100, 20)
        ]
    )
    assert torch.bincount(numbers.long(), minlength=50).min() > 10  # 2 000 draws of 50 images


def test_a_fingerprint_tells_data_sets_apart(photos, tiny_data):
    images, labels, names = load(photos)
    assert fingerprint(images, labels, names) == fingerprint(np.array(images), labels, names)
    digits = load_dataset("idx", tiny_data, "train")
    others = [fingerprint(images, labels, names[::-1]), fingerprint(images[::-1], labels, names),
              fingerprint(*load(photos, images_per_category=19)), fingerprint(*digits)]  # fmt: skip
    assert len({fingerprint(images, labels, names), *others}) == 5
    assert fingerprint(*digits) == fingerprint(*load_dataset("idx", tiny_data, "train"))
