"""Files in the format of MNIST's: a magic number, the sizes, and the bytes of an array."""

import struct
import sys

import torch
import torch.nn.functional as F
from torchvision.datasets.mnist import read_image_file, read_label_file

PREFIXES = {"train": "train", "test": "t10k"}


def write_idx(path, array):
    """Write a uint8 array as an idx file."""
    magic = 0x0800 + array.ndim
    path.write_bytes(struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes())


def read_idx(folder, split):
    """Images uint8 [N, 1, 32, 32] and labels int64 [N] of a split, "train" or "test"."""
    prefix = PREFIXES[split]
    paths = [folder / f"{prefix}-images-idx3-ubyte", folder / f"{prefix}-labels-idx1-ubyte"]
    try:
        images, labels = read_image_file(str(paths[0])), read_label_file(str(paths[1]))
    except FileNotFoundError as error:
        sys.exit(
            f"error: {error.filename} not found; --dataset idx expects train-images-idx3-ubyte, "
            "train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte in --data-dir"
        )
    except Exception as error:
        sys.exit(
            f"error: {folder} holds no readable idx files for {split}ing ({error}); unpack them again"
        )
    size = images.shape[-1]
    if len(images) != len(labels) or images.shape[1] != size or size > 32 or size % 2:
        sys.exit(
            f"error: {folder}: found images {list(images.shape)} and {len(labels)} labels; "
            "expected square images of even size, at most 32×32, and as many labels"
        )
    counts = torch.bincount(labels)
    if counts.min() == 0:
        sys.exit(
            f"error: {paths[1]}: category {counts.argmin()} has no image; "
            f"expected labels 0 … {len(counts) - 1}"
        )
    return F.pad(images.unsqueeze(1), [(32 - size) // 2] * 4), labels
