"""Every script: what it does with its options, and what a run leaves behind."""

import importlib
import itertools
import json
import math
import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import (
    METHODS,
    ROOT,
    UNCONDITIONAL,
    call_main,
    load,
    losses,
    metrics,
)
from PIL import Image

import common
import mergan_ra
import sft

# The categories seen after each task, by the number of categories per task
SEEN = {1: [[0], [0, 1], [0, 1, 2]], 2: [[0, 1], [0, 1, 2]]}


# What a run leaves behind


@pytest.fixture(params=itertools.product(METHODS, SEEN), ids=lambda each: "{}-{}".format(*each))
def run(request, finished):
    """A finished run of each method, with one and with two categories per task.

    steps: (task, step) of all generator steps. seen: what is seen in each task. new: what a task
    learns. Joint training learns everything in one task, which counts as the last one.
    """
    method, together = request.param
    options = ["--categories-per-task", 2] if together == 2 else []
    seen = dict(enumerate(SEEN[together], start=1))
    new = {task: categories[together * (task - 1) :] for task, categories in seen.items()}
    steps = [(task, step) for task in seen for step in (1, 2, 3, 4)]
    if method == "joint":
        last = len(seen)
        steps = [(last, step) for step in range(1, 4 * last + 1)]
        seen = new = {last: [0, 1, 2]}
    return SimpleNamespace(
        method=method, path=finished(method, *options), steps=steps, seen=seen, new=new
    )


def test_metrics_hold_finite_losses_of_every_step_of_every_task(run):
    lines = metrics(run.path)
    assert [(line["task"], line["step"]) for line in lines] == run.steps
    for line in lines:
        expected = {"critic", "gradient_penalty", "generator", "it_per_s", "elapsed"}
        assert expected <= line.keys()
        assert all(math.isfinite(value) for value in line.values())
    elapsed = [line["elapsed"] for line in lines]
    assert elapsed[0] > 0
    assert elapsed == sorted(elapsed)
    for name in ("critic", "generator"):
        assert len({line[name] for line in lines}) == len(lines)


def test_every_task_trains_every_weight_of_the_generator(run):
    torch.manual_seed(1)
    num_categories = 1 if run.method in UNCONDITIONAL else 3
    before = common.Generator(num_categories, 1, latent_dim=8, width=4).state_dict()
    assert len(list(run.path.glob("task_*.pt"))) == len(run.seen)
    for task, seen in run.seen.items():
        saved = load(run.path / f"task_{task}.pt")
        assert saved["method"] == run.method
        assert saved["categories"] == ["0", "1", "2"]
        assert saved["seen"] == seen
        generator, _, _ = common.load_generator(run.path / f"task_{task}.pt")
        after = generator.state_dict()

        # Batch norm cancels the biases of the layers before it
        trained = {name for name, _ in generator.named_parameters()}
        trained -= {"deconvs.0.bias", "deconvs.1.bias"}
        assert not [name for name in trained if torch.equal(before[name], after[name])]

        # Of scale and shift, only the rows of the task's categories have to change
        rows = [0] if run.method in UNCONDITIONAL else run.new[task]
        others = [category for category in range(3) if category not in rows]
        for name in trained:
            if "norms" in name:
                assert (before[name] != after[name])[rows].any(dim=1).all()
                if run.method == "sft":
                    assert torch.equal(before[name][others], after[name][others])
        before = after


def test_saved_generators_hold_standing_statistics_of_the_categories_seen(run):
    for task, seen in run.seen.items():
        generator = common.load_generator(run.path / f"task_{task}.pt")[0]
        known = [0] if run.method in UNCONDITIONAL else seen
        saved = [norm.standing_var.clone() for norm in generator.norms]
        generator.update_standing_statistics(known)
        for norm, variance in zip(generator.norms, saved):
            torch.testing.assert_close(norm.standing_var, variance, rtol=1e-4, atol=1e-6)
            assert (variance[known] != 1).all()
            assert (variance[len(known) :] == 1).all()  # the initial value


