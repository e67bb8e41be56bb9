"""SVHN's two .mat files of 32×32 images, fetched if they are not there.

torchvision's class refuses every file but the official two; these may also be a part of them, or
your own in their format.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat
from torchvision.datasets import SVHN
from torchvision.datasets.utils import download_url

from datafiles.fetch import limited_patience, reason


class Svhn:
    """Colour images of ten digits. labels: int64 [N] by split; the files call digit 0 label 10."""

    names = list("0123456789")
    first_number = 0

    def __init__(self, data_dir):
        self.where, self.notes, self.labels = data_dir, [], {}
        self.paths = fetch_svhn(data_dir)
        for split, path in self.paths.items():
            labels = self.read(path, "y").reshape(-1).astype(np.int64)
            if not len(labels) or labels.min() < 0 or labels.max() > 10:
                sys.exit(f"error: {path}: found {describe(labels)}, expected labels 1 … 10")
            self.labels[split] = torch.from_numpy(labels % 10)

    def images(self, split):
        """uint8 [N, 3, 32, 32]."""
        path, count = self.paths[split], len(self.labels[split])
        images = self.read(path, "X")
        if images.shape != (32, 32, 3, count) or images.dtype != np.uint8:
            sys.exit(
                f"error: {path}: found images {images.dtype} {list(images.shape)} "
                f"and {count} labels, expected uint8 [32, 32, 3, {count}]"
            )
        return torch.from_numpy(images).permute(3, 2, 0, 1).contiguous()

    def read(self, path, name):
        """One array of a .mat file."""
        try:
            return loadmat(path, variable_names=[name])[name]
        except Exception as error:
            sys.exit(
                f"error: {path} is damaged or not SVHN's ({type(error).__name__}: "
                f"{reason(error)}); delete it to have it fetched"
            )


def describe(labels):
    """The range of labels, for a message."""
    return f"labels {labels.min()} … {labels.max()}" if len(labels) else "no labels"


def fetch_svhn(data_dir):
    """The path of the file of each split, fetched into data_dir if not there, nor one deeper."""
    found, missing = {}, []
    for split in ("train", "test"):
        url, name, expected = SVHN.split_list[split]
        paths = [data_dir / name, *sorted(data_dir.glob(f"*/{name}"))]
        there = [path for path in paths if path.is_file()]
        found[split] = (there or paths)[0]
        if not there:
            missing.append((url, name, expected))
    try:
        for url, name, expected in missing:
            print(f"data: fetching SVHN from {url} …", flush=True)
            data_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=data_dir) as temporary, limited_patience():
                download_url(url, temporary, name, expected)
                os.replace(Path(temporary) / name, data_dir / name)
    except Exception as error:
        files = [f"{url} (MD5 {expected})" for url, _, expected in missing]
        sys.exit(
            f"error: SVHN could not be fetched ({reason(error)}); "
            f"put into {data_dir}: {', '.join(files)}"
        )
    return found
