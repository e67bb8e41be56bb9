"""Shared by all tests: a tiny data set, tiny options, and uninterrupted runs, each made once."""

import contextlib
import functools
import gzip
import itertools
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
os.environ["PYTHONUTF8"] = "1"
# In the background these are ignored, and would be in the processes that tests start
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

from common import load_dataset  # noqa: E402
from datafiles.idx import write_idx  # noqa: E402

METHODS = ["sft", "joint", "ewc", "rewc", "dgr", "mergan_jtr", "mergan_ra"]
UNCONDITIONAL = ["dgr"]  # its generator knows only one category

# Options of a run that takes seconds
tiny = {
    "--dataset": "idx",
    "--iters": "4",
    "--batch-size": "12",
    "--critic-steps": "2",
    "--width": "4",
    "--latent-dim": "8",
    "--learning-rate": "1e-3",
    "--device": "cpu",
    "--log-every": "1",
    "--checkpoint-every": "2",
}
TINY = list(itertools.chain.from_iterable(tiny.items()))
OWN = {
    "ewc": ["--fisher-samples", "64"],
    "rewc": ["--fisher-samples", "64", "--covariance-samples", "64"],
}


# Scripts in this process and in others


def call_main(module, *options):
    """Call main() of a script's module. Returns what it exits with, None if it ends by itself."""
    argv = sys.argv
    sys.argv = [module.__file__, *map(str, options)]
    try:
        return module.main()
    except SystemExit as stop:
        return stop.code
    finally:
        sys.argv = argv


# A server that has imported PyTorch, and forks: a new process costs a second less than by itself
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["torch", "torchvision", "scipy.io"])


def child_main(command, environment, folder, at):
    """What a child process does: run a Python file with its options, as Python would.

    command: the file and its options. What it prints goes to stdout and stderr in the folder.
    at: None, or (name of a file, signals): the process gets the signals, one after the other, when
    it is about to rename another file to this name, so at one and the same moment in every run.
    """
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, name in [(1, "stdout"), (2, "stderr")]:
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), descriptor)

    def send_signals(event, arguments):
        if event == "os.rename" and os.path.basename(arguments[1]) == at[0]:
            for number in at[1:]:
                os.kill(os.getpid(), number)

    if at:
        sys.addaudithook(send_signals)
    os.chdir(ROOT)
    sys.argv = command
    sys.path.insert(0, os.path.dirname(command[0]))
    runpy.run_path(command[0], run_name="__main__")


@contextlib.contextmanager
def started(path, *options, at=None, environment=os.environ):
    """A process that runs a Python file. Gives a function that waits for its end, and returns it.

    What it returns is like what subprocess.run() returns. at: see child_main().
    """
    command = [str(path), *map(str, options)]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        arguments = (command, dict(environment), folder, at)
        child = CHILDREN.Process(target=child_main, args=arguments)
        child.start()

        def end():
            child.join()
            output, errors = (folder / "stdout").read_text(), (folder / "stderr").read_text()
            return subprocess.CompletedProcess(command, child.exitcode, output, errors)

        yield end
        child.kill()
        child.join()


def run_script(script, *options, at=None):
    """The finished process of a script of ours. at: see child_main()."""
    with started(ROOT / f"{script}.py", *options, at=at) as end:
        return end()


# What a run leaves behind


def metrics(run_dir):
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def losses(run_dir):
    """The lines of metrics.jsonl without times, which differ from run to run."""
    lines = metrics(run_dir)
    for line in lines:
        del line["it_per_s"], line["elapsed"]
    return lines


def contents(run_dir):
    """Time of change and bytes of every file of a run but its lock."""
    found = {}
    for path in run_dir.rglob("*"):
        if path.is_file() and path.name != "lock":
            found[path.relative_to(run_dir)] = (path.stat().st_mtime_ns, path.read_bytes())
    return found


def load(path):
    """What a script saved."""
    return torch.load(path, weights_only=True)


def same_weights(ours, theirs):
    """Whether two state dicts are equal bit for bit."""
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def assert_same_weights(run_dir, other_dir):
    """Assert that two runs saved the same networks at the same moments, equal bit for bit."""
    names = sorted(path.relative_to(other_dir) for path in other_dir.rglob("task_*.pt"))
    assert names
    assert names == sorted(path.relative_to(run_dir) for path in run_dir.rglob("task_*.pt"))
    for name in names:
        ours, theirs = load(run_dir / name), load(other_dir / name)
        for part in ("generator", "solver"):
            assert (part in ours) == (part in theirs)
            assert part not in ours or same_weights(ours[part], theirs[part]), (name, part)


# A stub, and data


