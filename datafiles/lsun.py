"""LSUN: an LMDB of encoded images for each category and split."""

import contextlib
import itertools
import sys

# The paper's four categories, in its order, and how many images each has.
LSUN = {"bedroom": 3033042, "kitchen": 2212277, "church_outdoor": 126227, "tower": 708264}


class Lmdb:
    """The encoded images of one category, in an LMDB."""

    def __init__(self, path, limit=0):
        """path: of the LMDB's folder. limit: use the first so many keys in order; 0: all."""
        self.path = path
        with self.open() as env, env.begin() as transaction:
            keys = transaction.cursor().iternext(values=False)
            self.names = list(itertools.islice(keys, limit or None))
        stat = (path / "data.mdb").stat()
        # What tells this LMDB from a later version of it.
        self.state = [str(path.name), stat.st_size, stat.st_mtime_ns, len(self.names)]

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
        try:
            with lmdb.open(str(self.path), readonly=True, lock=False, readahead=False) as env:
                needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
                if (self.path / "data.mdb").stat().st_size < needed:
                    raise lmdb.Error(f"cut off before {needed} bytes")
                yield env
        except lmdb.Error as error:
            sys.exit(f"error: {self.path} is no readable LMDB ({error}); unpack it again")

    def read(self, names):
        """The values of some of self.names, in turn."""
        # What was read counts as this process's memory until the LMDB is closed.
        for first in range(0, len(names), 4096):
            with self.open() as env, env.begin() as transaction:
                for name in names[first : first + 4096]:
                    yield transaction.get(name)


def find_lsun(root, asked, limit):
    """Lmdb by category name, for training and for testing (empty where not all are there).

    asked: names of the categories, in order; if none: the paper's four.
    """
    names = asked or list(LSUN)
    train = {name: root / f"{name}_train_lmdb" for name in names}
    test = {name: root / f"{name}_val_lmdb" for name in names}
    missing = [path.name for path in train.values() if not (path / "data.mdb").exists()]
    if missing:
        sizes = ", ".join(f"{name} ({count:,} images)" for name, count in LSUN.items())
        sys.exit(
            f"error: {', '.join(missing)} not found in --data-dir {root}; "
            f"download LSUN's categories {sizes} from its site (lsun.cs.princeton.edu) "
            f"and unpack them, to {root}/bedroom_train_lmdb/data.mdb and so on; "
            "--dataset folder learns from a folder of your own images today"
        )
    if not all((path / "data.mdb").exists() for path in test.values()):
        test = {}
    sources = {name: Lmdb(path, limit) for name, path in train.items()}
    return sources, {name: Lmdb(path) for name, path in test.items()}
