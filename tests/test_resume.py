"""Stopping a run at any moment and continuing it: nothing is lost, and nothing changes."""

import contextlib
import importlib
import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import (
    METHODS,
    ROOT,
    assert_same_weights,
    call_main,
    contents,
    load,
    losses,
    same_weights,
)

import common
import sft


def stop_the_run():
    raise SystemExit("stopped by the test")


def assert_replays_task_1(run_dir):
    """Assert that a checkpoint inside task 2 has the generator of task 1 beside the newest one."""
    networks = load(run_dir / "checkpoint.pt")["networks"]
    past = load(run_dir / "task_1.pt")["generator"]
    assert same_weights(networks["replay_generator"], past)
    assert not torch.equal(networks["generator"]["linear.weight"], past["linear.weight"])


# Killed: every method inside a task, and those that measure or copy most at the end of one

ONE, TWO = [], ["--categories-per-task", 2]
IN_TASK_2 = "task_2_step_000004.png"  # written after two steps since the last checkpoint
MOMENTS = [
    *((method, IN_TASK_2, TWO) for method in METHODS if method != "joint"),
    ("joint", "task_2_step_000008.png", TWO),
    *((method, "task_2.pt", ONE) for method in ("ewc", "rewc", "mergan_ra")),
    ("sft", "checkpoint.pt", ONE),
]


@pytest.mark.parametrize("method, moment, together", MOMENTS)
def test_a_killed_run_continues_to_the_same_weights_and_losses(
    method, moment, together, train, tiny_options, finished, tmp_path, capsys
):
    killed = train(method, tmp_path, *together, at=(moment, signal.SIGKILL))
    assert killed.returncode == -signal.SIGKILL
    assert not list(tmp_path.rglob(moment))
    if method in ("dgr", "mergan_jtr", "mergan_ra"):
        assert_replays_task_1(tmp_path)

    options = [*tiny_options(method, tmp_path), *together]
    assert call_main(importlib.import_module(method), *options) is None
    began_anew = "beginning at task 1, step 0\n" in capsys.readouterr().out
    assert began_anew == (moment == "checkpoint.pt")
    assert_same_weights(tmp_path, finished(method, *together))
    assert losses(tmp_path) == losses(finished(method, *together))


def test_a_run_on_photographs_continues_to_the_same_weights(photo_options, tmp_path, in_step):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    others = ["--checkpoint-every", 3, "--snapshots", "tasks"]
    assert call_main(sft, *photo_options("sft", whole), *others) is None
    assert not list((whole / "snapshots").iterdir())

    in_step(sft, 8, stop_the_run)  # the last one, after a checkpoint at the seventh
    assert call_main(sft, *photo_options("sft", parts), *others) == "stopped by the test"
    assert call_main(sft, *photo_options("sft", parts), *others) is None
    assert_same_weights(parts, whole)
    assert losses(parts) == losses(whole)


# Continued with fewer or other options


def test_an_option_that_is_not_given_is_that_of_the_run(
    tiny_options, tiny_data, finished, tmp_path, in_step
):
    in_step(sft, 4 + 3, stop_the_run)
    assert call_main(sft, *tiny_options("sft", tmp_path)) == "stopped by the test"
    before = (tmp_path / "args.json").read_text()
    few = ["--run-dir", tmp_path, "--data-dir", tiny_data, "--device", "cpu"]
    assert call_main(sft, *few) is None
    assert_same_weights(tmp_path, finished("sft"))
    assert (tmp_path / "args.json").read_text() == before


def test_options_that_change_no_result_may_differ(tiny_options, finished, tmp_path, in_step):
    in_step(sft, 4 + 3, stop_the_run)
    assert call_main(sft, *tiny_options("sft", tmp_path)) == "stopped by the test"
    arguments = json.loads((tmp_path / "args.json").read_text())
    elsewhere = arguments | {"device": "cuda", "hardware": "some GPU", "cuda_graph": "off"}
    (tmp_path / "args.json").write_text(json.dumps(elsewhere))
    others = ["--snapshots", "tasks", "--log-every", 3, "--checkpoint-every", 5]
    assert call_main(sft, *tiny_options("sft", tmp_path), *others) is None
    ours, theirs = load(tmp_path / "task_3.pt"), load(finished("sft") / "task_3.pt")
    assert same_weights(ours["generator"], theirs["generator"])
    # A table names both machines
    machines = json.loads((tmp_path / "args.json").read_text())["hardware"]
    assert machines == f"some GPU, then {arguments['hardware']}"


