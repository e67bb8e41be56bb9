"""Stopping a run at any moment and continuing it: nothing is lost, and nothing changes."""

import contextlib
import importlib
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
from conftest import METHODS, assert_same_weights, contents, load, losses, same_weights

import common
import sft


def stop_the_run():
    raise SystemExit("stopped by the test")


def middle_of(method):
    """A file that a run writes after it trained for two steps since its last checkpoint."""
    return "task_3_step_000008.png" if method == "joint" else "task_2_step_000004.png"


def assert_replays_task_1(run_dir):
    """Assert that a checkpoint inside task 2 has the generator of task 1 beside the newest one."""
    networks = load(run_dir / "checkpoint.pt")["networks"]
    past = load(run_dir / "task_1.pt")["generator"]
    assert same_weights(networks["replay_generator"], past)
    assert not torch.equal(networks["generator"]["linear.weight"], past["linear.weight"])


# Killed: every method inside a task, and those that measure or copy most at the end of a task


@pytest.mark.parametrize(
    "method, moment",
    [
        *((method, middle_of(method)) for method in METHODS),
        *((method, "task_2.pt") for method in ("ewc", "rewc", "mergan_ra")),
        ("sft", "checkpoint.pt"),
    ],
)
def test_a_killed_run_continues_to_the_same_weights_and_losses(
    method, moment, train, call_main, tiny_options, finished, tmp_path, capsys
):
    killed = train(method, tmp_path, at=(moment, signal.SIGKILL))
    assert killed.returncode == -signal.SIGKILL
    assert not list(tmp_path.rglob(moment))
    if method in ("dgr", "mergan_jtr", "mergan_ra"):
        assert_replays_task_1(tmp_path)

    assert call_main(importlib.import_module(method), *tiny_options(method, tmp_path)) is None
    began_anew = "last checkpoint: none" in capsys.readouterr().out
    assert began_anew == (moment == "checkpoint.pt")
    assert_same_weights(tmp_path, finished(method))
    assert losses(tmp_path) == losses(finished(method))


def test_a_run_on_photographs_continues_to_the_same_weights(
    call_main, photo_options, tmp_path, in_step, monkeypatch
):
    # No room for the images, so that batches are read ahead
    monkeypatch.setattr(common.RealImages, "room", lambda self: 0)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    others = ["--checkpoint-every", 3, "--snapshots", "tasks"]
    assert call_main(sft, *photo_options("sft", whole), *others) is None

    in_step(sft, 8, stop_the_run)  # the last one, after a checkpoint at the seventh
    assert call_main(sft, *photo_options("sft", parts), *others) == "stopped by the test"
    assert call_main(sft, *photo_options("sft", parts), *others) is None
    assert_same_weights(parts, whole)
    assert losses(parts) == losses(whole)


# Stopped by a signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_after_a_checkpoint_from_which_it_continues(
    number, call_main, tiny_options, finished, tmp_path, in_step, capsys
):
    in_step(sft, 4 + 3, lambda: signal.raise_signal(number))
    options = [*tiny_options("sft", tmp_path), "--checkpoint-every", 1000]
    found = call_main(sft, *options)
    assert found == "stopped at task 2, step 3; the same command, less --overwrite, continues"
    checkpoint = load(tmp_path / "checkpoint.pt")
    assert (checkpoint["task"], checkpoint["step"]) == (1, 3)
    # Adam has counted the steps of this task only, two of the critic for one of the generator
    counts = [state["state"][0]["step"].item() for state in checkpoint["optimizers"]]
    assert counts == [3 * 2, 3]

    assert call_main(sft, *options) is None
    assert "last checkpoint: task 2, step 3" in capsys.readouterr().out
    assert_same_weights(tmp_path, finished("sft"))
    assert losses(tmp_path) == losses(finished("sft"))


def test_a_second_signal_stops_a_run_at_once(train, tmp_path):
    name = "task_2_step_000003.png"
    twice = (signal.SIGINT, signal.SIGINT)
    stopped = train("sft", tmp_path, "--iters", 3, at=(name, *twice))
    assert stopped.returncode == -signal.SIGINT
    assert not (tmp_path / "samples" / name).exists()
    checkpoint = load(tmp_path / "checkpoint.pt")
    assert (checkpoint["task"], checkpoint["step"]) == (1, 2)


# Stopped by a write that fails


@contextlib.contextmanager
def files_of_at_most(size):
    """A limit on the size of files: to write more fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "name, size",
    [
        ("checkpoint.pt", 60_000),
        ("samples/task_2_step_000001.png", 20_000),
        ("metrics.jsonl", 500),
    ],
)
def test_a_write_that_fails_names_the_file_and_the_run_continues_when_there_is_room(
    name, size, call_main, tiny_options, finished, tmp_path, in_step, capsys
):
    options = tiny_options("sft", tmp_path)
    in_step(sft, 4 + 2, stop_the_run)
    assert call_main(sft, *options) == "stopped by the test"
    before = contents(tmp_path)[Path("checkpoint.pt")]

    # Task 2 begins again: its steps write to the log, then samples, then a checkpoint
    with files_of_at_most(size):
        message = call_main(sft, *options)
    found = f"error: {tmp_path / name} cannot be written; make room, then run the command again ("
    assert message.startswith(found)
    assert "\n" not in message
    assert contents(tmp_path)[Path("checkpoint.pt")] == before

    assert call_main(sft, *options) is None
    assert "last checkpoint: task 2, step 0" in capsys.readouterr().out
    assert_same_weights(tmp_path, finished("sft"))
    assert losses(tmp_path) == losses(finished("sft"))


# Finished, and started anew


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run of sft.py, to be changed."""
    return shutil.copytree(finished("sft"), tmp_path / "run")


def test_a_finished_run_stays_as_it_is(copy, call_main, tiny_options, capsys):
    before = contents(copy)
    assert call_main(sft, *tiny_options("sft", copy)) is None
    assert f"{copy} is finished; score it with: python eval.py {copy}" in capsys.readouterr().out
    assert contents(copy) == before


def test_another_seed_gives_other_weights(finished):
    one, other = finished("sft", seed=1), finished("sft", seed=2)
    states = [load(run_dir / "task_3.pt")["generator"] for run_dir in (one, other)]
    assert not torch.equal(states[0]["linear.weight"], states[1]["linear.weight"])


def test_overwrite_starts_anew_and_deletes_only_what_a_run_writes(
    copy, call_main, tiny_options, finished
):
    (copy / "eval.json").write_text("{}")
    foreign = ["notes.txt", "eval_before.json", "task_1.pt.bak", "task_best.pt"]
    foreign += ["samples/favourite.jpg", "samples/mine.png", "snapshots/best.pt"]
    for name in foreign:
        (copy / name).write_text(f"not ours: {name}")
    options = [*tiny_options("sft", copy), "--seed", 2, "--num-tasks", 2, "--overwrite"]
    assert call_main(sft, *options) is None

    for name in foreign:
        assert (copy / name).read_text() == f"not ours: {name}"
    assert not (copy / "eval.json").exists()
    assert not (copy / "task_3.pt").exists()
    for pattern in ("samples/*.png", "snapshots/*.pt"):
        found = [path for path in copy.glob(pattern) if path.name not in ("mine.png", "best.pt")]
        assert {path.name[:6] for path in found} == {"task_1", "task_2"}
    other = finished("sft", seed=2)
    assert losses(copy) == losses(other)[:8]
    ours, theirs = load(copy / "task_2.pt"), load(other / "task_2.pt")
    assert same_weights(ours["generator"], theirs["generator"])
