"""What goes wrong ends in one line that says what was found and what to do, and nothing is lost."""

import importlib
import itertools
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from conftest import METHODS, call_main, contents, load, photograph

import ewc
import sft


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run of sft.py, to be changed."""
    return shutil.copytree(finished("sft"), tmp_path / "run")


# The run directory


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_by_foreign(path):
    torch.save({"epoch": 3, "model": {"weight": torch.ones(2)}}, path)


def replace_by_text(path):
    path.write_text("[1, 2]")


def lose_all_but_one_generator(path):
    for name in ("checkpoint.pt", "task_2.pt", "task_3.pt"):
        path.with_name(name).unlink()


def make_older(path):
    arguments = json.loads(path.read_text())
    del arguments["schedule"]
    path.write_text(json.dumps(arguments | {"overwrite": False}))


ADVICE = "choose another, or delete the run"
DAMAGED = "error: {} is damaged or not ours ("


@pytest.mark.parametrize(
    "name, damage, begins, ends",
    [
        ("checkpoint.pt", cut_in_half, DAMAGED, "; restore it, or delete the run"),
        ("checkpoint.pt", replace_by_foreign, DAMAGED, "; restore it, or delete the run"),
        ("args.json", cut_in_half, DAMAGED, "; restore it, or delete the run"),
        ("args.json", replace_by_text, DAMAGED, "; restore it, or delete the run"),
        ("args.json", make_older, "error: --run-dir ", f"in overwrite, schedule; {ADVICE}"),
        (
            "args.json",
            Path.unlink,
            "error: ",
            "has no args.json beside it; restore it, or delete both",
        ),
        ("checkpoint.pt", Path.unlink, "error: --run-dir ", f"restore it, or {ADVICE}"),
        (
            "checkpoint.pt",
            lose_all_but_one_generator,
            "error: --run-dir ",
            f"restore it, or {ADVICE}",
        ),
    ],
)
def test_a_folder_from_which_a_run_cannot_continue_is_refused_and_kept(
    name, damage, begins, ends, copy, tiny_options
):
    damage(copy / name)
    before = contents(copy)
    message = call_main(sft, *tiny_options("sft", copy))
    assert message.startswith(begins.format(copy / name))
    assert message.endswith(ends)
    assert "\n" not in message
    assert contents(copy) == before


def test_a_checkpoint_of_other_networks_is_refused(copy, tiny_options):
    path = copy / "checkpoint.pt"
    checkpoint = load(path)
    del checkpoint["networks"]["critic"]
    torch.save(checkpoint, path)
    found = f"{path} holds generator, expected generator, critic"
    message = call_main(sft, *tiny_options("sft", copy))
    assert message == f"error: {found}; delete the run to begin anew"


def test_a_run_with_other_arguments_or_of_another_method_is_refused_and_kept(copy, tiny_options):
    before = contents(copy)
    message = call_main(sft, *tiny_options("sft", copy), "--iters", 5, "--lambda-gp", 3)
    differing = "iters: 4 there, 5 here; lambda_gp: 10.0 there, 3.0 here"
    assert message == f"error: --run-dir {copy} holds another run ({differing}); {ADVICE}"
    message = call_main(ewc, *tiny_options("ewc", copy))
    assert message == f"error: --run-dir {copy} holds a run of sft.py; {ADVICE}"
    assert contents(copy) == before


def test_other_data_is_refused(photo_options, tiny_photos, tmp_path):
    others = shutil.copytree(tiny_photos, tmp_path / "others")
    (others / "attic").rename(others / "zoo")
    options = [*photo_options("sft", tmp_path / "run"), "--iters", 1]
    assert call_main(sft, *options) is None
    message = call_main(sft, *options, "--data-dir", others, "--cache-dir", tmp_path / "cache")
    assert "holds another run (data: " in message
    assert call_main(sft, *options) is None


def test_a_directory_in_use_is_refused_until_the_first_run_ends(tiny_options, tmp_path, in_step):
    options = [*tiny_options("sft", tmp_path), "--iters", 1, "--num-tasks", 1]
    refused = []

    def ask():
        before = contents(tmp_path)
        refused.append(call_main(sft, *options))
        assert contents(tmp_path) == before

    in_step(sft, 1, ask)
    assert call_main(sft, *options) is None
    assert refused == [f"error: --run-dir {tmp_path} is in use by another process; choose another"]
    assert call_main(sft, *options) is None


def test_a_run_directory_that_cannot_be_made_is_named(tiny_options, tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = call_main(sft, *tiny_options("sft", tmp_path / "file"))
    assert message.startswith("error: ")
    assert str(tmp_path / "file") in message
    assert (tmp_path / "file").read_text() == "in the way"


# Losses and weights that are not finite


def not_finite(loss):
    return loss * math.nan


def with_a_gradient_that_is_not_finite(loss):
    return loss + (0 * loss).sqrt()


@pytest.mark.parametrize("spoil", [not_finite, with_a_gradient_that_is_not_finite])
def test_what_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    spoil, tiny_options, tmp_path, monkeypatch
):
    generator_loss = sft.generator_loss
    steps = itertools.count(1)

    def spoiled_in_task_2(*arguments):
        loss = generator_loss(*arguments)
        return spoil(loss) if next(steps) > 4 + 1 else loss

    monkeypatch.setattr(sft, "generator_loss", spoiled_in_task_2)
    options = [*tiny_options("sft", tmp_path), "--checkpoint-every", 1]
    message = call_main(sft, *options)
    where = "error: losses or weights are not finite at task 2, step 2"
    kept = f"{where}; last good checkpoint: task 2, step 1 ("
    assert message.startswith(kept)
    assert message.endswith("); try a lower --learning-rate in a new --run-dir")
    checkpoint = load(tmp_path / "checkpoint.pt")
    assert (checkpoint["task"], checkpoint["step"]) == (1, 1)
    for network in checkpoint["networks"].values():
        assert all(weight.isfinite().all() for weight in network.values())

    # The same again, when the run continues
    before = contents(tmp_path)[Path("checkpoint.pt")]
    assert call_main(sft, *options).startswith(kept)
    assert contents(tmp_path)[Path("checkpoint.pt")] == before


def test_a_loss_that_is_never_finite_leaves_the_checkpoint_of_the_beginning(tiny_options, tmp_path):
    options = [*tiny_options("sft", tmp_path), "--learning-rate", "1e30", "--checkpoint-every", 1]
    message = call_main(sft, *options)
    assert "not finite at task 1, step 1; last good checkpoint: task 1, step 0 (" in message
    checkpoint = load(tmp_path / "checkpoint.pt")
    assert (checkpoint["task"], checkpoint["step"]) == (0, 0)


def test_too_little_memory_of_a_gpu_is_one_line(tiny_options, tmp_path, monkeypatch):
    def fails(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(sft, "generator_loss", fails)
    message = call_main(sft, *tiny_options("sft", tmp_path))
    assert message.startswith("error: CUDA out of memory. Tried to allocate 2 GiB; ")


# Options

COUNT = "expected a whole number of at least 1"
WEIGHT = "expected a number of at least 0"
SEED = f"expected 0 to {2**32 - 1}"


@pytest.mark.parametrize(
    "option, value, complaint",
    [
        ("--iters", "0", f"--iters is 0, {COUNT}"),
        ("--critic-steps", "-1", f"--critic-steps is -1, {COUNT}"),
        ("--categories-per-task", "0", f"--categories-per-task is 0, {COUNT}"),
        ("--checkpoint-every", "0", f"--checkpoint-every is 0, {COUNT}"),
        ("--learning-rate", "nan", f"--learning-rate is nan, {WEIGHT}"),
        ("--lambda-gp", "-1", f"--lambda-gp is -1.0, {WEIGHT}"),
        ("--lambda-cls", "inf", f"--lambda-cls is inf, {WEIGHT}"),
        ("--seed", "-1", f"--seed is -1, {SEED}"),
        ("--seed", str(2**32), f"--seed is {2**32}, {SEED}"),
        ("--num-tasks", "4", "--num-tasks is 4, expected 1 to 3, or 0 for all"),
        ("--num-tasks", "-1", "--num-tasks is -1, expected 1 to 3, or 0 for all"),
        ("--batch-size", "1", "--batch-size is 1, categories in a batch: 1; expected at least"),
        ("--data-dir", "nowhere", "nowhere"),
    ],
)
def test_bad_values_are_refused_in_one_line(option, value, complaint, tiny_options, tmp_path):
    message = call_main(sft, *tiny_options("sft", tmp_path / "run"), f"{option}={value}")
    assert "error: " in message
    assert complaint in message
    assert "\n" not in message
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def many_categories(tmp_path_factory):
    """A folder of 40 categories of eight small photographs."""
    folder = tmp_path_factory.mktemp("many")
    for category in range(40):
        (folder / f"c{category}").mkdir()
        for i in range(8):
            photograph(8 * category + i, size=(60, 40)).save(folder / f"c{category}" / f"{i}.png")
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_too_many_categories_for_a_batch_are_refused_before_an_image_is_decoded(
    method, many_categories, tmp_path, monkeypatch
):
    script = importlib.import_module(method)
    learned = []
    monkeypatch.setattr(script, "train", lambda args, run, *data: learned.append(len(data[2])))
    data = ["--dataset", "folder", "--data-dir", many_categories, "--cache-dir", tmp_path / "cache"]
    options = [*data, "--run-dir", tmp_path / "run", "--device", "cpu"]
    message = call_main(script, *options)
    if method in ("sft", "ewc", "rewc"):  # whose batches are of one category
        assert message is None
        assert learned == [40]
        return
    found = "error: --batch-size is 64, categories in a batch: 40"
    assert message == f"{found}; expected at least 2 images of each: 80"
    assert not list(tmp_path.iterdir())
    # Fewer tasks need fewer images
    assert call_main(script, *options, "--num-tasks", 32) is None
    assert learned == [40]


@pytest.mark.parametrize("gpus, process, enough", [(0, 0, False), (1, 1, False), (2, 1, True)])
def test_every_process_needs_a_gpu_of_its_own(
    gpus, process, enough, tiny_options, tmp_path, monkeypatch
):
    def set_device(number):
        raise SystemExit(f"it uses GPU {number}")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    monkeypatch.setattr(sft, "LOCAL_RANK", process)
    message = call_main(sft, *tiny_options("sft", tmp_path / "run"), "--device", "cuda")
    no_gpu = f"error: process {process} sees no CUDA GPU of its own; use --device cpu"
    assert message == (f"it uses GPU {process}" if enough else no_gpu)
    assert not (tmp_path / "run").exists()