def test_samples_are_ten_images_of_each_category_seen_without_margins_and_grey(run):
    last = run.steps[-1][1]
    expected = {}
    for task, step in run.steps:
        if step in (1, 2, 4, 8, last):
            expected[f"task_{task}_step_{step:06d}.png"] = len(run.seen[task])
    paths = list((run.path / "samples").iterdir())
    assert {path.name for path in paths} == expected.keys()
    for path in paths:
        image = Image.open(path)
        assert image.mode == "L"
        assert image.size == (10 * 32, expected[path.name] * 32)
        darkest, brightest = image.getextrema()
        assert darkest < brightest


@torch.no_grad()
def test_samples_are_of_the_same_z_in_every_row_normalised_with_54_others(finished):
    generator = common.load_generator(finished("sft") / "task_3.pt")[0]
    z = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    pixels = np.array(Image.open(finished("sft") / "samples" / "task_3_step_000004.png"))
    for category in range(3):
        images = generator(z, torch.tensor([category]))[:10, 0]
        row = torch.from_numpy(pixels[32 * category : 32 * category + 32])
        shown = torch.stack(row.split(32, dim=1))
        torch.testing.assert_close(common.normalise(shown), images, rtol=0, atol=1 / 255 + 1e-4)


def test_snapshots_inside_tasks_are_of_the_moment(run):
    last = run.steps[-1][1]
    expected = {}
    for task, step in run.steps:
        if step in (1, 2, 4, 8) and step < last:
            expected[f"task_{task}_step_{step:06d}.pt"] = run.seen[task]
    paths = sorted((run.path / "snapshots").iterdir())
    assert {path.name: load(path)["seen"] for path in paths} == expected
    for path, later in itertools.pairwise(paths):
        before, after = [load(each)["generator"]["linear.weight"] for each in (path, later)]
        assert not torch.equal(before, after)


def test_joint_training_also_saves_where_others_end_a_task(tiny_options, tmp_path):
    options = [*tiny_options("joint", tmp_path), "--iters", 3, "--num-tasks", 3]
    assert call_main(importlib.import_module("joint"), *options) is None
    inside = [f"task_3_step_{step:06d}" for step in (1, 2, 3, 4, 6, 8)]
    assert sorted(path.stem for path in (tmp_path / "snapshots").iterdir()) == inside
    samples = sorted(path.stem for path in (tmp_path / "samples").iterdir())
    assert samples == [*inside, "task_3_step_000009"]


