"""SVHN's two .mat files of 32×32 images, fetched if they are not there."""

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


def fetch_svhn(data_dir, split):
    """The path of the file of a split, "train" or "test", fetched into data_dir if not there."""
    url, name, expected = SVHN.split_list[split]
    if not (data_dir / name).exists():
        print(f"data: fetching SVHN from {url} …", flush=True)
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=data_dir) as temporary, limited_patience():
                download_url(url, temporary, name, expected)
                os.replace(Path(temporary) / name, data_dir / name)
        except Exception as error:
            sys.exit(
                f"error: SVHN could not be fetched ({reason(error)}); "
                f"put {url} (MD5 {expected}) into {data_dir}"
            )
    return data_dir / name


def read_svhn(data_dir, split):
    """Images uint8 [N, 3, 32, 32] and labels int64 [N]; the file calls digit 0 label 10."""
    path = fetch_svhn(data_dir, split)
    try:
        data = loadmat(path)
        images, labels = data["X"], data["y"].reshape(-1).astype(np.int64) % 10
        if images.shape != (32, 32, 3, len(labels)) or images.dtype != np.uint8:
            raise ValueError(f"images {images.dtype} {list(images.shape)}, {len(labels)} labels")
    except Exception as error:
        sys.exit(
            f"error: {path} is damaged or not SVHN's ({type(error).__name__}: {error}); "
            "delete it to have it fetched"
        )
    return torch.from_numpy(images).permute(3, 2, 0, 1).contiguous(), torch.from_numpy(labels)
