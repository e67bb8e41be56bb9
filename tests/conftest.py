"""Shared by all tests: a tiny data set, tiny options, and uninterrupted runs of every method, each made once."""

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
torch.set_num_threads(1)

from common import load_dataset  # noqa: E402
from datafiles.idx import write_idx  # noqa: E402

METHODS = ["sft", "joint", "ewc", "rewc", "dgr", "mergan_jtr", "mergan_ra"]
UNCONDITIONAL = ["dgr"]  # whose generators know one category alone
TINY = ("--dataset idx --iters 4 --batch-size 12 --critic-steps 2 --width 4 --latent-dim 8 --learning-rate 1e-3 "
        "--device cpu --amp off --log-every 1 --checkpoint-every 2").split()  # fmt: skip
OWN = {method: ["--fisher-samples", "64"] for method in ("ewc", "rewc")}

# Runs a script that sends itself a signal at the moment when it puts the named file in place.
SIGNALLED = """
import os, runpy, sys
name, number, sys.argv = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
replace = os.replace
def signalling_replace(source, target):
    if str(target).endswith(name):
        os.kill(os.getpid(), number)
    replace(source, target)
os.replace = signalling_replace
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_script(script, *options, at=None):
    """The finished process of a script. at: (name of a file, signal that the script gets while it writes that file)."""
    head = ["-c", SIGNALLED, at[0], str(int(at[1]))] if at else []
    command = [sys.executable, *head, f"{script}.py", *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")


def metrics(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def contents(run_dir):
    """Time of change and bytes of every file of a run but its lock, which reading would release."""
    paths = [path for path in run_dir.rglob("*") if path.is_file() and not path.name.startswith("lock")]
    return {path.relative_to(run_dir): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def assert_same_weights(run_dir, other_dir):
    names = sorted(path.relative_to(other_dir) for path in other_dir.rglob("task_*.pt"))
    assert names and names == sorted(path.relative_to(run_dir) for path in run_dir.rglob("task_*.pt"))
    for name in names:
        ours, theirs = (torch.load(d / name, weights_only=True) for d in (run_dir, other_dir))
        for part in [part for part in ("generator", "solver") if part in ours]:
            assert ours[part].keys() == theirs[part].keys()
            assert all(torch.equal(ours[part][key], theirs[part][key]) for key in ours[part]), name


def write_bars(folder, train, test):
    """Four idx files of 28×28 images in three categories: a bar left, in the middle or right, and noise."""
    random = np.random.default_rng(0)
    for prefix, count in [("train", train), ("t10k", test)]:
        labels = random.permutation(np.arange(count) % 3).astype(np.uint8)
        images = random.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels):
            image[4:24, 3 + 8 * label : 9 + 8 * label] += 180
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A folder with four idx files: three categories of 28×28 images, 100 for training and 20 for testing of each."""
    folder = tmp_path_factory.mktemp("data")
    write_bars(folder, train=300, test=60)
    return folder


def photograph(seed, size=(80, 60), mode="RGB"):
    """Colour gradients and a block, different for each seed."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    channels = [(a * rows + b * columns + c) % 256 for a, b, c in random.integers(0, 3, (3, 3)) * (1, 1, 60)]
    pixels = np.stack(channels, -1).astype(np.uint8)
    pixels[10:30, 20:50] = random.integers(0, 256, 3)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture(scope="session")
def tiny_photos(tmp_path_factory):
    """A folder with 20 photographs in each of three categories, in three formats; not to be changed."""
    folder = tmp_path_factory.mktemp("photos")
    for c, category in enumerate(("attic", "barn", "cellar")):
        (folder / category).mkdir()
        for i in range(20):
            photograph(100 * c + i).save(folder / category / f"{i:02d}.{('png', 'jpg', 'webp')[i % 3]}")
    return folder


@pytest.fixture(scope="session")
def photo_options(tiny_photos, tmp_path_factory):
    """Options of a run on photographs at 64×64, two categories."""
    cache = tmp_path_factory.mktemp("cache")
    options = ["--dataset", "folder", "--data-dir", tiny_photos, "--cache-dir", cache, "--width", 2, "--num-tasks", 2]
    return lambda method, run_dir: [*TINY, *OWN.get(method, []), *options, "--run-dir", run_dir]


@pytest.fixture(scope="session")
def tiny_options(tiny_data):
    return lambda method, run_dir: [*TINY, *OWN.get(method, []), "--data-dir", tiny_data, "--run-dir", run_dir]


@pytest.fixture(scope="session")
def train(tiny_options):
    """Train a method at tiny size as a process of its own."""
    return lambda method, run_dir, *options, at=None: run_script(
        method, *tiny_options(method, run_dir), *options, at=at
    )


@pytest.fixture(scope="session")
def finished(train, tmp_path_factory):
    """The run directory of an uninterrupted run of a method; not to be changed."""

    @functools.cache
    def run(method, seed=1):
        run_dir = tmp_path_factory.mktemp(method)
        done = train(method, run_dir, "--seed", seed)
        assert done.returncode == 0, done.stderr
        (run_dir / "stdout").write_text(done.stdout)
        return run_dir

    return run


@pytest.fixture
def call_main(monkeypatch):
    """Call main() of a script's module in this process; returns what it exits with, None if it ends by itself."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(module, *options):
        monkeypatch.setattr(sys, "argv", [module.__file__, *map(str, options)])
        try:
            return module.main()
        except SystemExit as stop:
            return stop.code
        finally:
            lock = getattr(getattr(module, "open_run", None), "lock", None)
            if lock:
                lock.close()  # as the end of a process does

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


def refused(*arguments, **options):
    """The line that load_dataset exits with."""
    with pytest.raises(SystemExit) as stop:
        load_dataset(*arguments, **options)
    message = stop.value.code
    assert message.startswith("error: ") and "\n" not in message
    return message
