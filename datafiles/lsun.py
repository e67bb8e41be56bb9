"""LSUN: an LMDB of encoded images for each category and split."""

import contextlib
import functools
import io
import os
import sys

from datafiles.names import shorten

# The paper's four categories, in its order, and how many images each has.
LSUN = {"bedroom": 3033042, "kitchen": 2212277, "church_outdoor": 126227, "tower": 708264}

# What is read counts as this process's memory until the LMDB is closed, so it is opened anew.
CHUNK, CHUNK_BYTES, REOPEN = 256, 2**26, 4096


class Lmdb:
    """The values of one category's LMDB, in order of keys; which are images, decoding tells."""

    def __init__(self, path):
        """path: of the folder that holds data.mdb."""
        self.path = path
        with self.open() as env:
            self.count = env.stat()["entries"]
        stat = (path / "data.mdb").stat()
        # What tells this LMDB from a later version of it.
        self.state = [path.name, stat.st_size, stat.st_mtime_ns, self.count]

    @contextlib.contextmanager
    def open(self):
        """The LMDB, opened to read; a damaged one ends in one line."""
        try:
            import lmdb
        except ImportError:
            sys.exit(
                "error: --dataset lsun needs lmdb; "
                "install it with: python -m pip install -r requirements-extras.txt"
            )
        options = dict(readonly=True, lock=False, readahead=False)
        try:
            with lmdb.open(os.fsencode(self.path), **options) as env:
                needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
                if (self.path / "data.mdb").stat().st_size < needed:
                    raise lmdb.Error(f"cut off before {needed} bytes")
                yield env
        except lmdb.Error as error:
            sys.exit(f"error: {self.path} is no readable LMDB ({error}); unpack it again")

    def chunks(self):
        """Lists of pairs: a key, and a function that opens its value; in order of keys.

        A list holds at most 256 values, and 64 MB but for the last of them.
        """
        key, more = b"", True
        while more:
            with self.open() as env, env.begin() as transaction:
                cursor = transaction.cursor()
                more = cursor.set_range(key) if key else cursor.first()
                read = 0
                while more and read < REOPEN:
                    chunk, size = [], 0
                    while more and len(chunk) < CHUNK and size < CHUNK_BYTES:
                        name, value = cursor.item()
                        chunk.append((name, functools.partial(io.BytesIO, value)))
                        size += len(value)
                        more = cursor.next()
                    read += len(chunk)
                    yield chunk
                key = cursor.key()


def find_lsun(root, asked):
    """Lmdb by category, for training and for testing (empty where not all are there), and notes.

    asked: names of the categories, in order; if none: the paper's four.
    """
    names = asked or list(LSUN)
    train = {name: find_lmdb(root, f"{name}_train_lmdb") for name in names}
    test = {name: find_lmdb(root, f"{name}_val_lmdb") for name in names}
    missing = [f"{name}_train_lmdb" for name, path in train.items() if path is None]
    if missing:
        packed = [f"{name}.zip" for name in missing if (root / f"{name}.zip").exists()]
        if packed:
            sys.exit(f"error: {', '.join(packed)} in --data-dir {root} is packed; unpack it there")
        sizes = ", ".join(f"{name} ({count:,} images)" for name, count in LSUN.items())
        sys.exit(
            f"error: {', '.join(missing)} not found in --data-dir {root}; "
            f"download LSUN's categories {sizes} from its site (lsun.cs.princeton.edu) "
            f"and unpack them, to {root}/bedroom_train_lmdb/data.mdb and so on; "
            "--dataset folder learns from a folder of your own images today"
        )
    notes = []
    absent = [f"{name}_val_lmdb" for name, path in test.items() if path is None]
    if absent:
        test = {}
        if len(absent) < len(names):
            notes.append(f"the test split is held out of training, as {shorten(absent)} is missing")
    sources = {name: Lmdb(path) for name, path in train.items()}
    return sources, {name: Lmdb(path) for name, path in test.items()}, notes


def find_lmdb(root, name):
    """The folder of an LMDB in root, or in a sub-folder of it; None if it is in neither."""
    for path in [root / name, *sorted(root.glob(f"*/{name}"))]:
        if (path / "data.mdb").exists():
            return path
    return None
