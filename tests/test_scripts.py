"""Every script: what it does with its options, and what a run leaves behind."""

import importlib
import itertools
import json
import math
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import METHODS, ROOT, UNCONDITIONAL, load, losses, metrics, same_weights
from PIL import Image

import common
import mergan_jtr
import mergan_ra
import sft

# Joint training learns everything in one task, which counts as the last one
ALL_AT_ONCE = ["joint"]


def tasks_and_steps(method):
    """(task, step) of every generator step of a tiny run."""
    if method in ALL_AT_ONCE:
        return [(3, step) for step in range(1, 13)]
    return [(task, step) for task in (1, 2, 3) for step in (1, 2, 3, 4)]


def categories_seen(path):
    """How many categories the generator of a file knows, by the file's name."""
    task = int(path.name.split("_")[1].removesuffix(path.suffix))
    return list(range(task))


def saved_generator(path):
    """The generator that a script saved, in training mode."""
    saved = load(path)
    generator = common.make_generator(**saved["config"])
    generator.load_state_dict(saved["generator"])
    return generator


# What a run leaves behind


@pytest.mark.parametrize("method", METHODS)
def test_metrics_hold_finite_losses_of_every_step_of_every_task(method, finished):
    lines = metrics(finished(method))
    assert [(line["task"], line["step"]) for line in lines] == tasks_and_steps(method)
    for line in lines:
        expected = {"critic", "gradient_penalty", "generator", "it_per_s", "elapsed"}
        assert expected <= line.keys()
        assert all(math.isfinite(value) for value in line.values())
    elapsed = [line["elapsed"] for line in lines]
    assert elapsed[0] > 0
    assert elapsed == sorted(elapsed)
    for name in ("critic", "generator"):
        assert len({line[name] for line in lines}) == len(lines)


@pytest.mark.parametrize("method", METHODS)
def test_every_task_trains_every_weight_of_the_generator(method, finished):
    torch.manual_seed(1)
    num_categories = 1 if method in UNCONDITIONAL else 3
    before = common.Generator(num_categories, 1, latent_dim=8, width=4).state_dict()
    for task in [3] if method in ALL_AT_ONCE else [1, 2, 3]:
        saved = load(finished(method) / f"task_{task}.pt")
        assert saved["method"] == method
        assert saved["categories"] == ["0", "1", "2"]
        assert saved["seen"] == list(range(task))
        generator = saved_generator(finished(method) / f"task_{task}.pt")
        after = generator.state_dict()

        # Batch norm cancels the biases of the layers before it
        trained = {name for name, _ in generator.named_parameters()}
        trained -= {"deconvs.0.bias", "deconvs.1.bias"}
        assert not [name for name in trained if torch.equal(before[name], after[name])]

        # Of scale and shift, only the rows of the task's categories have to change
        rows = [task - 1]
        if method in ALL_AT_ONCE:
            rows = saved["seen"]
        if method in UNCONDITIONAL:
            rows = [0]
        for name in trained:
            if "norms" in name:
                assert (before[name] != after[name])[rows].any(dim=1).all()
        before = after


def test_sft_leaves_scale_and_shift_of_other_categories_as_they_are(finished):
    states = [load(finished("sft") / f"task_{task}.pt")["generator"] for task in (1, 2, 3)]
    for task, (before, after) in enumerate(itertools.pairwise(states), start=2):
        others = [category for category in range(3) if category != task - 1]
        for name in before:
            if "scale" in name or "shift" in name:
                assert torch.equal(before[name][others], after[name][others])


@pytest.mark.parametrize("method", METHODS)
def test_saved_generators_hold_standing_statistics_of_the_categories_seen(method, finished):
    for path in finished(method).glob("task_*.pt"):
        generator = saved_generator(path)
        known = [0] if method in UNCONDITIONAL else categories_seen(path)
        saved = [norm.standing_var.clone() for norm in generator.norms]
        generator.update_standing_statistics(known)
        for norm, variance in zip(generator.norms, saved):
            torch.testing.assert_close(norm.standing_var, variance, rtol=1e-4, atol=1e-6)
            assert (variance[known] != 1).all()
            assert (variance[len(known) :] == 1).all()  # the initial value


@pytest.mark.parametrize("method", METHODS)
def test_samples_are_grids_of_ten_images_of_each_category_seen(method, finished):
    expected = set()
    for task, step in tasks_and_steps(method):
        if step in (1, 2, 4, 8, 12):
            expected.add(f"task_{task}_step_{step:06d}.png")
    paths = list((finished(method) / "samples").iterdir())
    assert {path.name for path in paths} == expected
    for path in paths:
        rows = 1 if method in UNCONDITIONAL else len(categories_seen(path))
        image = Image.open(path).convert("L")
        assert image.size == (10 * 34 + 2, rows * 34 + 2)
        darkest, brightest = image.getextrema()
        assert darkest < brightest


