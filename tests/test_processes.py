"""Several processes, as torchrun starts them: averaged gradients, equal weights, resume."""

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import torch
from conftest import (
    ROOT,
    assert_same_weights,
    call_main,
    load,
    losses,
    metrics,
    same_weights,
    started,
)

import dgr
import sft

PROGRAMS = ROOT / "tests" / "programs"


def free_port():
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def run_two(program, *options, at=None):
    """Two processes of a program, with the variables that torchrun gives them; both finished.

    at: as in child_main(), for the first one. When it is gone, so is the other, as with torchrun.
    """
    shared = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(free_port()),
    }
    numbers = [{"RANK": number, "LOCAL_RANK": number} for number in ("0", "1")]
    first, second = [{**os.environ, **shared, **number} for number in numbers]
    path = PROGRAMS / f"{program}.py"
    with contextlib.ExitStack() as stack:
        end_of_first = stack.enter_context(started(path, *options, at=at, environment=first))
        end_of_second = stack.enter_context(started(path, *options, environment=second))
        done = end_of_first()
        if at:
            return done
        other = end_of_second()
        assert done.returncode == 0, done.stderr
        assert other.returncode == 0, other.stderr
        assert other.stdout == ""
        return done


def test_gradients_become_the_mean_over_the_processes(monkeypatch):
    gradients = [torch.randn(3, 2), torch.randn(4), torch.randn(())]
    expected = [2 * gradient for gradient in gradients]
    # All-reduce sums: here the second process has three times the gradients of the first
    monkeypatch.setattr(sft, "PROCESSES", 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.mul_(4))
    sft.average(gradients)
    for found, mean in zip(gradients, expected, strict=True):
        assert torch.equal(found, mean)


@pytest.fixture(scope="module")
def together(tiny_options, tmp_path_factory):
    """A function that gives an uninterrupted run of two tasks by two processes; not to be changed.

    It gives the run's directory and what the run printed.
    """

    @functools.cache
    def run(method):
        run_dir = tmp_path_factory.mktemp(f"{method}_together") / "run"
        options = [*tiny_options(method, run_dir), "--num-tasks", 2]
        return run_dir, run_two("both_write", method, *options).stdout

    return run


@pytest.mark.parametrize("method", ["dgr", "rewc"])
def test_both_processes_end_with_the_same_weights(method, together):
    run_dir, _ = together(method)
    for task in (1, 2):
        first, second = [load(run_dir / f"rank_{number}_task_{task}.pt") for number in (0, 1)]
        parts = ["generator", "solver"] if method == "dgr" else ["generator"]
        assert all(same_weights(first[part], second[part]) for part in parts)


@pytest.mark.parametrize("method", ["dgr", "rewc"])
def test_two_processes_learn_from_other_images_and_noise(method, together):
    run_dir, _ = together(method)
    (first,), (second,) = [load(run_dir / f"rank_{number}_drawn.pt") for number in (0, 1)]
    assert first.keys() == second.keys() == {"images", "noise"}
    assert not torch.equal(first["images"], second["images"])
    assert not torch.equal(first["noise"], second["noise"])


@pytest.mark.parametrize("method", ["dgr", "rewc"])
def test_the_first_process_speaks_for_both(method, together):
    run_dir, output = together(method)
    assert ", processes: 2, " in output
    assert output.count(f"{run_dir} is finished") == 1
    assert json.loads((run_dir / "args.json").read_text())["processes"] == 2
    moments = [(line["task"], line["step"]) for line in metrics(run_dir)]
    assert moments == [(task, step) for task in (1, 2) for step in (1, 2, 3, 4)]


def test_a_killed_run_continues_to_the_same_weights_and_no_other_number_of_processes_may(
    together, tiny_options, tmp_path
):
    options = [*tiny_options("dgr", tmp_path), "--num-tasks", 2]
    killed = run_two("both_write", "dgr", *options, at=("task_2.pt", signal.SIGKILL))
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "checkpoint.pt").exists()
    assert not (tmp_path / "task_2.pt").exists()
    assert "processes: 2 there, 1 here" in call_main(dgr, *options)

    run_two("both_write", "dgr", *options)
    whole, _ = together("dgr")
    assert_same_weights(tmp_path, whole)
    assert losses(tmp_path) == losses(whole)


def test_under_torchrun_a_process_that_fails_ends_the_run_with_its_error(tiny_options, tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *torchrun, PROGRAMS / "second_fails.py"]
    command += tiny_options("sft", tmp_path / "run")
    options = {"capture_output": True, "encoding": "utf-8", "timeout": 240}
    done = subprocess.run([str(word) for word in command], cwd=ROOT, **options)
    assert done.returncode != 0
    assert "RuntimeError: the second process fails" in done.stderr
    assert not (tmp_path / "run" / "task_1.pt").exists()