def test_a_run_that_continues_with_other_code_warns_and_keeps_a_list(
    tiny_options, tmp_path, in_step, monkeypatch, capsys
):
    in_step(sft, 4 + 3, stop_the_run)
    options = tiny_options("sft", tmp_path)
    assert call_main(sft, *options) == "stopped by the test"
    before = json.loads((tmp_path / "args.json").read_text())["code"]
    edited = tmp_path / "sft.py"
    edited.write_text(Path(sft.__file__).read_text() + "# edited\n")
    monkeypatch.setattr(sft, "__file__", str(edited))
    capsys.readouterr()
    for warned in (True, False):
        assert call_main(sft, *options) is None
        assert ("sft.py, common.py or support/ has changed" in capsys.readouterr().out) == warned
        found = json.loads((tmp_path / "args.json").read_text())["code"]
        assert found.split(", then ")[0] == before != found.split(", then ")[1]


def test_adam_keeps_what_this_machine_needs_after_a_checkpoint_of_another(
    tiny_options, tmp_path, in_step, monkeypatch
):
    """A CUDA graph needs capturable; a checkpoint from a CPU has False there."""
    in_step(sft, 4 + 3, lambda: signal.raise_signal(signal.SIGTERM))
    options = [*tiny_options("sft", tmp_path), "--checkpoint-every", 1]
    assert "the same command continues" in call_main(sft, *options)
    seen, capturable = [], torch.optim.Adam.__init__

    def begin(self, *arguments, **own):
        capturable(self, *arguments, **own)
        self.param_groups[0]["capturable"] = True  # as on a GPU

    def step(self):
        seen.append((self.param_groups[0]["capturable"], bool(self.state)))
        raise StopIteration

    monkeypatch.setattr(torch.optim.Adam, "__init__", begin)
    monkeypatch.setattr(torch.optim.Adam, "step", step)
    with pytest.raises(StopIteration):
        call_main(sft, *options)
    assert seen == [(True, True)]


# Stopped by a signal

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]


