"""LSUN: an LMDB of encoded images for each category and split."""

import contextlib
import functools
import io
import os
import sys

from datafiles.names import shorten

PAPERS = ["bedroom", "kitchen", "church_outdoor", "tower"]  # four categories, in its order


class Lmdb:
    """The values of one category's LMDB, in order of keys; which are images, decoding tells.

    state: what tells this LMDB from a later version of it.
    """

    def __init__(self, path):
        """path: of the folder that holds data.mdb."""
        self.path = path
        with self.open() as env:
            self.count = env.stat()["entries"]
        file = (path / "data.mdb").stat()
        self.state = [path.name, file.st_size, file.st_mtime_ns, self.count]

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

    def items(self):
        """Pairs of a key, and a function that opens its value; in order of keys."""
        with self.open() as env, env.begin() as transaction:
            for key, value in transaction.cursor():
                yield key, functools.partial(io.BytesIO, value)


def find_lsun(root, asked):
    """Lmdb by category, for training and for testing (empty where not all are there), and notes.

    asked: names of the categories, in order; if none: the paper's four.
    """
    names = asked or PAPERS
    train = {name: root / f"{name}_train_lmdb" for name in names}
    tests = {name: root / f"{name}_val_lmdb" for name in names}
    missing = [path.name for path in train.values() if not (path / "data.mdb").exists()]
    if missing:
        sys.exit(
            f"error: {', '.join(missing)} not found in --data-dir {root}; "
            f"download LSUN's categories ({', '.join(PAPERS)}) from lsun.cs.princeton.edu, "
            f"and unpack them to {root}/bedroom_train_lmdb/data.mdb and so on"
        )
    notes = []
    absent = [path.name for path in tests.values() if not (path / "data.mdb").exists()]
    if absent:
        tests = {}
        if len(absent) < len(names):
            notes.append(f"the test split is held out of training, as {shorten(absent)} is missing")
    train = {name: Lmdb(path) for name, path in train.items()}
    return train, {name: Lmdb(path) for name, path in tests.items()}, notes
