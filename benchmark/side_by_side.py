"""What ablation.py and sweep.py share: short runs on five digits of MNIST, several side by side."""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def make_parser(description):
    """A parser of the options that both have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--iters", type=int, default=400, help="generator steps per task [%(default)s]")
    add("--learning-rate", type=float, default=5e-4, help="Adam's [%(default)s]")
    add("--num-tasks", type=int, default=5, help="digits to learn [%(default)s]")
    add("--seed", type=int, default=1, help="of every run [%(default)s]")
    add("--jobs", type=int, default=os.cpu_count(), help="runs side by side [one per core]")
    add("--data-dir", type=Path, default=ROOT / "data", help="folder of MNIST [data]")
    add("--out", type=Path, default=ROOT / "results", help="where the results go [results]")
    return parser


def command(args, script, run_dir, *options):
    """The command of a run by a method script, with the options of make_parser()."""
    words = [sys.executable, script, *options, "--run-dir", run_dir.resolve()]
    words += ["--iters", args.iters, "--learning-rate", args.learning_rate]
    words += ["--num-tasks", args.num_tasks, "--seed", args.seed]
    words += ["--data-dir", args.data_dir.resolve()]
    return [str(word) for word in words]


def train(commands, jobs):
    """Run commands, `jobs` at a time, one thread each. Yields each in order, when it has ended.

    A command that fails ends this process with one line, after those that run beside it have ended.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def run(words):
        done = subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(f"error: {' '.join(words)} failed; see above. Then give this command again")
        return words

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(run, commands)
