"""What goes wrong ends in one line that says what was found and what to do, and nothing is lost."""

import itertools
import math
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import contents, load

import sft


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run of sft.py, to be changed."""
    return shutil.copytree(finished("sft"), tmp_path / "run")


# The run directory


def test_other_arguments_are_refused_and_listed(copy, call_main, tiny_options):
    before = contents(copy)
    message = call_main(sft, *tiny_options("sft", copy), "--iters", 5, "--lambda-gp", 3)
    assert message.startswith(f"error: {copy} holds a run with other arguments (")
    assert "(iters: 4 there, 5 here; lambda_gp: 10.0 there, 3.0 here)" in message
    assert contents(copy) == before


def test_other_data_is_refused(call_main, photo_options, tiny_photos, tmp_path):
    others = shutil.copytree(tiny_photos, tmp_path / "others")
    (others / "attic").rename(others / "zoo")
    options = [*photo_options("sft", tmp_path / "run"), "--iters", 1]
    assert call_main(sft, *options) is None
    message = call_main(sft, *options, "--data-dir", others, "--cache-dir", tmp_path / "cache")
    assert "holds a run with other arguments (data: " in message
    assert call_main(sft, *options) is None


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_by_foreign(path):
    torch.save({"epoch": 3, "model": {"weight": torch.ones(2)}}, path)


@pytest.mark.parametrize("damage", [cut_in_half, replace_by_foreign])
def test_a_checkpoint_that_is_damaged_or_not_ours_is_named_and_kept(
    damage, copy, call_main, tiny_options
):
    damage(copy / "checkpoint.pt")
    before = contents(copy)
    message = call_main(sft, *tiny_options("sft", copy))
    found = f"error: {copy / 'checkpoint.pt'} is damaged or not ours; restore it, or --overwrite"
    assert message.startswith(found)
    assert "\n" not in message
    assert contents(copy) == before


@pytest.mark.parametrize("text", ["", "{", "[1, 2]"])
def test_arguments_that_are_damaged_or_not_ours_are_named_and_kept(
    text, copy, call_main, tiny_options
):
    (copy / "args.json").write_text(text)
    before = contents(copy)
    message = call_main(sft, *tiny_options("sft", copy))
    found = f"error: {copy / 'args.json'} is damaged or not ours; restore it, or --overwrite"
    assert message.startswith(found)
    assert contents(copy) == before


def test_a_checkpoint_without_arguments_is_named_and_kept(copy, call_main, tiny_options):
    (copy / "args.json").unlink()
    before = contents(copy)
    message = call_main(sft, *tiny_options("sft", copy))
    assert message.startswith(f"error: {copy / 'checkpoint.pt'} has no args.json beside it")
    assert contents(copy) == before


HOLD_THE_LOCK = """
import sqlite3
connection = sqlite3.connect("lock")
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
input()
"""


def test_a_second_process_is_refused_until_the_first_is_gone(copy, call_main, tiny_options):
    command = [sys.executable, "-c", HOLD_THE_LOCK]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=copy, text=True, **pipes) as first:
        assert first.stdout.readline() == "held\n"
        before = contents(copy)
        message = call_main(sft, *tiny_options("sft", copy), "--overwrite")
        first.kill()
    assert message.startswith(f"error: {copy} is in use by another process")
    assert contents(copy) == before
    assert call_main(sft, *tiny_options("sft", copy)) is None


def test_a_run_holds_the_lock_that_the_second_process_asks_for(
    call_main, tiny_options, tmp_path, in_step
):
    refused = []

    def ask():
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite3.connect(tmp_path / "lock", timeout=0).execute("BEGIN EXCLUSIVE")
        refused.append(True)

    in_step(sft, 1, ask)
    options = [*tiny_options("sft", tmp_path), "--iters", 1, "--num-tasks", 1]
    assert call_main(sft, *options) is None
    assert refused


def test_a_run_directory_that_cannot_be_made_is_named(call_main, tiny_options, tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = call_main(sft, *tiny_options("sft", tmp_path / "file"))
    assert message.startswith(f"error: --run-dir {tmp_path / 'file'} cannot be made")
    assert (tmp_path / "file").read_text() == "in the way"


# Losses and weights that are not finite


def not_finite(loss):
    return loss * math.nan


def with_a_gradient_that_is_not_finite(loss):
    return loss + (0 * loss).sqrt()


@pytest.mark.parametrize("spoil", [not_finite, with_a_gradient_that_is_not_finite])
def test_what_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    spoil, call_main, tiny_options, tmp_path, monkeypatch
):
    generator_loss = sft.generator_loss
    steps = itertools.count(1)

    def spoiled_in_task_2(*arguments):
        loss = generator_loss(*arguments)
        return spoil(loss) if next(steps) > 4 + 1 else loss

    monkeypatch.setattr(sft, "generator_loss", spoiled_in_task_2)
    options = [*tiny_options("sft", tmp_path), "--checkpoint-every", 1]
    message = call_main(sft, *options)
    assert message.startswith("error: losses or weights are not finite at task 2, step 2 (")
    kept = f"last good checkpoint: task 2, step 1, in {tmp_path}"
    assert kept in message
    checkpoint = load(tmp_path / "checkpoint.pt")
    assert (checkpoint["task"], checkpoint["step"]) == (1, 1)
    for network in checkpoint["networks"].values():
        assert all(weight.isfinite().all() for weight in network.values())

    # The same again, when the run continues
    before = contents(tmp_path)[Path("checkpoint.pt")]
    assert kept in call_main(sft, *options)
    assert contents(tmp_path)[Path("checkpoint.pt")] == before


def test_a_loss_that_is_never_finite_leaves_no_checkpoint(call_main, tiny_options, tmp_path):
    options = [*tiny_options("sft", tmp_path), "--learning-rate", "1e30", "--checkpoint-every", 1]
    message = call_main(sft, *options)
    assert "not finite at task 1, step 1" in message
    assert "last good checkpoint: none" in message
    assert not (tmp_path / "checkpoint.pt").exists()


# Options

COUNT = "expected a whole number of at least 1"
WEIGHT = "expected a number of at least 0"


@pytest.mark.parametrize(
    "option, value, complaint",
    [
        ("--iters", "0", f"found 0, {COUNT}"),
        ("--critic-steps", "-1", f"found -1, {COUNT}"),
        ("--batch-size", "6.5", f"found 6.5, {COUNT}"),
        ("--log-every", "0", f"found 0, {COUNT}"),
        ("--checkpoint-every", "0", f"found 0, {COUNT}"),
        ("--width", "0", f"found 0, {COUNT}"),
        ("--latent-dim", "many", f"found many, {COUNT}"),
        ("--learning-rate", "nan", f"found nan, {WEIGHT}"),
        ("--lambda-gp", "-1", f"found -1, {WEIGHT}"),
        ("--lambda-cls", "inf", f"found inf, {WEIGHT}"),
        ("--lambda-cls", "much", f"found much, {WEIGHT}"),
        ("--dataset", "moons", "invalid choice: 'moons'"),
    ],
)
def test_bad_values_are_refused_in_one_line(
    option, value, complaint, call_main, tiny_options, tmp_path, capsys
):
    assert call_main(sft, *tiny_options("sft", tmp_path / "run"), f"{option}={value}") == 2
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert f"error: argument {option}: {complaint}" in last_line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options, complaint",
    [
        (["--num-tasks", 4], "--num-tasks is 4, expected 1 to 3"),
        (["--num-tasks", -1], "--num-tasks is -1, expected 1 to 3"),
        (["--batch-size", 5], "--batch-size is 5, expected at least 2 images for each task"),
        (["--data-dir", "nowhere"], "nowhere"),
        (["--seed", 2**62], f"--seed is {2**62}, expected a number below 2^62"),
    ],
)
def test_options_that_do_not_fit_the_data_are_refused(
    options, complaint, call_main, tiny_options, tmp_path
):
    message = call_main(sft, *tiny_options("sft", tmp_path / "run"), *options)
    assert message.startswith("error: ")
    assert complaint in message
    assert "\n" not in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("gpus, process, enough", [(0, 0, False), (1, 1, False), (2, 1, True)])
def test_every_process_needs_a_gpu_of_its_own(
    gpus, process, enough, call_main, tiny_options, tmp_path, monkeypatch
):
    def set_device(index):
        if index >= gpus:
            raise RuntimeError("CUDA error: invalid device ordinal")

    def name_of_device():
        raise SystemExit("it has one")

    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    monkeypatch.setattr(torch.cuda, "get_device_name", name_of_device)
    monkeypatch.setenv("LOCAL_RANK", str(process))
    message = call_main(sft, *tiny_options("sft", tmp_path / "run"), "--device", "cuda")
    no_gpu = "error: a process sees no CUDA GPU of its own; use --device cpu (CUDA error: "
    assert message == "it has one" if enough else message.startswith(no_gpu)
    assert not (tmp_path / "run").exists()
