"""eval.py: what it scores, keeps, refuses and says."""

import csv
import errno
import functools
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, Brightness, contents, run_script, write_bars
from PIL import Image

import eval
from scoring import cache, film
from scoring import judge as judges
from scoring import metrics
from scoring import reference as real_side
from scoring import scores, tables
from scoring.runs import IGNORED, command, find_runs


def test_photographs_at_64_by_64_are_scored_with_a_judge_of_their_own(
    photo_options, call_main, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(judges, "LEAST_STEPS", 20)
    options = photo_options("mergan_jtr", tmp_path)
    assert call_main(importlib.import_module("mergan_jtr"), *options) is None
    assert (
        call_main(
            eval, tmp_path, "--samples", "64", "--intermediate-samples", "64", "--device", "cpu"
        )
        is None
    )
    told = capsys.readouterr()
    cache = Path(options[options.index("--cache-dir") + 1])
    assert list(cache.glob("judge-folder-*.pt")) and (cache / "eval_cache.json").exists()
    assert "of 6 real test images right" in told.err and "| mergan_jtr | 1 |" in told.out
    result = json.loads((tmp_path / "eval.json").read_text())
    assert [sum(value is not None for value in row) for row in result["accuracy"]] == [1, 2]
    assert result["fid"]["samples"] == 4 and result["reverse_accuracy"] is not None
    assert len(result["intermediate"]) == 6


def test_scores_are_the_same_to_the_last_digit_with_one_thread_and_with_more(
    finished, tmp_path, call_main
):
    """Each number of threads has runs and data of its own, judge included."""
    texts, threads = [], torch.get_num_threads()
    for number in (1, 3):
        folder = tmp_path / str(number)
        for name in ("sft", "dgr"):
            shutil.copytree(finished(name), folder / "runs" / name)
        write_bars(folder, train=300, test=60)
        options = "--device cpu --samples 640 --intermediate-samples 64 --statistics standing"
        torch.set_num_threads(number)
        try:
            assert not call_main(eval, folder, "--data-dir", folder, *options.split())
            assert torch.get_num_threads() == number  # as before
        finally:
            torch.set_num_threads(threads)
        texts.append([path.read_text() for path in sorted(folder.glob("runs/*/eval.json"))])
    assert texts[0] == texts[1] and len(texts[0]) == 2
    assert json.loads(texts[0][0])["fid"]["test"]["all"] > 0


# The cache


def count_calls(monkeypatch, *places):
    """The names of functions, in the order of their calls. places: (module, name of a function)."""
    calls = []
    for module, name in places:
        function = getattr(module, name)

        @functools.wraps(function)
        def counted(*args, _function=function, _name=name, **options):
            calls.append(_name)
            return _function(*args, **options)

        monkeypatch.setattr(module, name, counted)
    return calls


SNAPSHOT = (scores, "score_snapshot")


def test_a_second_call_computes_nothing_and_a_changed_file_only_what_is_new(
    folder, call_main, monkeypatch, capsys
):
    options = [folder, "--samples", "64", "--device", "cpu"]
    assert call_main(eval, *options) is None
    first = capsys.readouterr().out
    calls = count_calls(
        monkeypatch,
        SNAPSHOT,
        (real_side, "train_classifier"),
        (real_side, "embed"),
        (scores, "embed"),
        (film, "embed"),
    )
    assert call_main(eval, *options) is None
    assert calls == [] and capsys.readouterr().out == first

    shutil.copy(
        folder / "one" / "task_1.pt", folder / "one" / "task_2.pt"
    )  # other weights, and category 1 unseen
    assert call_main(eval, *options) is None
    assert calls.count("score_snapshot") == 0  # known, as task_1
    state = torch.load(folder / "one" / "task_3.pt", weights_only=True)
    state["generator"]["linear.bias"] += 1
    torch.save(state, folder / "one" / "task_3.pt")
    assert call_main(eval, *options) is None
    assert calls.count("score_snapshot") == calls.count("train_classifier") == 1


@pytest.mark.parametrize(
    "option", [["--samples", "128"], ["--statistics", "standing"], ["--fid-samples", "30"]]
)
def test_other_settings_are_scored_anew(folder, call_main, monkeypatch, option):
    call_main(eval, folder / "one", "--samples", "64", "--device", "cpu")
    calls = count_calls(monkeypatch, SNAPSHOT)
    call_main(eval, folder / "one", "--samples", "64", "--device", "cpu", *option)
    assert len(calls) == 3


def test_other_real_images_or_another_judge_are_scored_anew(
    folder, tiny_data, tmp_path, call_main, monkeypatch
):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    options = [folder / "one", "--samples", "64", "--device", "cpu", "--data-dir", data]
    call_main(eval, *options)
    path = data / "t10k-images-idx3-ubyte"
    changed = bytearray(path.read_bytes())
    changed[-400] ^= 255
    path.write_bytes(changed)
    calls = count_calls(monkeypatch, SNAPSHOT)
    call_main(eval, *options)
    assert len(calls) == 3
    (judge,) = data.glob("judge-*.pt")
    state, before = torch.load(judge, weights_only=True), judge.read_bytes()
    torch.save(state, tmp_path / "of_another_name.pt")
    shutil.copy(tmp_path / "of_another_name.pt", judge)
    assert judge.read_bytes() != before  # and yet the same judge
    call_main(eval, *options)
    assert len(calls) == 3
    state["head.bias"] += 1
    torch.save(state, judge)
    call_main(eval, *options)
    assert len(calls) == 6


def test_two_processes_keep_the_scores_of_both(tmp_path):
    program = """
import sys
from pathlib import Path
from scoring.cache import cached
for number in range(300):
    cached(Path(sys.argv[1]), f"{sys.argv[2]} {number}", lambda: number)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "cache.json")]
    pipes = dict(cwd=ROOT, stderr=subprocess.PIPE, text=True)
    both = [subprocess.Popen([*command, name], **pipes) for name in "ab"]
    assert [process.communicate()[1] for process in both] == ["", ""]
    assert [path.name for path in tmp_path.iterdir()] == ["cache.json"]


def test_an_edit_of_a_file_that_computes_scores_makes_them_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    (tmp_path / "scoring").mkdir()
    for name in cache.CODE:
        (tmp_path / name).write_text("NUMBER = 2")
    versions = {cache.code_version()}
    for name in cache.CODE:
        (tmp_path / name).write_text("NUMBER = 3")
        versions.add(cache.code_version())
    assert len(versions) == 1 + len(cache.CODE)


def test_the_files_that_compute_scores_are_all_that_scores_import():
    """Those of data count through the images, files and caches through what they hold."""
    show = "import sys, scoring.scores, scoring.reference; "
    show += "print(*(getattr(m, '__file__', None) for m in list(sys.modules.values())), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True)
    paths = [Path(line) for line in done.stdout.splitlines()]
    ours = [path.relative_to(ROOT) for path in paths if path.is_relative_to(ROOT)]
    others = {f"support/{name}.py" for name in ("__init__", "files", "graph", "progress", "resume")}
    others |= {f"scoring/{name}.py" for name in ("__init__", "cache", "runs")}
    found = {path.as_posix() for path in ours if path.parts[0] != "datafiles"}
    assert found - others == set(cache.CODE)


def test_a_stopped_command_goes_on_from_what_it_has_scored(folder, call_main, monkeypatch, capsys):
    options = [folder / "one", "--samples", "64", "--device", "cpu", "--quick"]
    score = scores.score_snapshot
    calls = []

    def stopped(path, *arguments):
        if path.name == "task_3.pt" and len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(path.name)
        return score(path, *arguments)

    monkeypatch.setattr(scores, "score_snapshot", functools.wraps(score)(stopped))
    assert call_main(eval, *options) == "stopped; the same command goes on"
    assert capsys.readouterr().out == "" and not (folder / "one" / "eval.json").exists()
    calls.append("stopped")
    assert call_main(eval, *options) is None
    assert calls == ["task_1.pt", "task_2.pt", "stopped", "task_3.pt"]


def test_a_damaged_cache_is_made_anew(folder, call_main, capsys):
    options = [folder / "one", "--samples", "64", "--device", "cpu"]
    call_main(eval, *options)
    first = capsys.readouterr().out
    (folder / "one" / "eval_cache.json").write_text('{"half')
    assert call_main(eval, *options) is None and capsys.readouterr().out == first


@pytest.fixture
def learned(finished, tiny_data, tmp_path):
    """A scored run and a copy of its data: (folder of both, options of eval.py)."""
    shutil.copytree(finished("joint"), tmp_path / "run")
    shutil.copytree(tiny_data, tmp_path / "data", ignore=shutil.ignore_patterns("judge*", "eval*"))
    options = "--samples 64 --device cpu --data-dir".split()
    return tmp_path, [tmp_path / "run", *options, tmp_path / "data"]


def test_other_images_than_were_learned_are_not_scored_unless_on_purpose(
    learned, call_main, capsys
):
    folder, options = learned
    (folder / "run" / "eval.json").write_text("the good one")
    path = folder / "data" / "train-images-idx3-ubyte"
    changed = bytearray(path.read_bytes())
    changed[16:1000] = bytes(984)
    path.write_bytes(changed)
    message = call_main(eval, *options)
    assert "other data than was learned: training images" in message and "--other-data" in message
    assert message.startswith("error: ") and "\n" not in message
    assert (folder / "run" / "eval.json").read_text() == "the good one"
    assert not list((folder / "data").glob("judge*")) and capsys.readouterr().out == ""
    assert call_main(eval, *options, "--other-data") is None
    result = json.loads((folder / "run" / "eval.json").read_text())
    arguments = json.loads((folder / "run" / "args.json").read_text())
    assert f"training images {arguments['data']} learned" in result["other_data"]
    assert "Scored on other data than was learned (training images" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names, found",
    [
        (["aaa", "0", "1", "2"], "3 categories were learned, 4 are there; added: aaa"),
        (["0", "1", "shore"], "3 categories were learned, 3 are there; missing: 2; added: shore"),
        (["1", "0", "2"], "the order was 0, 1, 2, and is 1, 0, 2"),
        (["0", "1"], "3 categories were learned, 2 are there; missing: 2"),
    ],
)
def test_other_categories_than_were_learned_are_never_scored(
    learned, names, found, call_main, monkeypatch, capsys
):
    folder, options = learned
    load = real_side.load_dataset

    def loaded(**arguments):
        images, labels, _ = load(**arguments)
        return images, labels, names

    monkeypatch.setattr(real_side, "load_dataset", loaded)
    for other in ([], ["--other-data"]):
        message = call_main(eval, *options, *other)
        assert found in message and "\n" not in message
    assert not (folder / "run" / "eval.json").exists() and capsys.readouterr().out == ""


def test_places_that_cannot_be_written_are_told_before_long_work(
    learned, call_main, monkeypatch, capsys
):
    folder, options = learned
    calls = count_calls(monkeypatch, (real_side, "train_classifier"), SNAPSHOT)
    (folder / "file").write_text("")
    message = call_main(eval, *options, "--cache-dir", folder / "file" / "cache")
    assert f"{folder / 'file' / 'cache'} cannot be written (Not a directory)" in message
    assert "choose another place with --cache-dir" in message and "\n" not in message
    monkeypatch.setattr(cache.Path, "write_text", full_disk)
    message = call_main(eval, *options)
    assert f"{folder / 'run'} cannot be written (No space left on device)" in message
    assert calls == [] and not (folder / "run" / "eval.json").exists()


def full_disk(path, *_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_a_disk_that_fills_while_scoring_loses_no_table_and_no_file(
    learned, call_main, monkeypatch, capsys
):
    folder, options = learned
    assert call_main(eval, *options) is None
    table = capsys.readouterr().out
    before = contents(folder / "run")
    (folder / "run" / "eval_cache.json").unlink()
    before.pop(Path("eval_cache.json"))
    monkeypatch.setattr(cache.os, "replace", lambda source, target: full_disk(target))
    message = call_main(eval, *options)
    assert f"{folder / 'run' / 'eval.json'} cannot be written (No space left on device)" in message
    told = capsys.readouterr()
    assert told.out == table and "eval_cache.json cannot be written" in told.err
    assert "\n" not in message and contents(folder / "run") == before


def test_a_folder_of_links_to_runs_is_followed_and_a_run_counts_once(folder, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "one").symlink_to(folder / "one")
    (links / "loop").symlink_to(links)
    assert find_runs([links]) == [links / "one"]
    assert find_runs([folder, links]) == [folder / "one", folder / "two"]


def test_printed_commands_can_be_pasted():
    assert command("eval.py", "my runs", "a") == "python eval.py 'my runs' a"


@pytest.fixture
def folder(finished, tmp_path):
    """A folder that holds a run of sft.py and one of joint.py."""
    shutil.copytree(finished("sft"), tmp_path / "runs" / "one")
    shutil.copytree(finished("joint"), tmp_path / "runs" / "two")
    return tmp_path / "runs"


def test_eval_scores_every_run_below_a_folder(folder, tiny_data):
    done = run_script("eval", folder, "--samples", "64", "--device", "cpu", "--markdown")
    assert done.returncode == 0, done.stderr
    assert "| sft | 1 |" in done.stdout and "| joint | 1 |" in done.stdout
    assert all(
        line[:1] in ("", "|", "*", "A") for line in done.stdout.splitlines()
    )  # the table alone, for a file
    assert "of 60 real test images right" in done.stderr and list(tiny_data.glob("judge-idx-*.pt"))

    results = json.loads((folder / "one" / "eval.json").read_text())
    names = "average_accuracy accuracy forgetting backward_transfer fid reverse_accuracy"
    names += " reverse_accuracy_ceiling diversity intermediate categories other_data judge"
    names += " judge_accuracy data samples statistics minutes arguments learned"
    assert results.keys() == set(names.split())
    for matrix in (
        results["accuracy"],
        results["fid"]["test"]["matrix"],
        results["fid"]["train"]["matrix"],
    ):
        assert [[value is None for value in row] for row in matrix] == [
            [c > t for c in range(3)] for t in range(3)
        ]
        assert all(0 <= value for row in matrix for value in row if value is not None)
    for row, average in zip(results["accuracy"], results["average_accuracy"]):
        seen = [value for value in row if value is not None]
        assert max(seen) <= 100 and average == pytest.approx(sum(seen) / len(seen))
    assert results["forgetting"] == pytest.approx(metrics.forgetting(results["accuracy"]))
    assert (
        0 <= results["reverse_accuracy"] <= 100
        and results["fid"]["samples"] == 60
        and results["intermediate"] == []
    )
    arguments = json.loads((folder / "one" / "args.json").read_text())
    assert results["arguments"] == {
        k: v for k, v in arguments.items() if k not in IGNORED or k == "hardware"
    }
    assert f"Trained on: {arguments['hardware']}." in tables.markdown([results])

    of_joint = json.loads((folder / "two" / "eval.json").read_text())
    assert of_joint["accuracy"][:2] == of_joint["average_accuracy"][:2] == [None, None]
    assert (
        len(of_joint["accuracy"][2]) == 3
        and of_joint["forgetting"] is of_joint["backward_transfer"] is None
    )

    done = run_script("eval", folder, "--samples", "64", "--device", "cpu", "--csv")
    one, two = csv.DictReader(io.StringIO(done.stdout))
    assert (
        float(one["reverse_accuracy"]) == results["reverse_accuracy"] and two["method"] == "joint"
    )


def test_quick_scores_have_fewer_images_and_no_reverse_accuracy(
    folder, call_main, monkeypatch, capsys
):
    asked = []
    score = eval.score_run
    monkeypatch.setattr(
        eval, "score_run", lambda *a, **o: asked.append((a[1], o)) or score(*a, **o)
    )
    call_main(eval, folder / "two", "--device", "cpu", "--quick")
    ((reference, options),) = asked
    assert (options["samples"], reference.fid_samples) == (640, 2000)
    result = json.loads((folder / "two" / "eval.json").read_text())
    assert result["reverse_accuracy"] is result["reverse_accuracy_ceiling"] is None
    assert result["samples"] == 640 and result["fid"]["floor"]["test"] > 0
    told = capsys.readouterr()
    assert "Reverse accuracy was not measured: eval.py --quick leaves it out." in told.out
    assert "reverse accuracy" not in told.err

    # Options that are given hold with it, and without it there are more images
    call_main(eval, folder / "two", "--device", "cpu", "--quick", "--samples", "64")
    monkeypatch.setattr(eval, "print_scores", asked.append)
    call_main(eval, folder)
    assert asked[1][1]["samples"] == 64
    assert (asked[2].samples, asked[2].fid_samples, asked[2].quick) == (6400, 10000, False)


def test_the_film_holds_the_samples_of_the_run_and_what_the_judge_sees(
    folder, tiny_data, call_main
):
    call_main(eval, folder, "--samples", "64", "--device", "cpu", "--quick")
    reference = real_side.open_reference(dict(dataset="idx", data_dir=tiny_data))
    for name, moments in [
        ("one", [[task, step] for task in (1, 2, 3) for step in (1, 2, 4)]),
        ("two", [[3, step] for step in (1, 2, 4, 8, 12)]),
    ]:
        with np.load(folder / name / "film.npz") as film_of_run:
            held = dict(film_of_run)
        assert held["moments"].tolist() == moments and held["moments"].dtype == np.int32
        assert held["images"].shape == (len(moments), 3, 5, 1, 32, 32)
        assert held["names"].tolist() == ["0", "1", "2"] and held["judged"].dtype == np.int16
        for (task, step), images, judged in zip(moments, held["images"], held["judged"]):
            path = folder / name / "samples" / f"task_{task}_step_{step:06d}.png"
            picture = np.asarray(Image.open(path))
            seen = picture.shape[0] // 32
            assert seen == task and picture.shape[1] == 320
            assert not images[seen:].any() and (judged[seen:] == -1).all()
            for row in range(seen):
                for column in range(5):
                    cut = np.s_[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
                    tile = picture[cut]
                    expected = (tile / 17).round() * 17
                    assert (images[row, column, 0] == expected).all()
                    features = judges.embed(reference.judge, torch.tensor(tile)[None, None])
                    assert judged[row, column] == reference.judge.head(features).argmax()


def test_a_film_of_colours_keeps_them_and_what_no_solver_found_is_no_image(tmp_path):
    colours = np.random.default_rng(0).integers(1, 256, (2 * 8, 10 * 8, 3), dtype=np.uint8)
    colours[8:, 8:] = 0  # of the second category there is one image
    Image.fromarray(colours).save(tmp_path / "samples.png")
    images = film.read_samples(tmp_path / "samples.png", categories=3)
    assert images.shape == (3, 5, 3, 8, 8) and not images[2].any()
    assert (images[0, 4].permute(1, 2, 0).numpy() == colours[:8, 32:40]).all()
    stub = SimpleNamespace(judge=Brightness())
    judged = film.judge_samples(images[None], stub)
    assert (judged == -1).tolist() == [[[False] * 5, [False] + [True] * 4, [True] * 5]]


def test_damaged_samples_are_named_and_the_scores_are_written(folder, call_main, capsys):
    (folder / "two" / "samples" / "task_3_step_000001.png").write_bytes(b"no picture")
    message = call_main(eval, folder / "two", "--samples", "64", "--device", "cpu", "--quick")
    assert f"{folder / 'two' / 'samples'} (UnidentifiedImageError" in message
    assert "| joint | 1 |" in capsys.readouterr().out and (folder / "two" / "eval.json").exists()


def test_snapshots_inside_tasks_are_scored_when_asked_for(folder, call_main):
    call_main(
        eval, folder / "one", "--samples", "64", "--device", "cpu", "--intermediate-samples", "64"
    )
    results = json.loads((folder / "one" / "eval.json").read_text())
    assert [(line["task"], line["step"]) for line in results["intermediate"]] == [
        (t, s) for t in (1, 2, 3) for s in (1, 2, 4)
    ]
    assert [line["accuracy"] for line in results["intermediate"][2::3]] == results["accuracy"]
    for line in results["intermediate"]:
        for name in ("accuracy", "fid_test", "fid_train"):
            assert [value is None for value in line[name]] == [c >= line["task"] for c in range(3)]


def test_eval_names_what_it_cannot_read_and_scores_the_rest(folder, call_main, capsys):
    snapshot = folder / "one" / "task_2.pt"
    snapshot.write_bytes(snapshot.read_bytes()[:1000])
    (folder / "three").mkdir()
    (folder / "three" / "args.json").write_text("{")
    message = call_main(eval, folder, "--samples", "64", "--device", "cpu")
    assert message.startswith("error: ") and "\n" not in message
    assert str(snapshot) in message and str(folder / "three" / "args.json") in message
    assert "| sft | 1 |" in capsys.readouterr().out
    matrix = json.loads((folder / "one" / "eval.json").read_text())["accuracy"]
    assert matrix[1] is None and matrix[0][0] is not None and None not in matrix[2]


def test_a_missing_snapshot_is_named_and_leaves_forgetting_open(folder, call_main, capsys):
    (folder / "one" / "task_2.pt").unlink()
    message = call_main(eval, folder, "--samples", "64", "--device", "cpu")
    assert f"{folder / 'one' / 'task_2.pt'} (missing)" in message and "two" not in message
    assert json.loads((folder / "one" / "eval.json").read_text())["forgetting"] is None


def test_a_half_written_line_of_metrics_and_foreign_arguments_stop_nothing(
    folder, call_main, capsys
):
    with open(folder / "one" / "metrics.jsonl", "a") as log:
        log.write('{"task": 3, "st')
    shutil.copytree(folder / "one", folder / "seven")
    (folder / "seven" / "metrics.jsonl").write_text("damaged\n")
    arguments = json.loads((folder / "one" / "args.json").read_text())
    for name, arguments in [
        ("three", {"method": "sft"}),
        ("four", {"num_tasks": None}),
        ("five", [1]),
        ("eight", arguments | {"dataset": "moons"}),
        ("nine", arguments | {"data_dir": None}),
    ]:
        (folder / name).mkdir()
        (folder / name / "args.json").write_text(json.dumps(arguments))
    shutil.copytree(folder / "one", folder / "six")
    (folder / "six" / "args.json").write_text(
        json.dumps(arguments | {"data_dir": str(folder / "nowhere")})
    )
    message = call_main(eval, folder, "--samples", "64", "--device", "cpu")
    assert (
        all(str(folder / name) in message for name in ("three", "four", "five", "six", "seven"))
        and str(folder / "eight") in message
        and str(folder / "nine") in message
        and "\n" not in message
    )
    assert not any(str(folder / name) in message for name in ("one", "two"))
    output = capsys.readouterr().out
    assert "| sft | 1 |" in output and "| joint | 1 |" in output


@pytest.mark.parametrize(
    "options, message",
    [
        (
            ["--fid-samples", "5"],
            "--fid-samples is 5, expected at least 2 for each of the 3 categories",
        ),
        (["--fid-features", "inception", "--inception-weights", "nowhere"], 2),
    ],
)
def test_options_that_cannot_work_end_in_one_line(folder, call_main, options, message, capsys):
    stop = call_main(eval, folder, "--samples", "64", "--device", "cpu", *options)
    assert stop == message or message in stop


def test_a_run_that_is_not_finished_is_an_error_line_and_the_others_make_the_table(
    folder, call_main, capsys, monkeypatch
):
    shutil.copytree(folder / "one", folder / "begun")
    for path in [*(folder / "begun").rglob("task_*.pt"), folder / "begun" / "metrics.jsonl"]:
        path.unlink()
    (folder / "one" / "task_3.pt").unlink()
    log = (folder / "one" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "one" / "metrics.jsonl").write_text("".join(log[:10]))
    # It is said before long work, and once more at the end
    first = []
    train = real_side.train_classifier
    monkeypatch.setattr(
        real_side,
        "train_classifier",
        lambda *arguments: first.append(capsys.readouterr()) or train(*arguments),
    )
    cache_dir = ["--cache-dir", folder / "cache"]
    message = call_main(eval, folder, "--samples", "64", "--device", "cpu", *cache_dir)
    assert message.startswith("error: ") and "\n" not in message
    output = capsys.readouterr().out
    for told in (first[0].err, message):
        assert f"{folder / 'one'} is not finished (task 3 of 3, step 2); run its command" in told
        assert f"{folder / 'begun'} is not finished (nothing logged yet)" in told
    assert "| joint | 1 |" in output and "sft" not in output
    known = json.loads((folder / "one" / "eval.json").read_text())  # as far as it is
    assert known["accuracy"][1] and known["accuracy"][2] is None
    assert "was not finished" in call_main(eval, folder / "one" / "eval.json")


def test_a_path_that_is_not_there_is_an_error_line_and_nothing_is_scored(folder, call_main):
    message = call_main(eval, folder / "one", folder / "won")
    assert message.startswith(f"error: not found: {folder / 'won'}; expected runs")
    assert "\n" not in message


def test_without_runs_eval_ends_in_one_line(tmp_path, call_main):
    message = call_main(eval, tmp_path)
    assert (
        message.startswith(f"error: no run (a folder with args.json) in {tmp_path}")
        and "\n" not in message
    )


@pytest.mark.parametrize("option", ["samples", "intermediate-samples"])
def test_samples_must_be_a_multiple_of_64(tmp_path, call_main, capsys, option):
    assert call_main(eval, tmp_path, f"--{option}", "100") == 2
    assert f"--{option} is 100, expected a multiple of 64" in capsys.readouterr().err


def test_eval_needs_the_five_packages_alone():
    hide = "import sys; extras = ['matplotlib', 'sklearn', 'torch_fidelity']; "
    hide += "sys.modules.update(dict.fromkeys(extras)); import eval"
    subprocess.run([sys.executable, "-c", hide], cwd=ROOT, check=True)