@pytest.fixture
def handlers():
    """The handlers of signals; the test fails if it ends with others."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_a_run_after_a_checkpoint_from_which_it_continues(
    number, tiny_options, finished, tmp_path, in_step, capsys, handlers
):
    in_step(sft, 4 + 3, lambda: signal.raise_signal(number))
    options = [*tiny_options("sft", tmp_path), "--checkpoint-every", 1000]
    assert call_main(sft, *options) == "stopped at task 2, step 3; the same command continues"
    checkpoint = load(tmp_path / "checkpoint.pt")
    assert (checkpoint["task"], checkpoint["step"]) == (1, 3)
    # Adam has counted the steps of this task only, two of the critic for one of the generator
    counts = [state["state"][0]["step"].item() for state in checkpoint["optimizers"]]
    assert counts == [3 * 2, 3]

    assert call_main(sft, *options) is None
    assert "beginning at task 2, step 3" in capsys.readouterr().out
    assert_same_weights(tmp_path, finished("sft"))
    assert losses(tmp_path) == losses(finished("sft"))


def test_a_signal_at_the_end_of_the_last_task_lets_the_run_finish(
    tiny_options, tmp_path, monkeypatch, capsys, handlers
):
    measure = common.Generator.update_standing_statistics

    def interrupted(*arguments):
        measure(*arguments)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(common.Generator, "update_standing_statistics", interrupted)
    assert call_main(sft, *tiny_options("sft", tmp_path), "--num-tasks", 1) is None
    assert "is finished; score it" in capsys.readouterr().out


def test_a_signal_that_is_ignored_stays_ignored(tiny_options, finished, tmp_path, in_step):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        in_step(sft, 4 + 3, lambda: signal.raise_signal(signal.SIGHUP))
        assert call_main(sft, *tiny_options("sft", tmp_path)) is None
    finally:
        assert signal.signal(signal.SIGHUP, before) == signal.SIG_IGN
    assert_same_weights(tmp_path, finished("sft"))


def test_a_second_signal_stops_a_run_at_once(train, tmp_path):
    name = "task_2_step_000003.png"
    twice = (signal.SIGINT, signal.SIGINT)
    stopped = train("sft", tmp_path, "--iters", 3, at=(name, *twice))
    assert stopped.returncode == -signal.SIGINT
    assert not (tmp_path / "samples" / name).exists()
    checkpoint = load(tmp_path / "checkpoint.pt")
    assert (checkpoint["task"], checkpoint["step"]) == (1, 2)


def test_ctrl_c_before_the_first_step_is_one_line(tiny_options, tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(common, "load_tasks", stop)
    message = call_main(sft, *tiny_options("sft", tmp_path))
    assert message == "stopped; the same command continues"


def test_what_fails_in_a_notebook_holds_neither_lock_nor_signals(
    tiny_options, finished, tmp_path, in_step, handlers
):
    def fail():
        raise RuntimeError("a bug of the user's")

    in_step(sft, 4 + 3, fail)
    options = tiny_options("sft", tmp_path)
    with pytest.raises(RuntimeError) as kept:  # with the traceback, as a notebook keeps it
        call_main(sft, *options)
    assert call_main(sft, *options) is None
    assert kept.tb
    assert_same_weights(tmp_path, finished("sft"))


# Nobody reads


@contextlib.contextmanager
def speaking_to(stdout, *options):
    """A process of sft.py that prints to a file; its standard error is a pipe."""
    command = [sys.executable, "sft.py", *map(str, options)]
    pipes = {"stdout": stdout, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as child:
        yield child
        child.kill()


@pytest.mark.parametrize("reader", ["head", "full disk"])
def test_a_run_goes_on_when_nobody_can_read_what_it_prints(
    reader, tiny_options, finished, tmp_path
):
    options = [*tiny_options("sft", tmp_path), "--num-tasks", 1]
    with open("/dev/full", "w") as full:
        with speaking_to(full if reader == "full disk" else subprocess.PIPE, *options) as child:
            if reader == "head":
                child.stdout.close()
            assert child.stderr.read() == ""
    assert child.returncode == 0
    ours, theirs = load(tmp_path / "task_1.pt"), load(finished("sft") / "task_1.pt")
    assert same_weights(ours["generator"], theirs["generator"])


def test_ctrl_c_that_ends_tee_as_well_stops_the_run_after_a_checkpoint(tiny_options, tmp_path):
    options = [*tiny_options("sft", tmp_path), "--iters", 100_000, "--log-every", 100_000]
    with speaking_to(subprocess.PIPE, *options) as child:
        assert child.stdout.readline() == "sft: 3 tasks of 100000 steps, seed 1\n"
        child.stdout.close()
        child.send_signal(signal.SIGINT)
        message = child.stderr.read()
    assert child.returncode == 1
    step = load(tmp_path / "checkpoint.pt")["step"]
    assert message == f"stopped at task 1, step {step}; the same command continues\n"


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
        ("samples/task_2_step_000001.png", 4_000),
        ("metrics.jsonl", 500),
    ],
)
def test_a_write_that_fails_names_the_file_and_the_run_continues_when_there_is_room(
    name, size, tiny_options, finished, tmp_path, in_step, capsys, handlers
):
    options = [*tiny_options("sft", tmp_path), "--snapshots", "tasks"]
    in_step(sft, 4 + 2, stop_the_run)
    assert call_main(sft, *options) == "stopped by the test"
    before = contents(tmp_path)[Path("checkpoint.pt")]

    # Task 2 begins again: its steps write to the log, then samples, then a checkpoint
    with files_of_at_most(size):
        message = call_main(sft, *options)
    assert message.startswith(f"error: {tmp_path / name} cannot be written (")
    assert message.endswith("); fix that, and the same command continues")
    assert "\n" not in message
    assert contents(tmp_path)[Path("checkpoint.pt")] == before

    assert call_main(sft, *options) is None
    assert "beginning at task 2, step 0" in capsys.readouterr().out
    ours, theirs = load(tmp_path / "task_3.pt"), load(finished("sft") / "task_3.pt")
    assert same_weights(ours["generator"], theirs["generator"])
    assert losses(tmp_path) == losses(finished("sft"))


# Finished


def test_a_finished_run_stays_as_it_is(finished, tmp_path, tiny_options, capsys):
    run_dir = shutil.copytree(finished("sft"), tmp_path / "run")
    before = {name: content for name, (_, content) in contents(run_dir).items()}
    assert call_main(sft, *tiny_options("sft", run_dir)) is None
    finish = f"{run_dir} is finished; score it with: python eval.py {run_dir}"
    assert finish in capsys.readouterr().out
    assert {name: content for name, (_, content) in contents(run_dir).items()} == before


def test_another_seed_gives_other_weights(finished):
    one, other = finished("sft", seed=1), finished("sft", seed=2)
    states = [load(run_dir / "task_3.pt")["generator"] for run_dir in (one, other)]
    assert not torch.equal(states[0]["linear.weight"], states[1]["linear.weight"])
