"""Data sets that torchvision fetches and verifies: Fashion-MNIST, KMNIST, EMNIST and CIFAR-10."""

import sys
import tarfile

import numpy as np
import torch
from torchvision.datasets import CIFAR10, EMNIST, KMNIST, FashionMNIST

from datafiles.fetch import check_content, check_packed, limited_patience, md5, reason
from datafiles.idx import PREFIXES, Idx, files_in
from datafiles.locks import lock

CLASSES = {"fashion": FashionMNIST, "kmnist": KMNIST, "emnist": EMNIST, "cifar10": CIFAR10}
LETTER_PREFIXES = {"train": "emnist-letters-train", "test": "emnist-letters-test"}
# Of the unpacked files; for the other data sets, only those of packed files are known
FASHION_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


def open_official(dataset, data_dir):
    """A data set as load_arrays takes it, with torchvision's names in its order.

    Files already there, in torchvision's folders, are used; else torchvision fetches them.
    """
    if dataset == "cifar10":
        return Cifar10(data_dir)
    folder = data_dir / CLASSES[dataset].__name__ / "raw"
    prefixes = LETTER_PREFIXES if dataset == "emnist" else PREFIXES
    files = files_in(folder, prefixes)
    check_files(dataset, folder, files)
    if len(files) < 4:
        fetch(dataset, data_dir)  # which also verifies and unpacks
        files = files_in(folder, prefixes)
    if dataset == "emnist":
        return Letters(folder, files)
    images = Idx(folder, files)
    images.names = CLASSES[dataset].classes
    return images


def check_files(dataset, folder, files):
    """Exit if a file that is there, of those in files or the archive, has another checksum."""
    if dataset == "fashion":
        for path in files.values():
            check_content(path, FASHION_MD5[path.name.replace(".idx", "-idx").removesuffix(".gz")])
    elif dataset == "kmnist":
        for name, expected in KMNIST.resources:
            if (folder / name) in files.values():
                advice = "unpack it, if it is another packing: what lies there unpacked is used"
                check_packed(folder / name, expected, advice)
    elif len(files) < 4 and (folder / "gzip.zip").is_file():
        advice = "unpack its emnist-letters files there: they are used as they are"
        check_packed(folder / "gzip.zip", EMNIST.md5, advice)


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
        checksums = dict([*CIFAR10.train_list, *CIFAR10.test_list])
        checksums[CIFAR10.meta["filename"]] = CIFAR10.meta["md5"]
        if not all((self.where / name).is_file() for name in checksums):
            archive = data_dir / CIFAR10.filename
            if archive.is_file():
                unpack(archive, self.where, checksums)
            else:
                fetch("cifar10", data_dir)
        for name, expected in checksums.items():
            check_content(self.where / name, expected)
        sets = {split: CIFAR10(data_dir, split == "train") for split in PREFIXES}
        self.pixels = {split: images.data for split, images in sets.items()}
        self.labels = {split: torch.tensor(images.targets) for split, images in sets.items()}
        self.names = sets["train"].classes

    def images(self, split):
        """uint8 [N, 3, 32, 32]."""
        return torch.from_numpy(np.ascontiguousarray(self.pixels[split].transpose(0, 3, 1, 2)))


def unpack(archive, folder, checksums):
    """Write the files of an archive whose content is right, however it is packed, into a folder."""
    with lock(folder.parent, "--data-dir"):
        try:
            folder.mkdir(exist_ok=True)
            with tarfile.open(archive) as file:
                for name, expected in checksums.items():
                    data = file.extractfile(f"{folder.name}/{name}").read()
                    if md5(data) != expected:
                        raise ValueError(f"its {name} has MD5 {md5(data)}, expected {expected}")
                    (folder / name).write_bytes(data)
        except Exception as error:  # tarfile and its decompressors have many
            found = f"MD5 {md5(archive.read_bytes())}, expected {CIFAR10.tgz_md5}"
            sys.exit(
                f"error: {archive} cannot be used ({reason(error)}; {found}); "
                "delete it to have it fetched again"
            )


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
