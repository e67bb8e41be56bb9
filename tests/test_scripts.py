"""Every script as a user runs it: what a run leaves behind, and what happens when it is stopped, broken or misused."""

import importlib
import itertools
import json
import math
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import METHODS, UNCONDITIONAL, assert_same_weights, contents, metrics
from PIL import Image

import common
import sft
from common import Generator, make_generator

ALL_AT_ONCE = [method for method in METHODS if method == "joint"]
BY_TASK = [method for method in METHODS if method not in ALL_AT_ONCE]


def tasks_and_steps(method):
    return [(3, step) for step in range(1, 13)] if method in ALL_AT_ONCE else [
        (task, step) for task in (1, 2, 3) for step in range(1, 5)
    ]  # fmt: skip


def losses(run_dir):
    return [{k: v for k, v in line.items() if k not in ("it_per_s", "elapsed")} for line in metrics(run_dir)]


# What a run leaves behind


@pytest.mark.parametrize("method", METHODS)
def test_metrics_hold_finite_losses_of_every_step_of_every_task(method, finished):
    lines = metrics(finished(method))
    assert [(line["task"], line["step"]) for line in lines] == tasks_and_steps(method)
    assert all({"critic", "gradient_penalty", "generator", "it_per_s", "elapsed"} <= line.keys() for line in lines)
    assert all(math.isfinite(value) for line in lines for value in line.values())
    elapsed = [line["elapsed"] for line in lines]
    assert 0 < elapsed[0] and elapsed == sorted(elapsed)
    assert len({line["critic"] for line in lines}) == len({line["generator"] for line in lines}) == len(lines)


@pytest.mark.parametrize("method", METHODS)
def test_every_task_trains_every_weight_of_the_generator(method, finished):
    run_dir, changed_rows = finished(method), []
    torch.manual_seed(1)
    before = Generator(1 if method in UNCONDITIONAL else 3, 1, latent_dim=8, width=4).state_dict()
    for task in (3,) if method in ALL_AT_ONCE else (1, 2, 3):
        snapshot = torch.load(run_dir / f"task_{task}.pt", weights_only=True)
        assert (snapshot["method"], snapshot["categories"]) == (method, ["0", "1", "2"])
        assert snapshot["seen"] == list(range(task))
        generator = make_generator(**snapshot["config"])
        generator.load_state_dict(snapshot["generator"])
        after = generator.state_dict()
        # the biases of the inner deconvolutions are cancelled by the normalisation that follows
        trained = {name for name, _ in generator.named_parameters()} - {"deconvs.0.bias", "deconvs.1.bias"}
        assert not [name for name in trained if torch.equal(before[name], after[name])]
        own = torch.tensor(snapshot["seen"] if method in ALL_AT_ONCE else [0 if method in UNCONDITIONAL else task - 1])
        for name in (name for name in trained if "norms" in name):
            assert (before[name] != after[name])[own].any(dim=1).all()
        before = after


def test_sft_leaves_scale_and_shift_of_other_categories_alone(finished):
    states = [torch.load(finished("sft") / f"task_{task}.pt", weights_only=True)["generator"] for task in (1, 2, 3)]
    for name in (name for name in states[0] if "scale" in name or "shift" in name):
        for task, (before, after) in enumerate(zip(states, states[1:]), start=2):
            others = [category for category in range(3) if category != task - 1]
            assert torch.equal(before[name][others], after[name][others])


