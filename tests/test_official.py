"""Fashion-MNIST, KMNIST, EMNIST and CIFAR-10, from small files in their official formats."""

import gzip
import hashlib
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from conftest import TINY, refused
from torchvision.datasets import CIFAR10, EMNIST, KMNIST, FashionMNIST, utils

from common import load_dataset
from datafiles import official as official_files
from datafiles.idx import write_idx

CLASSES = {"fashion": FashionMNIST, "kmnist": KMNIST, "emnist": EMNIST, "cifar10": CIFAR10}
SIZES = {"train": 6, "test": 3}  # images of each category


def arrays(split, categories, shape, first=0):
    """Random images whose first pixel is their label, and labels, mixed."""
    random = np.random.default_rng(len(split))
    labels = random.permutation(np.arange(categories * SIZES[split]) % categories) + first
    images = random.integers(0, 256, (len(labels), *shape), np.uint8)
    images.reshape(len(labels), -1)[:, 0] = labels
    return images, labels.astype(np.uint8)


def write_digits(folder):
    """MNIST's four files, as Fashion-MNIST and KMNIST have them."""
    folder.mkdir(parents=True)
    for split, prefix in [("train", "train"), ("test", "t10k")]:
        images, labels = arrays(split, 10, (28, 28))
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)


def write_letters(folder):
    """EMNIST's four files of letters, whose labels are 1 … 26."""
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        images, labels = arrays(split, 26, (28, 28), first=1)
        write_idx(folder / f"emnist-letters-{split}-images-idx3-ubyte", images)
        write_idx(folder / f"emnist-letters-{split}-labels-idx1-ubyte", labels)


def write_cifar10(folder, patch):
    """CIFAR-10's pickles; patch: their checksums become the official ones."""
    folder.mkdir(parents=True)
    images, labels = arrays("train", 10, (3, 32, 32))
    test_images, test_labels = arrays("test", 10, (3, 32, 32))
    batches = dict(zip([f"data_batch_{n}" for n in range(1, 6)], range(5)))
    contents = {name: (images[part::5], labels[part::5]) for name, part in batches.items()} | {
        "test_batch": (test_images, test_labels)
    }
    checksums = {}
    for name, (pixels, numbers) in contents.items():
        batch = {"data": pixels.reshape(len(pixels), -1), "labels": numbers.tolist()}
        checksums[name] = write_pickle(folder / name, batch)
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    meta = write_pickle(folder / "batches.meta", {"label_names": names})
    patch.setattr(CIFAR10, "train_list", [[name, checksums[name]] for name in batches])
    patch.setattr(CIFAR10, "test_list", [["test_batch", checksums["test_batch"]]])
    patch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta})


