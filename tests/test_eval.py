"""eval.py: what it scores, keeps, refuses and says."""

import csv
import errno
import functools
import importlib
import io
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, Brightness, call_main, contents, run_script, write_bars
from PIL import Image

import eval
from scoring import film
from scoring import judge as judges
from scoring import metrics
from scoring import reference as real_side
from scoring import scores, store, tables
from scoring.runs import IGNORED, find_runs


@pytest.fixture
def folder(finished, tmp_path):
    """A folder that holds a run of sft.py and one of joint.py."""
    shutil.copytree(finished("sft"), tmp_path / "runs" / "one")
    shutil.copytree(finished("joint"), tmp_path / "runs" / "two")
    return tmp_path / "runs"


@pytest.fixture
def score():
    """A function that calls eval.py, with few images."""
    return functools.partial(call_main, eval, "--samples", 64, "--device", "cpu")


def scores_of(run):
    """What eval.py wrote into a run."""
    return json.loads((run / "eval.json").read_text())


def is_error_line(message):
    return message.startswith("error: ") and "\n" not in message


def test_photographs_at_64_by_64_are_scored_with_a_judge_of_their_own(
    photo_options, score, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(judges, "LEAST_STEPS", 20)
    options = photo_options("mergan_jtr", tmp_path)
    assert call_main(importlib.import_module("mergan_jtr"), *options) is None
    assert score(tmp_path, "--intermediate-samples", 64) is None
    told = capsys.readouterr()
    cache = Path(options[options.index("--cache-dir") + 1])
    assert list(cache.glob("judge-folder-*.pt")) and (cache / "eval_cache.json").exists()
    assert "of 6 real test images right" in told.err and "| mergan_jtr | 1 |" in told.out
    result = scores_of(tmp_path)
    assert [sum(value is not None for value in row) for row in result["accuracy"]] == [1, 2]
    assert result["fid"]["samples"] == 4 and result["reverse_accuracy"] is not None
    assert len(result["intermediate"]) == 6


def test_scores_are_the_same_to_the_last_digit_with_one_thread_and_with_more(finished, tmp_path):
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
        finally:
            torch.set_num_threads(threads)
        texts.append([path.read_text() for path in sorted(folder.glob("runs/*/eval.json"))])
    assert texts[0] == texts[1] and len(texts[0]) == 2
    assert json.loads(texts[0][0])["fid"]["test"]["all"] > 0


# What is computed again


def count_calls(monkeypatch, *places):
    """The names of functions, in the order of their calls. places: (module, name of a function)."""
    calls = []
    for module, name in places:
        function = getattr(module, name)

        def counted(*args, _function=function, _name=name, **named):
            calls.append(_name)
            return _function(*args, **named)

        monkeypatch.setattr(module, name, counted)
    return calls


SNAPSHOT = (scores, "score_snapshot")
TRAINING = (real_side, "train_classifier"), (judges, "train_classifier")


def test_a_second_call_computes_nothing_and_a_changed_file_only_what_is_new(
    folder, score, monkeypatch, capsys
):
    assert score(folder) is None
    first = capsys.readouterr().out
    embeddings = [(module, "embed") for module in (real_side, scores, film)]
    calls = count_calls(monkeypatch, SNAPSHOT, *TRAINING, *embeddings)
    assert score(folder) is None
    assert calls == [] and capsys.readouterr().out == first

    # Other weights, and category 1 unseen, but known, as task_1
    shutil.copy(folder / "one" / "task_1.pt", folder / "one" / "task_2.pt")
    assert score(folder) is None
    assert calls.count("score_snapshot") == 0
    state = torch.load(folder / "one" / "task_3.pt", weights_only=True)
    state["generator"]["linear.bias"] += 1
    torch.save(state, folder / "one" / "task_3.pt")
    assert score(folder) is None
    assert calls.count("score_snapshot") == calls.count("train_classifier") == 1


def test_other_settings_are_scored_anew(folder, score, monkeypatch):
    score(folder / "one")
    for option in (["--samples", "128"], ["--statistics", "standing"], ["--fid-samples", "30"]):
        with monkeypatch.context() as patch:
            calls = count_calls(patch, SNAPSHOT)
            score(folder / "one", *option)
            assert len(calls) == 3, option


def test_other_real_images_or_another_judge_are_scored_anew(
    folder, tiny_data, tmp_path, score, monkeypatch
):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    options = [folder / "one", "--data-dir", data]
    score(*options)
    path = data / "t10k-images-idx3-ubyte"
    changed = bytearray(path.read_bytes())
    changed[-400] ^= 255
    path.write_bytes(changed)
    calls = count_calls(monkeypatch, SNAPSHOT)
    score(*options)
    assert len(calls) == 3
    (judge,) = data.glob("judge-*.pt")
    state, before = torch.load(judge, weights_only=True), judge.read_bytes()
    torch.save(state, tmp_path / "of_another_name.pt")
    shutil.copy(tmp_path / "of_another_name.pt", judge)
    assert judge.read_bytes() != before  # and yet the same judge
    score(*options)
    assert len(calls) == 3
    state["head.bias"] += 1
    torch.save(state, judge)
    score(*options)
    assert len(calls) == 6


def test_an_edit_of_the_code_of_scores_makes_them_anew(folder, score, monkeypatch):
    names = {path.relative_to(ROOT).as_posix() for path in store.FILES}
    assert {"common.py", "scoring/metrics.py", "scoring/scores.py"} < names
    assert store.CODE == store.digest(*store.FILES)
    score(folder / "one")
    calls = count_calls(monkeypatch, SNAPSHOT)
    score(folder / "one")
    assert calls == []
    monkeypatch.setattr(real_side, "CODE", "that of edited files")
    score(folder / "one")
    assert len(calls) == 3


def test_what_another_process_has_kept_meanwhile_stays(tmp_path):
    path = tmp_path / "cache.json"
    store.cached(path, "ours", lambda: store.cached(path, "theirs", lambda: 2))
    assert json.loads(path.read_text()) == {"theirs": 2, "ours": 2}


def test_a_stopped_command_goes_on_from_what_it_has_scored(folder, score, monkeypatch, capsys):
    calls = []
    score_snapshot = scores.score_snapshot

    def stopped(path, *arguments):
        if path.name == "task_3.pt" and len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(path.name)
        return score_snapshot(path, *arguments)

    monkeypatch.setattr(scores, "score_snapshot", stopped)
    assert score(folder / "one", "--quick") == "stopped; the same command continues"
    assert capsys.readouterr().out == "" and not (folder / "one" / "eval.json").exists()
    calls.append("stopped")
    assert score(folder / "one", "--quick") is None
    assert calls == ["task_1.pt", "task_2.pt", "stopped", "task_3.pt"]


def test_a_damaged_cache_is_made_anew(folder, score, capsys):
    score(folder / "one")
    first = capsys.readouterr().out
    (folder / "one" / "eval_cache.json").write_text('{"half')
    assert score(folder / "one") is None and capsys.readouterr().out == first


# Other data, and places that cannot be written


@pytest.fixture
def learned(finished, tiny_data, tmp_path):
    """A finished run and a copy of its data: (folder of both, arguments of eval.py)."""
    shutil.copytree(finished("joint"), tmp_path / "run")
    shutil.copytree(tiny_data, tmp_path / "data", ignore=shutil.ignore_patterns("judge*", "eval*"))
    return tmp_path, [tmp_path / "run", "--data-dir", tmp_path / "data"]


def test_other_images_than_were_learned_are_not_scored_unless_on_purpose(learned, score, capsys):
    folder, options = learned
    (folder / "run" / "eval.json").write_text("the good one")
    path = folder / "data" / "train-images-idx3-ubyte"
    changed = bytearray(path.read_bytes())
    changed[16:1000] = bytes(984)
    path.write_bytes(changed)
    message = score(*options)
    assert "other data than was learned: training images" in message and "--other-data" in message
    assert is_error_line(message)
    assert (folder / "run" / "eval.json").read_text() == "the good one"
    assert not list((folder / "data").glob("judge*")) and capsys.readouterr().out == ""
    assert score(*options, "--other-data") is None
    arguments = json.loads((folder / "run" / "args.json").read_text())
    learned_images = f"training images {arguments['data']} learned"
    assert learned_images in scores_of(folder / "run")["other_data"]
    assert "Scored on other data than was learned (training images" in capsys.readouterr().out


@pytest.mark.parametrize("names", [["aaa", "0", "1", "2"], ["1", "0", "2"], ["0", "1"]])
def test_other_categories_than_were_learned_are_never_scored(
    learned, names, score, monkeypatch, capsys
):
    folder, options = learned
    load = real_side.load_dataset
    monkeypatch.setattr(real_side, "load_dataset", lambda **data: (*load(**data)[:2], names))
    for other in ([], ["--other-data"]):
        message = score(*options, *other)
        assert f"0, 1, 2 were learned, {', '.join(names)} are there; restore" in message
        assert is_error_line(message)
    assert not (folder / "run" / "eval.json").exists() and capsys.readouterr().out == ""


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_places_that_cannot_be_written_are_told_before_long_work(learned, score, monkeypatch):
    folder, options = learned
    calls = count_calls(monkeypatch, SNAPSHOT, *TRAINING)
    (folder / "file").write_text("")
    message = score(*options, "--cache-dir", folder / "file" / "cache")
    assert f"{folder / 'file' / 'cache'} cannot be written (Not a directory)" in message
    assert "choose another place with --cache-dir" in message and is_error_line(message)
    monkeypatch.setattr(store.tempfile, "TemporaryFile", full_disk)
    message = score(*options)
    assert f"{folder / 'run'} cannot be written (No space left on device)" in message
    assert calls == [] and not (folder / "run" / "eval.json").exists()


def test_a_disk_that_fills_while_scoring_loses_no_table_and_no_file(
    learned, score, monkeypatch, capsys
):
    folder, options = learned
    assert score(*options) is None
    table = capsys.readouterr().out
    before = contents(folder / "run")
    (folder / "run" / "eval_cache.json").unlink()
    before.pop(Path("eval_cache.json"))
    monkeypatch.setattr(os, "replace", full_disk)
    message = score(*options)
    assert f"{folder / 'run' / 'eval.json'} cannot be written (No space left on device)" in message
    told = capsys.readouterr()
    assert told.out == table and "eval_cache.json cannot be written" in told.err
    assert is_error_line(message) and contents(folder / "run") == before


# What is found, and what is written


def test_a_folder_of_links_to_runs_is_followed_and_a_run_counts_once(folder, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "one").symlink_to(folder / "one")
    (links / "loop").symlink_to(links)
    assert find_runs([links]) == [links / "one"]
    assert find_runs([folder, links]) == [folder / "one", folder / "two"]


def test_eval_scores_every_run_below_a_folder(folder, tiny_data, score, capsys):
    done = run_script("eval", folder, "--samples", "64", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "| sft | 1 |" in done.stdout and "| joint | 1 |" in done.stdout
    # Standard output is the table only, for a file
    assert all(line[:1] in ("", "|", "*", "A") for line in done.stdout.splitlines())
    assert "of 60 real test images right" in done.stderr and list(tiny_data.glob("judge-idx-*.pt"))

    results = scores_of(folder / "one")
    names = "average_accuracy accuracy forgetting backward_transfer fid reverse_accuracy"
    names += " reverse_accuracy_ceiling diversity intermediate categories other_data judge"
    names += " judge_accuracy data samples statistics minutes arguments learned"
    assert results.keys() == set(names.split())
    fids = [results["fid"][split]["matrix"] for split in ("test", "train")]
    for matrix in (results["accuracy"], *fids):
        for task, row in enumerate(matrix):
            assert [value is None for value in row] == [c > task for c in range(3)]
            assert all(value >= 0 for value in row[: task + 1])
    for task, row in enumerate(results["accuracy"]):
        seen = row[: task + 1]
        assert max(seen) <= 100
        assert results["average_accuracy"][task] == pytest.approx(sum(seen) / len(seen))
    assert results["forgetting"] == pytest.approx(metrics.forgetting(results["accuracy"]))
    assert 0 <= results["reverse_accuracy"] <= 100
    assert results["fid"]["samples"] == 60 and results["intermediate"] == []
    arguments = json.loads((folder / "one" / "args.json").read_text())
    kept = {k: v for k, v in arguments.items() if k not in IGNORED or k in ("hardware", "code")}
    assert results["arguments"] == kept
    assert f"Trained on: {arguments['hardware']}." in tables.markdown([results])

    of_joint = scores_of(folder / "two")
    assert of_joint["accuracy"][:2] == of_joint["average_accuracy"][:2] == [None, None]
    assert len(of_joint["accuracy"][2]) == 3
    assert of_joint["forgetting"] is of_joint["backward_transfer"] is None

    assert score(folder, "--csv") is None
    one, two = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert float(one["reverse_accuracy"]) == results["reverse_accuracy"]
    assert two["method"] == "joint"


def test_quick_scores_have_fewer_images_and_no_reverse_accuracy(folder, score, monkeypatch, capsys):
    run, asked = folder / "two", []
    score_run = eval.score_run

    def asked_first(run, reference, **options):
        asked.append((options["samples"], reference.fid_samples))
        return score_run(run, reference, **options)

    monkeypatch.setattr(eval, "score_run", asked_first)
    call_main(eval, run, "--device", "cpu", "--quick")
    result = scores_of(run)
    assert result["reverse_accuracy"] is result["reverse_accuracy_ceiling"] is None
    assert result["samples"] == 640 and result["fid"]["floor"]["test"] > 0
    told = capsys.readouterr()
    assert "Reverse accuracy was not measured: eval.py --quick leaves it out." in told.out
    assert "reverse accuracy" not in told.err

    # Options that are given hold with it, and without it there are more images
    score(run, "--quick")
    assert asked == [(640, 2000), (64, 2000)]
    monkeypatch.setattr(eval, "print_scores", asked.append)
    call_main(eval, folder)
    assert (asked[2].samples, asked[2].fid_samples, asked[2].quick) == (6400, 10000, False)


def test_the_film_holds_the_samples_of_the_run_and_what_the_judge_sees(folder, tiny_data, score):
    score(folder, "--quick")
    reference = real_side.Reference(dict(dataset="idx", data_dir=tiny_data))
    reference.open_judge()
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


def test_damaged_samples_are_named_and_the_scores_are_written(folder, score, capsys):
    (folder / "two" / "samples" / "task_3_step_000001.png").write_bytes(b"no picture")
    message = score(folder / "two", "--quick")
    assert f"{folder / 'two' / 'samples'} (UnidentifiedImageError" in message
    assert "| joint | 1 |" in capsys.readouterr().out and (folder / "two" / "eval.json").exists()


def test_snapshots_inside_tasks_are_scored_when_asked_for(folder, score):
    score(folder / "one", "--intermediate-samples", "64")
    results = scores_of(folder / "one")
    moments = [(line["task"], line["step"]) for line in results["intermediate"]]
    assert moments == [(task, step) for task in (1, 2, 3) for step in (1, 2, 4)]
    assert [line["accuracy"] for line in results["intermediate"][2::3]] == results["accuracy"]
    for line in results["intermediate"]:
        for name in ("accuracy", "fid_test", "fid_train"):
            assert [value is None for value in line[name]] == [c >= line["task"] for c in range(3)]


# What is wrong with a run


def test_eval_names_what_it_cannot_read_and_scores_the_rest(folder, score, capsys):
    snapshot = folder / "one" / "task_2.pt"
    snapshot.write_bytes(snapshot.read_bytes()[:1000])
    (folder / "three").mkdir()
    (folder / "three" / "args.json").write_text("{")
    message = score(folder)
    assert is_error_line(message) and str(snapshot) in message
    assert f"{folder / 'three'} (not the arguments of a method script" in message
    assert "| sft | 1 |" in capsys.readouterr().out
    matrix = scores_of(folder / "one")["accuracy"]
    assert matrix[1] is None and matrix[0][0] is not None and None not in matrix[2]


def test_a_damaged_last_snapshot_is_named_and_its_run_stands_in_no_table(folder, score, capsys):
    (folder / "one" / "task_3.pt").write_bytes(b"damaged")
    assert str(folder / "one" / "task_3.pt") in score(folder)
    output = capsys.readouterr().out
    assert "| joint | 1 |" in output and "sft" not in output


def test_a_missing_snapshot_is_named_and_leaves_forgetting_open(folder, score):
    (folder / "one" / "task_2.pt").unlink()
    message = score(folder)
    assert f"{folder / 'one' / 'task_2.pt'} (missing)" in message and "two" not in message
    assert scores_of(folder / "one")["forgetting"] is None


def test_a_run_of_which_only_the_last_generator_is_left_is_not_joint_training(folder, score):
    for task in (1, 2):
        (folder / "one" / f"task_{task}.pt").unlink()
    message = score(folder)
    assert f"{folder / 'one' / 'task_1.pt'} (missing)" in message and "two" not in message


def test_a_half_written_line_of_metrics_and_foreign_arguments_stop_nothing(folder, score, capsys):
    with open(folder / "one" / "metrics.jsonl", "a") as log:
        log.write('{"task": 3, "st')
    shutil.copytree(folder / "one", folder / "damaged")
    (folder / "damaged" / "metrics.jsonl").write_text("damaged\n")
    arguments = json.loads((folder / "one" / "args.json").read_text())
    foreign = {
        "no_options": {"method": "sft"},
        "no_tasks": arguments | {"num_tasks": None},
        "a_list": [1],
        "other_data": arguments | {"dataset": "moons"},
        "no_data_dir": arguments | {"data_dir": None},
        "nowhere": arguments | {"data_dir": str(folder / "not_there")},
    }
    for name, changed in foreign.items():
        (folder / name).mkdir()
        (folder / name / "args.json").write_text(json.dumps(changed))
    message = score(folder)
    assert is_error_line(message)
    assert all(f"{folder / name} (" in message for name in ("damaged", *foreign))
    assert not any(f"{folder / name} (" in message for name in ("one", "two"))
    output = capsys.readouterr().out
    assert "| sft | 1 |" in output and "| joint | 1 |" in output


def test_a_run_that_is_not_finished_is_an_error_line_and_the_others_make_the_table(
    folder, score, capsys, monkeypatch
):
    shutil.copytree(folder / "one", folder / "begun")
    for path in [*(folder / "begun").rglob("task_*.pt"), folder / "begun" / "metrics.jsonl"]:
        path.unlink()
    (folder / "one" / "task_3.pt").unlink()
    log = (folder / "one" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "one" / "metrics.jsonl").write_text("".join(log[:10]))
    # It is said before long work, and once more at the end
    first = []
    train = judges.train_classifier

    def told_first(*arguments):
        first.append(capsys.readouterr().err)
        return train(*arguments)

    monkeypatch.setattr(judges, "train_classifier", told_first)
    message = score(folder, "--cache-dir", folder / "cache")
    output = capsys.readouterr().out
    assert is_error_line(message)
    for told in (first[0], message):
        assert f"{folder / 'one'} is not finished (task 3 of 3, step 2); run its command" in told
        assert f"{folder / 'begun'} is not finished (nothing logged yet)" in told
    assert "| joint | 1 |" in output and "sft" not in output
    known = scores_of(folder / "one")  # as far as it is
    assert known["accuracy"][1] and known["accuracy"][2] is None
    assert "was not finished" in score(folder / "one" / "eval.json")


# What is wrong with a command


def test_paths_without_runs_end_in_one_line_and_nothing_is_scored(tmp_path, score):
    message = score(tmp_path, tmp_path / "won")
    assert message.startswith(f"error: not found: {tmp_path / 'won'}; expected runs")
    other = score(tmp_path)
    assert other.startswith(f"error: no run (a folder with args.json) in {tmp_path}")
    assert is_error_line(message) and is_error_line(other)


def test_too_few_images_for_fid_are_an_error_line(folder, score):
    message = score(folder, "--fid-samples", "5")
    assert "--fid-samples is 5, expected at least 2 for each of the 3 categories" in message
    assert is_error_line(message)


@pytest.mark.parametrize(
    "option, found",
    [
        ("--samples", "100, expected a multiple of 64"),
        ("--intermediate-samples", "100, expected a multiple of 64"),
        ("--inception-weights", "100, expected torch-fidelity's file"),
    ],
)
def test_options_that_cannot_work_are_refused(tmp_path, score, capsys, option, found):
    assert score(tmp_path, option, "100") == 2
    assert f"{option} is {found}" in capsys.readouterr().err