@pytest.mark.parametrize("method", METHODS)
def test_snapshots_hold_standing_statistics_of_the_categories_seen(method, finished):
    for path in finished(method).glob("task_*.pt"):
        snapshot = torch.load(path, weights_only=True)
        generator = make_generator(**snapshot["config"])
        generator.load_state_dict(snapshot["generator"])
        saved = [norm.standing_var.clone() for norm in generator.norms]
        known = [0] if method in UNCONDITIONAL else snapshot["seen"]
        generator.update_standing_statistics(known)
        for norm, var in zip(generator.norms, saved):
            torch.testing.assert_close(norm.standing_var, var, rtol=1e-4, atol=1e-6)
            assert (var[known] != 1).all() and (var[len(known) :] == 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_samples_are_grids_of_ten_images_for_each_category_seen(method, finished):
    expected = {f"task_{t}_step_{s:06d}.png" for t, s in tasks_and_steps(method) if s in (1, 2, 4, 8, 12)}
    paths = list((finished(method) / "samples").iterdir())
    assert {path.name for path in paths} == expected
    for path in paths:
        rows = 1 if method in UNCONDITIONAL else int(path.name[5])
        assert Image.open(path).size == (10 * 34 + 2, rows * 34 + 2)
        assert Image.open(path).convert("L").getextrema()[0] < Image.open(path).convert("L").getextrema()[1]


@pytest.mark.parametrize("method", METHODS)
def test_snapshots_inside_tasks_are_of_the_moment(method, finished):
    run_dir = finished(method)
    last = max(step for _, step in tasks_and_steps(method))
    expected = {f"task_{t}_step_{s:06d}.pt" for t, s in tasks_and_steps(method) if s in (1, 2, 4, 8) and s < last}
    assert {path.name for path in (run_dir / "snapshots").iterdir()} == expected
    states = [torch.load(run_dir / "snapshots" / name, weights_only=True) for name in sorted(expected)]
    assert all(state["seen"] == list(range(int(name[5]))) for name, state in zip(sorted(expected), states))
    for snapshot, other in itertools.pairwise(states):
        make_generator(**snapshot["config"]).load_state_dict(snapshot["generator"])
        assert not torch.equal(snapshot["generator"]["linear.weight"], other["generator"]["linear.weight"])


def test_snapshots_tasks_stores_none_inside_tasks(train, tmp_path, finished):
    assert train("sft", tmp_path, "--snapshots", "tasks").returncode == 0
    assert not list((tmp_path / "snapshots").iterdir())
    ours, theirs = (
        torch.load(folder / "task_3.pt", weights_only=True)["generator"] for folder in (tmp_path, finished("sft"))
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("method", METHODS)
def test_arguments_are_kept_and_progress_is_told(method, finished):
    run_dir = finished(method)
    arguments = json.loads((run_dir / "args.json").read_text())
    assert (arguments["method"], arguments["num_tasks"], arguments["iters"]) == (method, 3, 4)
    output = (run_dir / "stdout").read_text()
    for told in ("device: cpu, float32", "data: idx, 300 images", f"results: {run_dir}", "min left", "done in"):
        assert told in output
    assert f"task 3/3 (category {'0, 1, 2' if method in ALL_AT_ONCE else '2'}), step" in output
    assert not list(run_dir.rglob("*.tmp"))


@pytest.mark.parametrize("method", ["dgr", "mergan_jtr", "mergan_ra"])
def test_replay_generator_is_the_generator_of_the_task_before(method, finished):
    networks = torch.load(finished(method) / "checkpoint.pt", weights_only=True)["networks"]
    latest = torch.load(finished(method) / "task_3.pt", weights_only=True)["generator"]
    assert all(torch.equal(weight, networks["replay_generator"][name]) for name, weight in latest.items())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_photographs_at_64_by_64(method, call_main, photo_options, tmp_path, capsys):
    assert call_main(importlib.import_module(method), *photo_options(method, tmp_path)) is None
    assert "data: folder, 54 images [3, 64, 64], 3 categories" in capsys.readouterr().out
    assert len(metrics(tmp_path)) == 8 and all(math.isfinite(v) for line in losses(tmp_path) for v in line.values())
    snapshots = [torch.load(path, weights_only=True) for path in sorted(tmp_path.glob("task_*.pt"))]
    torch.manual_seed(1)
    unconditional = method in UNCONDITIONAL
    options = dict(latent_dim=8, width=2, conditioning="concat")
    weights = [make_generator(1 if unconditional else 3, 3, 64, **options).state_dict()]
    for snapshot in snapshots:
        assert snapshot["categories"] == ["attic", "barn", "cellar"]
        make_generator(**snapshot["config"]).load_state_dict(snapshot["generator"])
        weights.append(snapshot["generator"])
    for before, after in itertools.pairwise(weights):
        for name in (
            "linear.weight",
            "blocks.0.convs.0.weight",
            "blocks.3.shortcut.weight",
            "conv.weight",
            "norm.scale",
        ):
            assert not torch.equal(before[name], after[name]), name
    never_seen = [state["linear.weight"][:, -1] for state in weights]  # one-hot of the third category
    if not unconditional:
        torch.testing.assert_close(never_seen[0], never_seen[-1], rtol=0, atol=1e-6 if method == "rewc" else 0)
    size = (10 * 66 + 2, (1 if unconditional else 2) * 66 + 2)
    assert Image.open(tmp_path / "samples" / "task_2_step_000004.png").size == size


def test_a_run_on_photographs_continues_to_the_same_weights(call_main, photo_options, tmp_path, monkeypatch):
    monkeypatch.setattr(common.RealImages, "room", lambda self: 0)  # batches are read ahead
    options = lambda name: [*photo_options("sft", tmp_path / name), "--checkpoint-every", "3", "--snapshots", "tasks"]
    assert call_main(sft, *options("whole")) is None

    def stop(*_):
        raise SystemExit("stopped by the test")

    with monkeypatch.context() as patch:
        patch.setattr(sft, "save_samples", lambda _, __, path: stop() if "task_2_step_000004" in path.name else None)
        assert call_main(sft, *options("parts")) == "stopped by the test"
    assert call_main(sft, *options("parts")) is None
    assert_same_weights(tmp_path / "parts", tmp_path / "whole")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_a_run_does_not_continue_on_other_data(call_main, photo_options, tiny_photos, tmp_path):
    others = shutil.copytree(tiny_photos, tmp_path / "others")
    (others / "attic").rename(others / "zoo")
    options = [*photo_options("sft", tmp_path / "run"), "--cache-dir", tmp_path / "cache", "--iters", "1"]
    assert call_main(sft, *options) is None
    assert "holds a run with other arguments (data: " in call_main(sft, *options, "--data-dir", others)
    assert call_main(sft, *options) is None


def test_rank_and_size_left_behind_by_something_else_are_ignored(train, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert train("sft", tmp_path, "--iters", "1").returncode == 0 and (tmp_path / "task_3.pt").exists()


@pytest.mark.parametrize("replay, share", [("share", 2), ("full", 1)])
def test_replay_is_a_share_of_the_batch_or_a_full_one_for_each_past_category(
    replay, share, call_main, tiny_options, tmp_path, monkeypatch
):
    ra, jtr = importlib.import_module("mergan_ra"), importlib.import_module("mergan_jtr")
    aligned, alignment, critic_loss = [], ra.replay_alignment, jtr.critic_loss

    def recorded(fake, replay, num_past):
        aligned.append((len(fake), num_past))
        return alignment(fake, replay, num_past)

    monkeypatch.setattr(ra, "replay_alignment", recorded)
    assert call_main(ra, *tiny_options("mergan_ra", tmp_path / "ra"), "--replay", replay) is None
    assert set(aligned[4:]) == {(2 * 12 // share, share)}  # the third task has two past categories

    pairs = []
    monkeypatch.setattr(jtr, "critic_loss", lambda *a: pairs.append(len(a[1])) or critic_loss(*a))
    monkeypatch.setattr(jtr, "generator_loss", lambda critic, fake, y, _: 1 + 0 * critic(fake)[0].sum())
    assert call_main(jtr, *tiny_options("mergan_jtr", tmp_path / "jtr"), "--replay", replay) is None
    assert set(pairs[-16:]) == {12, 2 * 12 // share}
    assert [line["generator"] for line in metrics(tmp_path / "jtr")[-4:]] == [1.0 + share] * 4


@pytest.mark.parametrize(
    "dataset, expected",
    [
        ("mnist", dict(iters=8000, width=32, conditioning="cbn", image_size=32, lambda_ra=1e-3, replay="share")),
        ("svhn", dict(iters=8000, width=32, conditioning="cbn", image_size=32, lambda_ra=1e-2, replay="share")),
        ("lsun", dict(iters=20000, width=64, conditioning="concat", image_size=64, lambda_ra=1e-3, replay="full")),
        ("folder", dict(iters=8000, width=64, conditioning="concat", image_size=64, lambda_ra=1e-3, replay="share")),
    ],
)
def test_defaults_follow_the_data_set(dataset, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mergan_ra.py", "--dataset", dataset])
    args = vars(importlib.import_module("mergan_ra").parse_args())
    assert {name: args[name] for name in expected} == expected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gpus, process, expected", [(0, 0, 2), (1, 0, None), (1, 1, 2), (2, 1, None)])
def test_every_process_needs_a_gpu_of_its_own(method, gpus, process, expected, monkeypatch, capsys):
    script = importlib.import_module(method)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_RANK", str(process))
    monkeypatch.setattr(sys, "argv", [f"{method}.py", "--device", "cuda"])
    code = None
    try:
        script.parse_args()
    except SystemExit as stop:
        code = stop.code
    assert code == expected
    assert expected is None or f"PyTorch sees {gpus} CUDA GPUs" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_sft_trains_on_a_gpu(train, tmp_path):
    done = train("sft", tmp_path, "--device", "cuda")
    assert done.returncode == 0, done.stderr
    assert "device: cuda" in done.stdout
    assert all(math.isfinite(value) for line in losses(tmp_path) for value in line.values())


# Stopping and continuing


def sample(method):
    """A sample grid in the middle of the second task, two steps after a checkpoint, one of joint training."""
    return "task_3_step_000008.png" if method in ALL_AT_ONCE else "task_2_step_000004.png"


MOMENTS = [(method, sample(method)) for method in METHODS]
MOMENTS += [(method, "task_2.pt") for method in ("ewc", "rewc", "mergan_ra")] + [("sft", "checkpoint.pt")]


@pytest.mark.parametrize("method, moment", MOMENTS)
def test_a_killed_run_continues_to_the_same_weights_and_metrics(
    method, moment, train, call_main, tiny_options, finished, tmp_path, capsys
):
    assert train(method, tmp_path, at=(moment, signal.SIGKILL)).returncode == -signal.SIGKILL
    assert not (tmp_path / "task_3.pt").exists()
    if (tmp_path / "checkpoint.pt").exists():
        networks = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["networks"]
        if "replay_generator" in networks:
            past = torch.load(tmp_path / "task_1.pt", weights_only=True)["generator"]
            assert all(torch.equal(weight, past[name]) for name, weight in networks["replay_generator"].items())
            assert not torch.equal(networks["generator"]["linear.weight"], past["linear.weight"])

    assert call_main(importlib.import_module(method), *tiny_options(method, tmp_path)) is None
    assert ("last checkpoint: none" in capsys.readouterr().out) == (moment == "checkpoint.pt")
    assert_same_weights(tmp_path, finished(method))
    assert losses(tmp_path) == losses(finished(method))


def test_ctrl_c_writes_a_checkpoint_from_which_the_run_continues(train, finished, tmp_path):
    options = ["--checkpoint-every", "1000"]
    stopped = train("sft", tmp_path, *options, at=("task_2_step_000002.png", signal.SIGINT))
    assert stopped.returncode != 0
    assert (
        stopped.stderr.strip() == "stopped at task 2, step 3; run the same command again, less --overwrite, to continue"
    )
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (checkpoint["task"] + 1, checkpoint["step"]) == (2, 3)
    of_critic, of_generator = (optimizer["state"][0]["step"].item() for optimizer in checkpoint["optimizers"])
    assert (of_critic, of_generator) == (3 * 2, 3)  # Adam starts anew in each task

    done = train("sft", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert "last checkpoint: task 2, step 3" in done.stdout
    assert_same_weights(tmp_path, finished("sft"))
    assert losses(tmp_path) == losses(finished("sft"))


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run of sft.py, to be changed."""
    return shutil.copytree(finished("sft"), tmp_path / "run")


def test_a_finished_run_is_left_alone(copy, call_main, tiny_options, capsys):
    before = contents(copy)
    assert call_main(sft, *tiny_options("sft", copy)) is None
    assert f"{copy} is finished" in capsys.readouterr().out
    assert contents(copy) == before


def test_another_seed_gives_other_weights_and_overwrite_starts_anew(copy, train, finished):
    def weight(run_dir):
        return torch.load(run_dir / "task_3.pt", weights_only=True)["generator"]["linear.weight"]

    other = finished("sft", seed=2)
    assert not torch.equal(weight(other), weight(copy))

    names = ("notes.txt", "samples/favourite.jpg", "snapshots/notes.txt", "task_1.pt.bak")
    foreign = {name: f"not ours: {name}" for name in names}
    for name, text in foreign.items():
        (copy / name).write_text(text)
    (copy / "eval.json").write_text("{}")
    done = train("sft", copy, "--seed", "2", "--num-tasks", "2", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert all((copy / name).read_text() == text for name, text in foreign.items())
    assert not (copy / "eval.json").exists() and not (copy / "task_3.pt").exists()
    for pattern in ("samples/*.png", "snapshots/*.pt"):
        assert {path.name[:6] for path in copy.glob(pattern)} == {"task_1", "task_2"}
    assert losses(copy) == losses(other)[:8]
    theirs = torch.load(other / "task_2.pt", weights_only=True)["generator"]
    ours = torch.load(copy / "task_2.pt", weights_only=True)["generator"]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


# Errors


def test_other_arguments_are_refused_and_listed(copy, call_main, tiny_options):
    before = contents(copy)
    message = call_main(sft, *tiny_options("sft", copy), "--iters", "5", "--lambda-gp", "3")
    assert f"error: {copy} holds a run with other arguments" in message
    assert "iters: 4 there, 5 here; lambda_gp: 10.0 there, 3.0 here" in message
    assert contents(copy) == before


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_by_foreign(path):
    torch.save({"epoch": 3, "model": {"weight": torch.ones(2)}}, path)


@pytest.mark.parametrize("damage", [truncate, replace_by_foreign])
def test_a_checkpoint_that_is_damaged_or_not_ours_is_named_and_kept(copy, call_main, tiny_options, damage):
    damage(copy / "checkpoint.pt")
    before = contents(copy)
    message = call_main(sft, *tiny_options("sft", copy))
    assert message.startswith(f"error: {copy / 'checkpoint.pt'} is damaged or not ours")
    assert contents(copy) == before


def test_a_checkpoint_without_arguments_is_named_and_kept(copy, call_main, tiny_options):
    (copy / "args.json").unlink()
    before = contents(copy)
    assert f"error: {copy / 'checkpoint.pt'} has no args.json" in call_main(sft, *tiny_options("sft", copy))
    assert contents(copy) == before


def test_a_second_process_is_refused_until_the_first_is_gone(copy, call_main, tiny_options, capsys):
    hold = "import sqlite3; c = sqlite3.connect('lock'); c.execute('BEGIN EXCLUSIVE'); print(flush=True); input()"
    first = subprocess.Popen(
        [sys.executable, "-c", hold], cwd=copy, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    first.stdout.readline()
    before = contents(copy)
    message = call_main(sft, *tiny_options("sft", copy), "--overwrite")
    first.kill()
    first.communicate()
    assert f"error: {copy} is in use by another process" in message
    assert contents(copy) == before
    assert call_main(sft, *tiny_options("sft", copy)) is None


def test_a_training_script_holds_the_lock_that_the_second_one_asks_for(call_main, tiny_options, tmp_path, monkeypatch):
    refused = []

    def ask(*_):
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite3.connect(tmp_path / "lock", timeout=0).execute("BEGIN EXCLUSIVE")
        refused.append(True)

    monkeypatch.setattr(sft, "save_samples", ask)
    assert call_main(sft, *tiny_options("sft", tmp_path), "--iters", "1", "--num-tasks", "1") is None
    assert refused


def not_finite(loss):
    return loss * math.nan


def of_no_finite_gradient(loss):
    return loss + (0 * loss).sqrt()


@pytest.mark.parametrize("spoil", [not_finite, of_no_finite_gradient])
def test_a_loss_or_weight_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    spoil, call_main, tiny_options, tmp_path, monkeypatch
):
    steps, loss = itertools.count(1), sft.generator_loss
    monkeypatch.setattr(sft, "generator_loss", lambda *a: spoil(loss(*a)) if next(steps) > 5 else loss(*a))
    options = [*tiny_options("sft", tmp_path), "--checkpoint-every", "1"]
    message = call_main(sft, *options)
    assert message.startswith("error: ") and "not finite at task 2, step 2" in message
    assert f"last good checkpoint: task 2, step 1, in {tmp_path}" in message
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (checkpoint["task"], checkpoint["step"]) == (1, 1)
    assert all(w.isfinite().all() for network in checkpoint["networks"].values() for w in network.values())

    before = contents(tmp_path)[Path("checkpoint.pt")]
    assert f"last good checkpoint: task 2, step 1, in {tmp_path}" in call_main(sft, *options)
    assert contents(tmp_path)[Path("checkpoint.pt")] == before


def test_a_loss_that_is_never_finite_leaves_no_checkpoint(call_main, tiny_options, tmp_path):
    message = call_main(sft, *tiny_options("sft", tmp_path), "--learning-rate", "1e30", "--checkpoint-every", "1")
    assert "not finite at task 1, step 1" in message and "last good checkpoint: none" in message
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    "option, value, complaint",
    [
        ("--iters", "0", "--iters is 0, expected at least 1"),
        ("--critic-steps", "-1", "--critic-steps is -1, expected at least 1"),
        ("--log-every", "0", "--log-every is 0, expected at least 1"),
        ("--checkpoint-every", "0", "--checkpoint-every is 0, expected at least 1"),
        ("--width", "0", "--width is 0, expected at least 1"),
        ("--latent-dim", "0", "--latent-dim is 0, expected at least 1"),
        ("--learning-rate", "nan", "--learning-rate is nan, expected a number of at least 0"),
        ("--lambda-gp", "-1", "--lambda-gp is -1.0, expected a number of at least 0"),
        ("--lambda-cls", "inf", "--lambda-cls is inf, expected a number of at least 0"),
        ("--iters", "many", "argument --iters: invalid int value: 'many'"),
        ("--dataset", "moons", "argument --dataset: invalid choice: 'moons'"),
    ],
)
def test_bad_values_are_refused_in_one_line(option, value, complaint, call_main, tiny_options, tmp_path, capsys):
    assert call_main(sft, *tiny_options("sft", tmp_path / "run"), option, value) == 2
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert "error: " in last_line and complaint in last_line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options, complaint",
    [
        (["--num-tasks", "4"], "--num-tasks is 4, expected 1 to 3"),
        (["--num-tasks", "-1"], "--num-tasks is -1, expected 1 to 3"),
        (["--batch-size", "5"], "--batch-size is 5, expected at least 2 images for each"),
        (["--data-dir", "nowhere"], "nowhere"),
    ],
)
def test_options_that_do_not_fit_the_data_are_refused(options, complaint, call_main, tiny_options, tmp_path):
    message = call_main(sft, *tiny_options("sft", tmp_path / "run"), *options)
    assert message.startswith("error: ") and complaint in message and "\n" not in message
    assert not (tmp_path / "run").exists()


def test_a_run_directory_that_cannot_be_made_is_named(call_main, tiny_options, tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = call_main(sft, *tiny_options("sft", tmp_path / "file"))
    assert f"error: --run-dir {tmp_path / 'file'} cannot be made" in message