def test_arguments_are_kept_and_progress_is_told(run):
    tasks = max(run.seen)
    arguments = json.loads((run.path / "args.json").read_text())
    assert arguments["method"] == run.method
    assert arguments["num_tasks"] == tasks
    assert arguments["iters"] == 4
    output = (run.path / "stdout").read_text()
    first, schedule, machine, results = output.splitlines()[:4]
    assert first == f"{run.method}: {tasks} tasks of 4 steps, seed 1"
    rates = "learning rate 0.001, 2 critic steps"
    assert schedule == f"schedule: short ({rates}); the other one: --schedule paper"
    assert machine.startswith("cpu (")
    assert machine.endswith(", threads: 1), processes: 1, amp: off")
    assert results == f"results: {run.path}, beginning at task 1, step 0"
    steps = run.steps[-1][1]
    assert f"task {tasks}/{tasks}, step {steps}/{steps}, " in output
    assert "0.0 min left\n" in output
    assert f"score it with: python eval.py {run.path}\n" in output
    assert not list(run.path.rglob("*.tmp"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_photographs_at_64_by_64(method, photo_options, tmp_path):
    script = importlib.import_module(method)
    assert call_main(script, *photo_options(method, tmp_path)) is None
    lines = losses(tmp_path)
    assert len(lines) == 8
    assert all(math.isfinite(value) for line in lines for value in line.values())
    image = Image.open(tmp_path / "samples" / "task_2_step_000004.png")
    assert image.mode == "RGB"
    assert image.size == (10 * 64, 2 * 64)

    # Every task trains the first layer, the last one and those between
    torch.manual_seed(1)
    num_categories = 1 if method in UNCONDITIONAL else 3
    options = {"latent_dim": 8, "width": 2, "conditioning": "concat"}
    states = [common.make_generator(num_categories, 3, 64, **options).state_dict()]
    for path in sorted(tmp_path.glob("task_*.pt")):
        saved = load(path)
        assert saved["categories"] == ["attic", "barn", "cellar"]
        states.append(saved["generator"])
    layers = ["linear", "blocks.0.convs.0", "blocks.3.shortcut", "conv"]
    for before, after in itertools.pairwise(states):
        for name in [*(f"{layer}.weight" for layer in layers), "norm.scale"]:
            assert not torch.equal(before[name], after[name]), name
    # The third category is not learned, so neither is the column of its one-hot code
    if method not in UNCONDITIONAL:
        never_seen = [state["linear.weight"][:, -1] for state in states]
        assert torch.equal(never_seen[0], never_seen[-1])


# Options


@pytest.mark.parametrize(
    "variables, expected",
    [
        ("RANK LOCAL_RANK WORLD_SIZE", (1, 1, 2)),
        ("RANK WORLD_SIZE", (0, 0, 1)),
        ("LOCAL_RANK", (0, 0, 1)),
        ("", (0, 0, 1)),
    ],
)
def test_only_torchrun_numbers_processes_and_not_what_something_else_left_behind(
    variables, expected, monkeypatch
):
    for name, value in [("RANK", 1), ("LOCAL_RANK", 1), ("WORLD_SIZE", 2)]:
        monkeypatch.delenv(name, raising=False)
        if name in variables.split():
            monkeypatch.setenv(name, str(value))
    script = runpy.run_path(str(ROOT / "sft.py"))
    assert (script["RANK"], script["LOCAL_RANK"], script["PROCESSES"]) == expected


@pytest.fixture
def parsed(monkeypatch, tmp_path):
    """A function that gives what mergan_ra.py makes of its options, where no run is."""
    monkeypatch.chdir(tmp_path)

    def parse(*options, gpu=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(sys, "argv", ["mergan_ra.py", *map(str, options)])
        return vars(mergan_ra.parse_args())

    return parse


PAPER = {"schedule": "paper", "iters": 8000, "learning_rate": 1e-4, "critic_steps": 5}
SHORT = {"schedule": "short", "iters": 1600, "learning_rate": 5e-4, "critic_steps": 2}


@pytest.mark.parametrize(
    "options, gpu, expected",
    [
        ([], True, PAPER),
        ([], False, SHORT),
        (["--device", "cpu"], True, SHORT),
        (["--device", "cuda"], False, PAPER),
        (["--schedule", "short"], True, SHORT),
        (["--schedule", "paper"], False, PAPER),
        (["--iters", 7], True, PAPER | {"iters": 7}),
        (["--learning-rate", 1e-3], False, SHORT | {"learning_rate": 1e-3}),
        (["--critic-steps", 3], False, SHORT | {"critic_steps": 3}),
        (["--dataset", "lsun"], True, PAPER | {"iters": 20000}),
        (["--dataset", "lsun"], False, SHORT),
    ],
)
def test_the_schedule_follows_the_device_and_each_option_may_differ(options, gpu, expected, parsed):
    arguments = parsed(*options, gpu=gpu)
    assert {name: arguments[name] for name in expected} == expected


def test_the_first_lines_name_the_other_schedule(tiny_options, tmp_path, capsys):
    options = ["--schedule", "paper", "--num-tasks", 1, "--iters", 1]
    assert call_main(sft, *tiny_options("sft", tmp_path), *options) is None
    line = "schedule: paper (learning rate 0.001, 2 critic steps); the other one: --schedule short"
    assert line in capsys.readouterr().out.splitlines()[:4]


SMALL = {"width": 32, "conditioning": "cbn", "image_size": 32}
LARGE = {"width": 64, "conditioning": "concat", "image_size": 64}


@pytest.mark.parametrize(
    "dataset, expected",
    [
        ("mnist", {**SMALL, "lambda_ra": 1e-3, "replay": "share"}),
        ("svhn", {**SMALL, "lambda_ra": 1e-2, "replay": "share"}),
        ("lsun", {**LARGE, "lambda_ra": 1e-3, "replay": "full"}),
        ("folder", {**LARGE, "lambda_ra": 1e-3, "replay": "share"}),
    ],
)
def test_defaults_follow_the_data_set(dataset, expected, parsed):
    arguments = parsed("--dataset", dataset)
    assert {name: arguments[name] for name in expected} == expected
