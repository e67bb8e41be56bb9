"""Files in the format of MNIST's: a magic number, the sizes, and the bytes of an array."""

import shlex
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

from datafiles.fetch import unpacked
from datafiles.names import shorten

PREFIXES = {"train": "train", "test": "t10k"}
DIMENSIONS = {"images": 3, "labels": 1}
TYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}
NAMES = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
)


class Idx:
    """Greyscale images of two splits, in four files.

    labels: int64 [N] by split. names: None, as the files have no names for their labels.
    """

    names = None
    first_number = 0

    def __init__(self, folder, files=None):
        """folder: where to look for the files. files: their paths, where they are known."""
        self.where, self.notes = folder, []
        if files is None:
            base, files = find_idx(folder)
            if base != folder:
                self.where = base
                self.notes.append(f"the idx files are those in {base}")
            if "emnist" in str(base).casefold():
                self.notes.append(
                    "warning: EMNIST's own files hold rows and columns exchanged; "
                    "--dataset emnist turns its letters upright"
                )
        self.pixels, self.labels = {}, {}
        for split in PREFIXES:
            self.pixels[split] = parse_idx(files[split, "images"], "images")
            self.labels[split] = torch.from_numpy(
                parse_idx(files[split, "labels"], "labels")
            ).long()
            self.check(split)

    def check(self, split):
        """Exit with one line unless the sizes of a split are usable."""
        shape = self.pixels[split].shape
        count, height, width = shape
        matching = count > 0 and count == len(self.labels[split])
        usable = height == width and 0 < width <= 32 and width % 2 == 0
        if not (matching and usable):
            images = {"train": "training images", "test": "test images"}[split]
            found = f"{images} {list(shape)} and {len(self.labels[split])} labels"
            sys.exit(
                f"error: {self.where}: found {found}; "
                "expected square images of even size, at most 32×32, and as many labels"
            )

    def images(self, split):
        """uint8 [N, 1, 32, 32], black around smaller images."""
        pixels = torch.from_numpy(self.pixels[split]).unsqueeze(1)
        return F.pad(pixels, [(32 - pixels.shape[-1]) // 2] * 4)


def write_idx(path, array):
    """Write a uint8 array as an idx file."""
    magic = 0x0800 + array.ndim
    path.write_bytes(struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes())


def files_in(folder, prefixes=PREFIXES):
    """Path by (split, "images" or "labels") of the idx files of a folder.

    Named as MNIST's, or with a dot (train-images.idx3-ubyte), packed (.gz) or not, in the folder
    itself or in one that is named as the file. prefixes: what their names begin with, by split.
    """
    found = {}
    for split, prefix in prefixes.items():
        for kind, dimensions in DIMENSIONS.items():
            for name in spellings(f"{prefix}-{kind}", dimensions):
                paths = [path for path in (folder / name, folder / name / name) if path.is_file()]
                if paths:
                    found[split, kind] = paths[0]
                    break
    return found


def spellings(stem, dimensions):
    """The names that an idx file has on its sites."""
    names = [f"{stem}-idx{dimensions}-ubyte", f"{stem}.idx{dimensions}-ubyte"]
    return names + [f"{name}.gz" for name in names]


def find_idx(folder):
    """The folder of four idx files, this one or one at most two levels deeper, and their paths."""
    here = files_in(folder)
    if len(here) == 4:
        return folder, here
    deeper = [path for path in [*folder.glob("*"), *folder.glob("*/*")] if path.is_dir()]
    complete = [path for path in sorted(deeper) if len(files_in(path)) == 4]
    if len(complete) == 1:
        return complete[0], files_in(complete[0])
    if complete:
        paths = shorten([shlex.quote(str(path)) for path in complete])
        sys.exit(
            f"error: {folder} holds no four idx files, but {len(complete)} of its sub-folders do; "
            f"name one of them in --data-dir: {paths}"
        )
    missing = []
    for split, prefix in PREFIXES.items():
        for kind, dimensions in DIMENSIONS.items():
            if (split, kind) not in here:
                missing.append(f"{prefix}-{kind}-idx{dimensions}-ubyte")
    sys.exit(
        f"error: {folder}: {', '.join(missing)} not found; --dataset idx expects {NAMES}, "
        f"or these with .gz, in --data-dir{emnist_hint(folder)}"
    )


def emnist_hint(folder):
    """A text for who asks for files of EMNIST, which lie in a folder or at most two deeper."""
    files = [
        path for depth in ("", "*/", "*/*/") for path in sorted(folder.glob(f"{depth}emnist-*"))
    ]
    if not files:
        return ""
    data_dir = folder
    if files[0].parent.parts[-2:] == ("EMNIST", "raw"):
        data_dir = files[0].parent.parent.parent
    option = f"--data-dir={shlex.quote(str(data_dir))}"
    return (
        f"; found {files[0].name}: EMNIST's files hold rows and columns exchanged; to learn its "
        f"letters, put its files into {data_dir / 'EMNIST' / 'raw'} and use --dataset emnist {option}"
    )


def parse_idx(path, kind):
    """The uint8 array in an idx file of "images" (three dimensions) or "labels" (one)."""
    try:
        data = unpacked(path)
    except OSError as error:
        sys.exit(f"error: {path} cannot be read ({error}); fetch it again")
    dimensions = DIMENSIONS[kind]
    found = describe(data, kind)
    if found:
        sys.exit(f"error: {path}: {found}")
    shape = struct.unpack(f">{dimensions}I", data[4 : 4 + 4 * dimensions])
    array = np.frombuffer(bytearray(data), np.uint8, offset=4 + 4 * dimensions)
    return array.reshape(shape)


def describe(data, kind):
    """What is wrong with the bytes of an idx file and what to do, or None."""
    dimensions = DIMENSIONS[kind]
    expected = f"expected an idx file of {kind}, which begins with 00 00 08 {dimensions:02x}"
    if not data:
        return f"found an empty file, {expected}; fetch it again"
    if data.lstrip()[:1] == b"<":
        return f"found a web page, {expected}; its download failed, fetch it again"
    if data[:2] == b"PK":
        return f"found a zip archive, {expected}; unpack it"
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES:
        return f"found a file that begins with {data[:4].hex(' ')}, {expected}; fetch it again"
    header = 4 + 4 * data[3]
    if len(data) < header:
        return f"found {len(data)} bytes only, {expected}; fetch it again"
    shape = list(struct.unpack(f">{data[3]}I", data[4:header]))
    if data[2] != 8:
        return f"found values of type {TYPES[data[2]]}, expected uint8, 0 … 255; convert them"
    if kind == "images" and len(shape) == 4:
        return (
            f"found colour images {shape}, expected greyscale ones, [count, height, width]; "
            "convert them, or save them as files for --dataset folder"
        )
    if len(shape) != dimensions:
        return f"found an array {shape}, {expected}; are images and labels exchanged?"
    size = header + int(np.prod(shape, dtype=object))
    if len(data) != size:
        return f"found {len(data)} bytes, expected {size} for {shape}; fetch it again"
    return None