@pytest.mark.parametrize("method", METHODS)
def test_snapshots_inside_tasks_are_of_the_moment(method, finished):
    last = max(step for _, step in tasks_and_steps(method))
    expected = set()
    for task, step in tasks_and_steps(method):
        if step in (1, 2, 4, 8) and step < last:
            expected.add(f"task_{task}_step_{step:06d}.pt")
    paths = sorted((finished(method) / "snapshots").iterdir())
    assert {path.name for path in paths} == expected
    for path in paths:
        assert load(path)["seen"] == categories_seen(path)
    for path, later in itertools.pairwise(paths):
        weight = saved_generator(path).linear.weight
        assert not torch.equal(weight, saved_generator(later).linear.weight)


def test_with_snapshots_tasks_there_are_none_inside_tasks(
    call_main, tiny_options, tmp_path, finished
):
    assert call_main(sft, *tiny_options("sft", tmp_path), "--snapshots", "tasks") is None
    assert not list((tmp_path / "snapshots").iterdir())
    ours, theirs = load(tmp_path / "task_3.pt"), load(finished("sft") / "task_3.pt")
    assert same_weights(ours["generator"], theirs["generator"])


@pytest.mark.parametrize("method", METHODS)
def test_arguments_are_kept_and_progress_is_told(method, finished):
    run_dir = finished(method)
    arguments = json.loads((run_dir / "args.json").read_text())
    assert arguments["method"] == method
    assert arguments["num_tasks"] == 3
    assert arguments["iters"] == 4
    output = (run_dir / "stdout").read_text()
    assert f"{method}: 3 tasks of 4 steps, seed 1\n" in output
    assert "device: cpu (" in output and ", processes: 1, amp: off\n" in output
    assert "data: idx, 300 images, 3 categories\n" in output
    assert f"results: {run_dir}, last checkpoint: none\n" in output
    steps = 12 if method in ALL_AT_ONCE else 4
    assert f"task 3/3, step {steps}/{steps}, " in output
    assert "0.0 min left\n" in output
    assert f"score it with: python eval.py {run_dir}\n" in output
    assert not list(run_dir.rglob("*.tmp"))


@pytest.mark.parametrize("method", ["dgr", "mergan_jtr", "mergan_ra"])
def test_replay_generator_is_the_generator_of_the_task_before(method, finished):
    networks = load(finished(method) / "checkpoint.pt")["networks"]
    latest = load(finished(method) / "task_3.pt")["generator"]
    assert same_weights(latest, networks["replay_generator"])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_photographs_at_64_by_64(
    method, call_main, photo_options, tmp_path, capsys
):
    script = importlib.import_module(method)
    assert call_main(script, *photo_options(method, tmp_path)) is None
    assert "data: folder, 54 images, 3 categories" in capsys.readouterr().out
    lines = losses(tmp_path)
    assert len(lines) == 8
    assert all(math.isfinite(value) for line in lines for value in line.values())
    size = (10 * 66 + 2, (1 if method in UNCONDITIONAL else 2) * 66 + 2)
    assert Image.open(tmp_path / "samples" / "task_2_step_000004.png").size == size

    # Every task trains the first layer, the last one and those between
    torch.manual_seed(1)
    num_categories = 1 if method in UNCONDITIONAL else 3
    options = {"latent_dim": 8, "width": 2, "conditioning": "concat"}
    states = [common.make_generator(num_categories, 3, 64, **options).state_dict()]
    for path in sorted(tmp_path.glob("task_*.pt")):
        assert load(path)["categories"] == ["attic", "barn", "cellar"]
        states.append(saved_generator(path).state_dict())
    layers = ["linear", "blocks.0.convs.0", "blocks.3.shortcut", "conv"]
    for before, after in itertools.pairwise(states):
        for name in [*(f"{layer}.weight" for layer in layers), "norm.scale"]:
            assert not torch.equal(before[name], after[name]), name
    # The third category is not learned, so neither is the column of its one-hot code
    if method not in UNCONDITIONAL:
        never_seen = [state["linear.weight"][:, -1] for state in states]
        rounding = 1e-6 if method == "rewc" else 0
        torch.testing.assert_close(never_seen[0], never_seen[-1], rtol=0, atol=rounding)


# Options


