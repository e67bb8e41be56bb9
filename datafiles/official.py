"""Data sets that torchvision fetches and verifies: Fashion-MNIST, KMNIST, EMNIST and CIFAR-10."""

import sys

import numpy as np
import torch
from torchvision.datasets import CIFAR10, EMNIST, KMNIST, FashionMNIST

from datafiles.fetch import limited_patience, reason
from datafiles.idx import PREFIXES, Idx, files_in
from datafiles.locks import lock

CLASSES = {"fashion": FashionMNIST, "kmnist": KMNIST, "emnist": EMNIST, "cifar10": CIFAR10}
LETTER_PREFIXES = {"train": "emnist-letters-train", "test": "emnist-letters-test"}


def open_official(dataset, data_dir):
    """A data set as load_arrays takes it, with torchvision's names in its order.

    Files already there, in torchvision's folders, are used; else torchvision fetches them.
    """
    if dataset == "cifar10":
        return Cifar10(data_dir)
    folder = data_dir / CLASSES[dataset].__name__ / "raw"
    prefixes = LETTER_PREFIXES if dataset == "emnist" else PREFIXES
    files = files_in(folder, prefixes)
    if len(files) < 4 or any(path.suffix == ".gz" for path in files.values()):
        fetch(dataset, data_dir)  # which also verifies and unpacks
        files = files_in(folder, prefixes)
    if dataset == "emnist":
        return Letters(folder, files)
    images = Idx(folder, files)
    images.names = CLASSES[dataset].classes
    return images


class Letters(Idx):
    """EMNIST's letters, small and capital ones together. Label 1 is "a"; no image has label 0."""

    names = EMNIST.classes_split_dict["letters"][1:]
    first_number = 1

    def __init__(self, folder, files):
        super().__init__(folder, files)
        for split, labels in self.labels.items():
            if labels.min() < 1:
                sys.exit(f"error: {folder}: found label 0, expected 1 … 26; fetch the files again")
            self.labels[split] = labels - 1

    def images(self, split):
        """uint8 [N, 1, 32, 32]; the files hold every letter with rows and columns exchanged."""
        return super().images(split).transpose(2, 3).contiguous()


class Cifar10:
    """Colour images of ten categories, from torchvision's class, which verifies them each time."""

    first_number = 0  # torchvision's label of the first category

    def __init__(self, data_dir):
        self.where, self.notes = data_dir / CIFAR10.base_folder, []
        try:
            sets = {split: CIFAR10(data_dir, split == "train") for split in PREFIXES}
        except RuntimeError:  # not there, or with another checksum
            fetch("cifar10", data_dir)
            sets = {split: CIFAR10(data_dir, split == "train") for split in PREFIXES}
        self.pixels = {split: images.data for split, images in sets.items()}
        self.labels = {split: torch.tensor(images.targets) for split, images in sets.items()}
        self.names = sets["train"].classes

    def images(self, split):
        """uint8 [N, 3, 32, 32]."""
        return torch.from_numpy(np.ascontiguousarray(self.pixels[split].transpose(0, 3, 1, 2)))


def fetch(dataset, data_dir):
    """Let torchvision fetch, verify and unpack a data set. Exits with one line if it cannot."""
    title = CLASSES[dataset].__name__
    options = {"split": "letters"} if dataset == "emnist" else {}
    with lock(data_dir, "--data-dir"):
        print(f"data: fetching {title} into {data_dir} …", flush=True)
        try:
            with limited_patience():
                CLASSES[dataset](data_dir, download=True, **options)
        except Exception as error:
            folder, files = sources(dataset, data_dir)
            sys.exit(
                f"error: {title} could not be fetched ({reason(error, last=True)}); "
                f"put into {folder}: {', '.join(files)}"
            )


def sources(dataset, data_dir):
    """The folder where the packed files belong, and the address and MD5 of each."""
    if dataset == "cifar10":
        return data_dir, [f"{CIFAR10.url} (MD5 {CIFAR10.tgz_md5})"]
    folder = data_dir / CLASSES[dataset].__name__ / "raw"
    if dataset == "emnist":
        return folder, [f"{EMNIST.url} (MD5 {EMNIST.md5})"]
    files = CLASSES[dataset].resources
    return folder, [f"{CLASSES[dataset].mirrors[0]}{name} (MD5 {md5})" for name, md5 in files]