class Brightness(torch.nn.Module):
    """A stub of a judge: features are darkness and brightness, categories 0 dark and 1 bright."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def body(self, x):
        brightness = self.weight * x.mean((1, 2, 3))
        return torch.stack([-brightness, brightness], 1)

    def head(self, features):
        return features


def write_bars(folder, train, test, categories=3):
    """Four idx files of 28×28 images in three categories: a bar left, in the middle or right.

    Of a fourth category, only the left edge of the bar is in the image.
    """
    random = np.random.default_rng(0)
    for prefix, count in [("train", train), ("t10k", test)]:
        labels = random.permutation(np.arange(count) % categories).astype(np.uint8)
        images = random.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels):
            image[4:24, 3 + 8 * label : 9 + 8 * label] += 180
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A folder with four idx files: of each of three categories 100 training and 20 test images."""
    folder = tmp_path_factory.mktemp("data")
    write_bars(folder, train=300, test=60)
    return folder


def photograph(seed, size=(80, 60)):
    """Colour gradients and a block, different for each seed."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    channels = [
        (a * rows + b * columns + c) % 256 for a, b, c in random.integers(0, 3, (3, 3)) * (1, 1, 60)
    ]
    pixels = np.stack(channels, -1).astype(np.uint8)
    pixels[10:30, 20:50] = random.integers(0, 256, 3)
    return Image.fromarray(pixels)


def pack(path):
    """Replace a file by a gzip file of its own name and .gz."""
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


@pytest.fixture(scope="session")
def tiny_photos(tmp_path_factory):
    """A folder of 20 photographs in each of three categories, in three formats: do not change."""
    folder = tmp_path_factory.mktemp("photos")
    for c, category in enumerate(("attic", "barn", "cellar")):
        (folder / category).mkdir()
        for i in range(20):
            kind = ("png", "jpg", "webp")[i % 3]
            photograph(100 * c + i).save(folder / category / f"{i:02d}.{kind}")
    return folder


@pytest.fixture
def photos(tiny_photos, tmp_path):
    """A copy of three categories of 20 photographs each, to be changed."""
    return shutil.copytree(tiny_photos, tmp_path / "photos")


@pytest.fixture(scope="session")
def photo_options(tiny_photos, tmp_path_factory):
    """A function that gives the options of a tiny run on photographs at 64×64, two categories."""
    cache = tmp_path_factory.mktemp("cache")
    photos = ["--dataset", "folder", "--data-dir", tiny_photos, "--cache-dir", cache]

    def options(method, run_dir):
        smaller = ["--width", 2, "--num-tasks", 2]
        return [*TINY, *OWN.get(method, []), *photos, *smaller, "--run-dir", run_dir]

    return options


# Runs


@pytest.fixture(scope="session")
def tiny_options(tiny_data):
    """A function that gives the options of a tiny run of a method."""

    def options(method, run_dir):
        return [*TINY, *OWN.get(method, []), "--data-dir", tiny_data, "--run-dir", run_dir]

    return options


@pytest.fixture(scope="session")
def train(tiny_options):
    """A function that trains a method at tiny size in a process of its own, and returns that."""

    def run(method, run_dir, *options, at=None):
        return run_script(method, *tiny_options(method, run_dir), *options, at=at)

    return run


@pytest.fixture(scope="session")
def finished(train, tmp_path_factory):
    """A function that gives the directory of a method's uninterrupted run; not to be changed."""

    @functools.cache
    def run(method, *options, seed=1):
        run_dir = tmp_path_factory.mktemp(method)
        done = train(method, run_dir, "--seed", seed, *options)
        assert done.returncode == 0, done.stderr
        (run_dir / "stdout").write_text(done.stdout)
        return run_dir

    return run


@pytest.fixture
def in_step(monkeypatch):
    """A function that lets something happen while sft.py is inside a generator step.

    The steps are counted over all tasks, from 1.
    """

    def arrange(script, number, act):
        loss = script.generator_loss
        steps = itertools.count(1)

        def interrupted(*arguments):
            if next(steps) == number:
                act()
            return loss(*arguments)

        monkeypatch.setattr(script, "generator_loss", interrupted)

    return arrange


@pytest.fixture
def record(monkeypatch):
    """A function that records the arguments and the value of every call of a module's function."""

    def replace(module, name):
        function = getattr(module, name)
        calls = []

        def recording(*arguments):
            value = function(*arguments)
            calls.append((arguments, value.item()))
            return value

        monkeypatch.setattr(module, name, recording)
        return calls

    return replace


def refused(*arguments, **options):
    """The line that load_dataset exits with."""
    with pytest.raises(SystemExit) as stop:
        load_dataset(*arguments, **options)
    message = stop.value.code
    assert message.startswith("error: ") and "\n" not in message
    return message