def test_a_script_is_a_command_and_knows_that_only_torchrun_numbers_its_processes(
    tiny_options, tmp_path, finished, monkeypatch
):
    # Left behind by something else
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    command = [sys.executable, "sft.py", *map(str, tiny_options("sft", tmp_path))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    ours, theirs = load(tmp_path / "task_3.pt"), load(finished("sft") / "task_3.pt")
    assert same_weights(ours["generator"], theirs["generator"])


@pytest.mark.parametrize("replay, share", [("share", 2), ("full", 1)])
def test_ra_aligns_on_a_share_of_the_batch_or_a_full_one_for_each_past_category(
    replay, share, call_main, tiny_options, tmp_path, monkeypatch
):
    replay_alignment = mergan_ra.replay_alignment
    aligned = []

    def recording(fake, replay, num_past):
        aligned.append((len(fake), num_past))
        return replay_alignment(fake, replay, num_past)

    monkeypatch.setattr(mergan_ra, "replay_alignment", recording)
    options = tiny_options("mergan_ra", tmp_path)
    assert call_main(mergan_ra, *options, "--replay", replay) is None
    in_third_task = aligned[4:]  # with two past categories
    assert in_third_task == [(2 * 12 // share, share)] * 4


@pytest.mark.parametrize("replay, share", [("share", 2), ("full", 1)])
def test_jtr_replays_a_share_of_the_batch_or_a_full_one_for_each_past_category(
    replay, share, call_main, tiny_options, tmp_path, monkeypatch
):
    critic_loss = mergan_jtr.critic_loss
    batches = []

    def recording(critic, real, fake, y, lambda_cls):
        batches.append(len(real))
        return critic_loss(critic, real, fake, y, lambda_cls)

    def one(critic, fake, y, lambda_cls):
        return 1 + 0 * critic(fake)[0].sum()

    monkeypatch.setattr(mergan_jtr, "critic_loss", recording)
    monkeypatch.setattr(mergan_jtr, "generator_loss", one)
    options = tiny_options("mergan_jtr", tmp_path)
    assert call_main(mergan_jtr, *options, "--replay", replay) is None
    in_third_task = batches[-16:]  # four steps, two of the critic, real images and replays
    assert in_third_task == [12, 2 * 12 // share] * 8
    # The loss is that of the task and the sum over past categories
    assert [line["generator"] for line in metrics(tmp_path)[-4:]] == [1.0 + share] * 4


SMALL = {"iters": 8000, "width": 32, "conditioning": "cbn", "image_size": 32}
LARGE = {"iters": 8000, "width": 64, "conditioning": "concat", "image_size": 64}


@pytest.mark.parametrize(
    "dataset, expected",
    [
        ("mnist", {**SMALL, "lambda_ra": 1e-3, "replay": "share"}),
        ("svhn", {**SMALL, "lambda_ra": 1e-2, "replay": "share"}),
        ("lsun", {**LARGE, "iters": 20000, "lambda_ra": 1e-3, "replay": "full"}),
        ("folder", {**LARGE, "lambda_ra": 1e-3, "replay": "share"}),
    ],
)
def test_defaults_follow_the_data_set(dataset, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mergan_ra.py", "--dataset", dataset])
    arguments = vars(mergan_ra.parse_args())
    assert {name: arguments[name] for name in expected} == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_sft_trains_on_a_gpu(train, tmp_path):
    done = train("sft", tmp_path, "--device", "cuda")
    assert done.returncode == 0, done.stderr
    assert "device: cuda" in done.stdout
    assert all(math.isfinite(value) for line in losses(tmp_path) for value in line.values())


# Without a GPU


def stop_the_run():
    raise SystemExit("stopped by the test")


@pytest.fixture
def minute_a_step(in_step, monkeypatch):
    """A run of sft.py whose steps seem to take a minute each, and which stops in the third one."""
    clock = itertools.count(step=60)
    monkeypatch.setattr(sft, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    in_step(sft, 3, stop_the_run)


def test_a_long_run_tells_once_how_many_hours_it_takes_and_which_command_is_shorter(
    minute_a_step, call_main, tiny_options, tmp_path, capsys, monkeypatch
):
    options = [*tiny_options("sft", tmp_path / "my runs"), "--iters", 6001]
    assert call_main(sft, *options) == "stopped by the test"
    output = capsys.readouterr().out.splitlines()
    progress = [line.startswith("task 1/3, step 1/6001, ") for line in output]
    told, command = output[progress.index(True) + 1 :][:2]
    assert told == "this takes 300 hours here; a first look takes 1200 minutes:"
    assert "hours" not in "".join(output[progress.index(True) + 2 :])

    # The shorter command differs from this one only in what makes it shorter, and in its directory
    python, script, *shorter_options = shlex.split(command)
    assert (python, script) == ("python", sft.__file__)
    monkeypatch.setattr(sys, "argv", [script, *map(str, options)])
    expected = vars(sft.parse_args())
    expected |= {"num_tasks": 3, "iters": 400, "learning_rate": 5e-4}
    expected |= {"run_dir": f"{tmp_path / 'my runs'}__look"}
    monkeypatch.setattr(sys, "argv", [script, *shorter_options])
    assert vars(sft.parse_args()) == expected


@pytest.mark.parametrize("minutes, told", [(120, False), (121, True)])
def test_a_run_of_at_most_two_hours_says_nothing_of_hours(
    minutes, told, minute_a_step, call_main, tiny_options, tmp_path, capsys
):
    options = [*tiny_options("sft", tmp_path), "--num-tasks", 1, "--iters", minutes + 1]
    assert call_main(sft, *options) == "stopped by the test"
    output = capsys.readouterr().out
    assert f"{minutes}.0 min left" in output
    assert ("hours" in output) == told