def write_pickle(path, value):
    """Pickle a value; returns the MD5 of the file."""
    path.write_bytes(pickle.dumps(value))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A folder with small files of all four data sets, as torchvision leaves them."""
    for name in ("FashionMNIST", "KMNIST"):
        write_digits(tmp_path / name / "raw")
    files = (tmp_path / "FashionMNIST" / "raw").iterdir()
    checksums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in files}
    monkeypatch.setattr(official_files, "FASHION_MD5", checksums)
    write_letters(tmp_path / "EMNIST" / "raw")
    write_cifar10(tmp_path / "cifar-10-batches-py", monkeypatch)
    return tmp_path


def reference(dataset, folder, split):
    """Images [N, H, W] or [N, H, W, C], labels and names as torchvision has them."""
    options = {"split": "letters"} if dataset == "emnist" else {}
    images = CLASSES[dataset](folder, train=split == "train", **options)
    return np.asarray(images.data), np.asarray(images.targets), images.classes


@pytest.mark.parametrize("dataset", CLASSES)
def test_images_labels_and_names_are_torchvisions(official, dataset):
    for split in ("train", "test"):
        pixels, numbers, classes = reference(dataset, official, split)
        images, labels, names = load_dataset(dataset, official, split)
        if dataset == "emnist":
            assert (
                classes[0] == "N/A"
                and classes[1:] == names
                and (numbers == labels.numpy() + 1).all()
            )
        else:
            assert classes == names and (numbers == labels.numpy()).all()
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64
        if dataset == "cifar10":
            assert images.shape[1:] == (3, 32, 32)
            assert np.array_equal(images.permute(0, 2, 3, 1), pixels)
        else:
            assert images.shape[1:] == (1, 32, 32)
            inner = images[:, 0, 2:30, 2:30]
            upright = inner.transpose(1, 2) if dataset == "emnist" else inner
            assert np.array_equal(upright, pixels)
            assert images.sum() == inner.sum()


@pytest.mark.parametrize(
    "dataset, asked, expected",
    [
        ("fashion", "Ankle boot,T-shirt/top", ["Ankle boot", "T-shirt/top"]),
        ("fashion", "9,0", ["Ankle boot", "T-shirt/top"]),
        ("kmnist", "wo,0", ["wo", "o"]),
        ("emnist", "z,1", ["z", "a"]),
        ("cifar10", "truck,3", ["truck", "cat"]),
    ],
)
def test_categories_have_names_and_torchvisions_numbers(official, dataset, asked, expected):
    images, labels, names = load_dataset(dataset, official, "train", categories=asked)
    assert names == expected and labels.tolist() == [0] * 6 + [1] * 6
    everything, theirs, every_name = load_dataset(dataset, official, "train")
    assert torch.equal(images[:6], everything[theirs == every_name.index(expected[0])])
    message = refused(dataset, official, "train", categories=f"{expected[0]},{asked.split(',')[0]}")
    assert "twice" in message or "different names" in message


def test_an_unknown_name_is_told_with_those_that_there_are(official):
    message = refused("fashion", official, "train", categories="Boot")
    assert "names Boot" in message and "T-shirt/top, Trouser" in message


def test_damaged_files_are_named(official):
    path = official / "KMNIST" / "raw" / "train-labels-idx1-ubyte"
    path.write_bytes(b"<html>")
    assert f"{path}: found a web page" in refused("kmnist", official, "train")


# Fetching, without a network


@pytest.fixture
def no_network(monkeypatch):
    """Whatever torchvision asks the network for fails; returns the addresses."""
    addresses = []

    def unreachable(request, *_, **__):
        addresses.append(request.full_url)
        raise OSError("cannot be reached")

    monkeypatch.setattr(utils.urllib.request, "urlopen", unreachable)
    return addresses


@pytest.mark.parametrize("dataset", CLASSES)
def test_what_cannot_be_fetched_is_told_with_addresses_checksums_and_folder(
    tmp_path, no_network, dataset
):
    message = refused(dataset, tmp_path / "data", "train")
    name = CLASSES[dataset].__name__
    assert no_network and f"{name} could not be fetched" in message
    folder = tmp_path / "data" / ("" if dataset == "cifar10" else f"{name}/raw")
    assert "cannot be reached" in message and f"put into {folder}: http" in message
    if dataset in ("fashion", "kmnist"):
        assert all(f"{file} (MD5 {md5})" in message for file, md5 in CLASSES[dataset].resources)
    else:
        md5 = {"emnist": "58c8d27c78d21e728a6bc7b3cc06412e"}.get(dataset, CIFAR10.tgz_md5)
        assert f"(MD5 {md5})" in message


def pack(path, level):
    """Replace a file by a gzip file of its own name and .gz; returns its path and MD5."""
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), level))
    path.unlink()
    return packed, hashlib.md5(packed.read_bytes()).hexdigest()


FILES = {
    "fashion": "FashionMNIST/raw/train-labels-idx1-ubyte",
    "cifar10": "cifar-10-batches-py/data_batch_3",
}


@pytest.mark.parametrize("dataset", FILES)
def test_a_file_with_another_checksum_is_named_with_both_and_kept(official, no_network, dataset):
    path = official / FILES[dataset]
    right = hashlib.md5(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:-1])
    wrong = hashlib.md5(path.read_bytes()).hexdigest()
    message = refused(dataset, official, "train")
    assert f"{path} has MD5 {wrong}, expected {right}; delete it to have it fetched" in message
    assert hashlib.md5(path.read_bytes()).hexdigest() == wrong and not no_network


@pytest.mark.parametrize("level", [1, 9])
def test_another_packing_of_the_right_content_is_taken(official, no_network, level):
    before = load_dataset("fashion", official, "train")
    for path in list((official / "FashionMNIST" / "raw").iterdir()):
        pack(path, level)
    assert torch.equal(load_dataset("fashion", official, "train")[0], before[0])
    path = official / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(b"other content"))
    assert f"{path} has MD5 {hashlib.md5(b'other content').hexdigest()} unpacked" in refused(
        "fashion", official, "train"
    )
    assert not no_network


def test_packed_files_of_kmnist_are_verified(official, no_network, monkeypatch):
    before = load_dataset("kmnist", official, "train")
    paths = sorted((official / "KMNIST" / "raw").iterdir())
    checksums = {packed.name: found for packed, found in (pack(path, 9) for path in paths)}
    name, found = "t10k-images-idx3-ubyte.gz", checksums["t10k-images-idx3-ubyte.gz"]
    expected = dict(KMNIST.resources)[name]
    message = refused("kmnist", official, "train")
    assert f"{official}/KMNIST/raw/" in message and "delete it to have it fetched" in message
    monkeypatch.setattr(KMNIST, "resources", list({**checksums, name: expected}.items()))
    message = refused("kmnist", official, "train")
    assert f"{name} has MD5 {found}, expected {expected}; " in message
    assert "unpack it, if it is another packing" in message
    monkeypatch.setattr(KMNIST, "resources", list(checksums.items()))
    assert torch.equal(load_dataset("kmnist", official, "train")[0], before[0])
    assert not no_network


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w"])
def test_any_archive_of_cifar10_with_the_right_content_is_unpacked(official, no_network, mode):
    before = load_dataset("cifar10", official, "train")
    folder, archive = official / "cifar-10-batches-py", official / CIFAR10.filename
    with tarfile.open(archive, mode) as file:
        file.add(folder, folder.name)
    shutil.rmtree(folder)
    assert torch.equal(load_dataset("cifar10", official, "train")[0], before[0])
    assert not no_network


def test_an_archive_of_cifar10_with_other_content_is_named(official, no_network):
    folder, archive = official / "cifar-10-batches-py", official / CIFAR10.filename
    (folder / "data_batch_2").write_bytes(b"other")
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, folder.name)
    for content in (archive.read_bytes(), b"no archive"):
        shutil.rmtree(folder, ignore_errors=True)
        archive.write_bytes(content)
        found = f"MD5 {hashlib.md5(content).hexdigest()}, expected {CIFAR10.tgz_md5}"
        message = refused("cifar10", official, "train")
        assert f"{archive} cannot be used (" in message and found in message
        assert archive.read_bytes() == content and not no_network


def test_an_archive_of_emnist_with_another_checksum_is_named(tmp_path, no_network):
    archive = tmp_path / "EMNIST" / "raw" / "gzip.zip"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"other")
    found = hashlib.md5(b"other").hexdigest()
    message = refused("emnist", tmp_path, "train")
    assert f"{archive} has MD5 {found}, expected {EMNIST.md5}" in message
    assert "unpack its emnist-letters files there" in message and not no_network


def test_packed_letters_of_emnist_are_read_as_they_are(official, no_network):
    before = load_dataset("emnist", official, "train")
    for path in list((official / "EMNIST" / "raw").iterdir()):
        pack(path, 6)
    assert torch.equal(load_dataset("emnist", official, "train")[0], before[0])
    assert not no_network


@pytest.mark.parametrize("folder", ["EMNIST/raw", "EMNIST", ""])
def test_who_asks_for_emnist_through_idx_is_told_what_turns_its_letters(official, folder):
    message = refused("idx", official / folder, "train") if folder else ""
    if not folder:
        for name in ("FashionMNIST", "KMNIST"):
            shutil.rmtree(official / name)
        message = refused("idx", official, "train")
    assert "EMNIST's files hold rows and columns exchanged" in message
    assert f"use --dataset emnist --data-dir={official}" in message


def test_renamed_files_of_emnist_are_told_too(official, capsys):
    raw = official / "EMNIST" / "raw"
    for path in list(raw.iterdir()):
        name = path.name.removeprefix("emnist-letters-").replace("test-", "t10k-")
        path.rename(raw / name)
    numbers = ",".join(map(str, range(1, 27)))
    load_dataset("idx", raw, "train", categories=numbers)
    assert "--dataset emnist turns its letters upright" in capsys.readouterr().out


def test_the_archive_of_emnist_is_verified_and_unpacked(
    official, tmp_path, no_network, monkeypatch
):
    before = load_dataset("emnist", official, "test")
    raw = official / "EMNIST" / "raw"
    archive = tmp_path / "other" / "EMNIST" / "raw" / "gzip.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in raw.iterdir():
            file.writestr(f"gzip/{path.name}.gz", gzip.compress(path.read_bytes()))
    monkeypatch.setattr(EMNIST, "md5", hashlib.md5(archive.read_bytes()).hexdigest())
    after = load_dataset("emnist", tmp_path / "other", "test")
    assert torch.equal(after[0], before[0]) and torch.equal(after[1], before[1])


# Learned and scored


@pytest.mark.parametrize("dataset", ["cifar10", "fashion"])
def test_sft_learns_and_eval_scores(official, tmp_path, call_main, capsys, monkeypatch, dataset):
    import eval as scoring
    import sft
    from scoring import judge

    monkeypatch.setattr(judge, "LEAST_STEPS", 8)  # enough for a table, if not for good scores
    run_dir = tmp_path / "run"
    position = TINY.index("--dataset")
    tiny = TINY[:position] + TINY[position + 2 :]
    options = ["--dataset", dataset, "--data-dir", official, "--run-dir", run_dir]
    assert not call_main(sft, *tiny, *options, "--num-tasks", 2, "--categories", "9,0,1,2")
    assert not call_main(scoring, run_dir, "--samples", "64", "--device", "cpu")
    output = capsys.readouterr().out
    assert "| SFT |" in output or "sft" in output
    names = torch.load(run_dir / "task_2.pt", weights_only=True)["categories"]
    expected = dict(cifar10=["truck", "airplane"], fashion=["Ankle boot", "T-shirt/top"])
    assert names[:2] == expected[dataset]
