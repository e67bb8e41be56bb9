"""Fashion-MNIST, KMNIST, EMNIST and CIFAR-10, from small files in their official formats."""

import gzip
import hashlib
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch
from conftest import TINY, refused
from torchvision.datasets import CIFAR10, EMNIST, KMNIST, FashionMNIST, utils

from common import load_dataset
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


def test_files_of_cifar10_with_another_checksum_are_fetched_again(official, no_network):
    path = official / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1])
    assert "CIFAR10 could not be fetched" in refused("cifar10", official, "train")
    assert no_network == [CIFAR10.url]


def test_packed_files_that_a_user_put_there_are_verified_and_unpacked(
    official, tmp_path, no_network, monkeypatch
):
    raw = official / "FashionMNIST" / "raw"
    before = load_dataset("fashion", official, "train")
    resources = []
    for name, _ in FashionMNIST.resources:
        path = raw / name.removesuffix(".gz")
        (raw / name).write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        resources.append((name, hashlib.md5((raw / name).read_bytes()).hexdigest()))
    shutil.copytree(raw, tmp_path / "other" / "FashionMNIST" / "raw")
    assert "could not be fetched" in refused("fashion", official, "train")  # other checksums
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    after = load_dataset("fashion", tmp_path / "other", "train")
    assert torch.equal(after[0], before[0])


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
