"""What shows a training while it runs, or moves: losses, TensorBoard, progress."""

import json
import shutil

import numpy as np
import pytest
from conftest import metrics
from made_up import failure, figures_main
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pictures import losses, tensorboard
from pictures.groups import find_groups
from support import progress


@pytest.fixture
def runs(finished, tmp_path):
    """Copies of three runs, to be changed."""
    for method in ("joint", "mergan_ra", "mergan_jtr"):
        shutil.copytree(finished(method), tmp_path / "runs" / method)
    return tmp_path / "runs"


# --------------------------------------------------------------------------------------------------
# Losses


def drawn_lines(runs, tmp_path, monkeypatch):
    """{(method, title of the column): {label: points}} of losses.png."""
    figures = []
    monkeypatch.setattr(losses, "save_figure", lambda figure, path: figures.append(figure))
    losses.draw(find_groups([runs]), tmp_path)
    axes = np.array(figures[0].axes).reshape(-1, 4)
    titles = [ax.get_title() for ax in axes[0]]
    found = {}
    for row in axes:
        method = row[0].get_ylabel().split("\n")[0]
        for title, ax in zip(titles, row):
            curves = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
            found[method, title] = {line.get_label(): line.get_xydata().tolist() for line in curves}
    return found


def test_losses_are_those_of_the_log(runs, tmp_path, monkeypatch):
    found = drawn_lines(runs, tmp_path, monkeypatch)
    log = metrics(runs / "mergan_ra")
    at = [4 * (line["task"] - 1) + line["step"] for line in log]
    assert at == list(range(1, 13))
    for title, name in [("critic", "critic"), ("the method's own", "alignment")]:
        expected = [[x, line[name]] for x, line in zip(at, log)]
        assert found["MeRGAN-RA", title] == {name: expected}
    assert found["MeRGAN-JTR", "the method's own"] == {}
    # All categories at once: its one task goes from the first step to the last
    assert [x for x, _ in found["Joint training", "generator"]["generator"]] == at


def test_losses_of_a_run_that_is_training(runs, tmp_path, monkeypatch):
    log = runs / "mergan_ra" / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:5]) + lines[5][:20])
    (runs / "mergan_ra" / "task_3.pt").unlink()
    (runs / "joint" / "metrics.jsonl").unlink()
    found = drawn_lines(runs, tmp_path, monkeypatch)
    assert len(found["MeRGAN-RA", "critic"]["critic"]) == 5
    assert ("Joint training", "critic") not in found


def test_losses_without_a_log_end_in_one_line(runs, tmp_path, capsys):
    for method in ("joint", "mergan_ra", "mergan_jtr"):
        (runs / method / "metrics.jsonl").write_bytes(b"")
    (line,) = failure(capsys, "losses", runs, "-o", tmp_path)
    assert "no loss is logged yet" in line
    (runs / "joint" / "metrics.jsonl").write_bytes(b"{}\nno line\n")
    (line,) = failure(capsys, "losses", runs, "-o", tmp_path)
    assert f"{runs}/joint/metrics.jsonl is damaged or not ours (" in line


# --------------------------------------------------------------------------------------------------
# TensorBoard


def events(run):
    """{name: [(step, value)]} of all event files of a run, as TensorBoard reads them."""
    found = {}
    for path in (run / "tensorboard").glob("events*"):
        read = EventAccumulator(str(path)).Reload()
        for name in read.Tags()["scalars"]:
            points = [(event.step, event.value) for event in read.Scalars(name)]
            found.setdefault(name, []).extend(points)
    return found


def test_tensorboard_holds_every_line_of_the_log_once(runs):
    assert figures_main("tensorboard", runs) is None
    assert figures_main("tensorboard", runs) is None
    for method in ("joint", "mergan_ra"):
        log = metrics(runs / method)
        found = events(runs / method)
        expected = [(step, line["critic"]) for step, line in enumerate(log, start=1)]
        np.testing.assert_allclose(found["loss/critic"], expected, rtol=1e-6)
        names = set(log[0]) - {"task", "step", "it_per_s", "elapsed"}
        others = {"training/task", "training/steps_per_second"}
        assert set(found) == {f"loss/{name}" for name in names} | others


@pytest.fixture
def pauses(monkeypatch):
    """A list of functions, of which each look at a log that is followed calls the next one."""
    acts = []
    monkeypatch.setattr(tensorboard.time, "sleep", lambda seconds: acts.pop(0)())
    return acts


def test_tensorboard_follows_a_run_that_goes_back_to_its_checkpoint(runs, pauses, capsys):
    run = runs / "mergan_ra"
    log, end = run / "metrics.jsonl", run / "task_3.pt"
    lines = log.read_bytes().splitlines(keepends=True)
    saved = end.read_bytes()
    end.unlink()
    log.write_bytes(b"".join(lines[:5]))
    # The run was stopped, and repeats steps 4 and 5 with other values
    other = [json.dumps(json.loads(line) | {"critic": 7.0}).encode() + b"\n" for line in lines]
    pauses.append(lambda: log.write_bytes(b"".join(lines[:3] + other[3:8])))
    pauses.append(lambda: log.write_bytes(b"".join(lines[:3] + other[3:])))
    pauses.append(lambda: end.write_bytes(saved))  # it ends with the run
    assert figures_main("tensorboard", run, "--follow") is None
    assert not pauses
    told = capsys.readouterr().out
    assert [line.split()[1] for line in told.splitlines() if "wrote" in line] == ["5", "8", "4"]
    values = [json.loads(line)["critic"] for line in lines[:3]] + [7.0] * 9
    expected = list(enumerate(values, start=1))
    np.testing.assert_allclose(events(run)["loss/critic"], expected, rtol=1e-6)


def test_ctrl_c_ends_following(runs, pauses, capsys):
    def stop():
        raise KeyboardInterrupt

    (runs / "joint" / "task_3.pt").unlink()
    pauses.append(stop)
    assert figures_main("tensorboard", runs / "joint", "--follow") is None
    assert "wrote 12 lines" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------------
# Progress


def test_progress_is_a_line_every_few_seconds(capsys, monkeypatch):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(progress.progress([10, 20, 30, 40, 50, 60], "counting")) == [10, 20, 30, 40, 50, 60]
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "counting: 2 of 6, 12 s left\ncounting: 5 of 6, 2 s left\n"


def test_short_waits_are_silent(capsys):
    assert list(progress.progress(iter("abc"), "counting", total=3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
