"""Files in MNIST's format: a magic number, the sizes, and the bytes of an array."""

import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

from datafiles.arrays import Arrays
from datafiles.fetch import unpacked

# Images and labels of training, then of testing
NAMES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


def open_idx(folder):
    """Arrays from the four files in a folder. Exits with one line if one of them is not there."""
    files = files_in(folder)
    missing = ", ".join(name for name in NAMES if name not in files)
    if missing:
        expected = f"--dataset idx expects {', '.join(NAMES)}, or these with .gz"
        sys.exit(
            f"error: {folder}: {missing} not found; {expected}; name their folder in --data-dir"
        )
    return read_files(folder, files)


def files_in(folder, names=NAMES):
    """Those of the four idx files that are in a folder, path by name.

    They may be named with a dot (train-images.idx3-ubyte), and be packed (.gz).
    """
    found = {}
    for name in names:
        spellings = [name, name.replace("-idx", ".idx")]
        spellings += [f"{spelling}.gz" for spelling in spellings]
        paths = [folder / spelling for spelling in spellings if (folder / spelling).is_file()]
        if paths:
            found[name] = paths[0]
    return found


def read_files(where, files):
    """Arrays from four idx files, black around images of less than 32×32. Exits with one line.

    where: the data, for messages. files: path by name, in the order of NAMES.
    """
    paths = list(files.values())
    images, labels = {}, {}
    for split, image_path, label_path in [("train", *paths[:2]), ("test", *paths[2:])]:
        pixels, numbers = read_idx(image_path, "images"), read_idx(label_path, "labels")
        count, height, width = pixels.shape
        matching = count > 0 and count == len(numbers)
        usable = height == width and 0 < width <= 32 and width % 2 == 0
        if not (matching and usable):
            found = f"{split} images {list(pixels.shape)} and {len(numbers)} labels"
            sys.exit(
                f"error: {where}: found {found}; "
                "expected square images of even size, at most 32×32, and as many labels"
            )
        pixels = torch.from_numpy(pixels).unsqueeze(1)
        images[split] = F.pad(pixels, [(32 - width) // 2] * 4)
        labels[split] = torch.from_numpy(numbers).long()
    return Arrays(where, images, labels)


def read_idx(path, kind):
    """The uint8 array in an idx file of "images", [N, H, W], or "labels", [N]."""
    dimensions = {"images": 3, "labels": 1}[kind]
    data = unpacked(path)
    magic = bytes([0, 0, 8, dimensions])
    header = 4 + 4 * dimensions
    if not data.startswith(magic) or len(data) < header:
        expected = f"expected greyscale {kind} of uint8, which begin with {magic}"
        found = f"a file that begins with {data[:16]}, {expected}"
        sys.exit(f"error: {path}: found {found}; fetch it again, or convert it")
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    size = header + int(np.prod(shape, dtype=object))
    if len(data) != size:
        found = f"{len(data)} bytes, expected {size} for {list(shape)}"
        sys.exit(f"error: {path}: found {found}; fetch it again")
    return np.frombuffer(bytearray(data), np.uint8, offset=header).reshape(shape)


def write_idx(path, array):
    """Write a uint8 array as an idx file."""
    magic = bytes([0, 0, 8, array.ndim])
    path.write_bytes(magic + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())
