"""The tables over runs, and what may stand in one of them."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT, call_main

import eval
from scoring import tables


def test_mean_and_sample_standard_deviation():
    assert tables.mean_std([1.0, 3.0]) == "2.00 ± 1.41"
    assert tables.mean_std([1.0, 3.0, None]) == "2.00 ± 1.41 (n = 2)"
    assert tables.mean_std([1.0, None], 1) == "1.0 (n = 1)"
    assert tables.mean_std([1.0], 1) == "1.0"
    assert tables.mean_std([None]) == "–"


def result(method, accuracy, features="judge", **changes):
    """An eval.json of five tasks. changes: of the run's arguments."""
    arguments = {
        "dataset": "mnist",
        "num_tasks": 5,
        "categories_per_task": 1,
        "iters": 400,
        "batch_size": 64,
        "learning_rate": 5e-4,
        "width": 32,
        "seed": 1,
        "method": method,
        "lambda_gp": 10.0,
        "categories": "",
        "images_per_category": None,
        "run_dir": f"runs/{len(changes)}",
        "data_dir": "data",
        "hardware": "a CPU",
    }
    matrix = [[50.0] * (t + 1) + [None] * (4 - t) for t in range(4)] + [[accuracy] * 5]
    fids = {"all": accuracy / 10, "per_category": [accuracy / 5] * 5, "matrix": matrix}
    fid = {
        "test": fids,
        "train": fids,
        "floor": {"test": 0.5, "train": 0.25},
        "features": features,
        "samples": 5000,
    }
    return {
        "arguments": arguments | changes,
        "categories": list("0123456789"),
        "accuracy": matrix,
        "average_accuracy": [50.0] * 4 + [accuracy],
        "learned": 58.0,
        "forgetting": 1.0,
        "backward_transfer": -1.0,
        "fid": fid,
        "reverse_accuracy": accuracy - 1,
        "reverse_accuracy_ceiling": 99.5,
        "diversity": [0.5] * 5 + [None],
        "judge": "here.pt",
        "judge_accuracy": 99.0,
        "data": "0123abcd",
        "other_data": None,
        "samples": 6400,
        "statistics": "batch",
        "minutes": 2.0,
    }


def rows(results):
    lines = [line for line in tables.markdown(results).splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line[2:5] not in ("met", "---")
    ]


def csv_rows(results):
    return list(csv.DictReader(io.StringIO(tables.as_csv(results))))


def test_table_puts_runs_that_differ_by_seed_alone_in_one_row_with_the_papers_number():
    results = [
        result("mergan_ra", 80.0),
        result("mergan_ra", 90.0, seed=2, run_dir="b"),
    ]
    (row,) = rows(results)
    assert row[:5] == ["mergan_ra", "2", "85.00 ± 7.07", "98.19", "8.50 ± 0.71"]
    assert row[5:11] == [
        "8.50 ± 0.71",
        "84.00 ± 7.07",
        "58.00 ± 0.00",
        "1.00 ± 0.00",
        "-1.00 ± 0.00",
        "0.50 ± 0.00",
    ]
    assert row[11:] == ["85.0 ± 7.1"] * 5 + ["2.0 ± 0.0"]
    text = tables.markdown(results)
    assert (
        "FID (judge) has 5000 images a side" in text
        and "The judge, here.pt, gets 99.00 % of real" in text
    )
    assert "real training images would get 0.50 (test) and 0.25 (train)" in text
    assert "Reverse accuracy of real training images: 99.50 %" in text


def test_a_table_of_ten_tasks_has_the_accuracy_after_five_of_them_too():
    ten = result("mergan_ra", 80.0, num_tasks=10)
    ten["average_accuracy"], ten["accuracy"] = [10.0 + t for t in range(10)], [[80.0] * 10] * 10
    (row,) = rows([ten])
    assert row[:6] == ["mergan_ra", "1", "14.00", "98.19", "19.00", "97.01"]
    head = next(line for line in tables.markdown([ten]).splitlines() if line.startswith("| method"))
    assert head.startswith(
        "| method | n | after 5 tasks % | paper | accuracy % | paper | FID (judge) test |"
    )
    assert len(row) == head.count("|") - 1


def test_runs_on_several_machines_share_a_row_and_name_all():
    gpu, cpu = {"device": "cuda", "hardware": "H100"}, {"device": "cpu", "hardware": "AVX512 CPU"}
    runs = [result("sft", 20.0, **gpu), result("sft", 21.0, seed=2, **cpu)]
    text = tables.markdown(runs + [result("joint", 99.0, **gpu)])
    assert "Trained on: AVX512 CPU or H100." in text and "| sft | 2 |" in text
    assert "device" not in text


def test_options_that_all_rows_have_or_all_of_a_method_stand_above_the_table():
    """Not those that are off, and not those that tell rows apart."""
    common = {"amp": "bf16", "lambda_cls": 0.0, "crop": False, "image_size": None}
    runs = [
        result("sft", 20.0, **common),
        result("ewc", 30.0, **common, lambda_ewc=9.0),
        result("ewc", 31.0, **common, lambda_ewc=9.0, seed=2),
    ]
    above = tables.markdown(runs).split("| method")[0]
    assert "amp bf16, lambda cls 0.0," in above and "ewc has lambda ewc 9.0." in above
    assert not any(word in above for word in ("crop", "image size", "sft has"))
    assert "lambda ewc 9.0" in tables.markdown(runs[2:]).split("| method")[0]
    runs[1]["arguments"] |= {"amp": "off", "lambda_ewc": 3.0}
    above = tables.markdown(runs).split("| method")[0]
    assert "amp" not in above.replace("sft has amp bf16", "") and "lambda ewc" not in above


def test_seeds_that_were_learned_by_different_code_are_told():
    runs = [result("ewc", 30.0, seed=seed, code=code) for seed, code in enumerate("aab")]
    told = "Runs of ewc had different code: a or b."
    assert told in tables.markdown(runs) and told not in tables.markdown(runs[:2])
    assert "| ewc | 3 |" in tables.markdown(runs)
    assert told in tables.markdown([result("ewc", 30.0, code="a, then b")])


def test_fid_of_fewer_images_than_features_is_told():
    told = "These are fewer images than features, so FID says little."
    few = result("sft", 20.0, "inception")
    few["fid"]["samples"] = 2047
    assert told in tables.markdown([few])
    assert told not in tables.markdown([result("sft", 20.0, "inception")])


@pytest.mark.parametrize(
    "table", sorted((ROOT / "results").glob("*.md")), ids=lambda path: path.stem
)
def test_committed_tables_are_those_of_the_committed_scores_byte_for_byte(table, capsys):
    assert call_main(eval, *sorted(table.with_suffix("").glob("*.json"))) is None
    assert capsys.readouterr().out == table.read_text()


def test_scores_that_are_no_eval_json_are_named_and_the_others_make_the_table(tmp_path, capsys):
    files = {"a": json.dumps(result("sft", 20.0)), "b": '{"accuracy": []}', "c": "[1, 2", "d": "[]"}
    for letter, text in files.items():
        (tmp_path / f"{letter}.json").write_text(text)
    message = call_main(eval, *(tmp_path / f"{letter}.json" for letter in "abcde"))
    named = [letter for letter in "abcde" if f"{letter}.json (" in message]
    assert named == ["b", "c", "d", "e"]
    assert "| sft | 1 | 20.00 |" in capsys.readouterr().out


def test_one_run_never_counts_twice(tmp_path, capsys):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(result("sft", 20.0)))
    message = call_main(eval, tmp_path / "a.json", tmp_path / "b.json")
    assert message.endswith(
        "two runs of sft with the same options and seed 1; name only one of them"
    )
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "change",
    [
        dict(arguments=None),
        dict(accuracy=[[50.0]] * 4 + [[20.0] * 4]),
        dict(fid=None),
        dict(diversity=0.5),
        dict(forgetting="much"),
        dict(forgetting=float("nan")),
        dict(categories=[0, 1, 2, 3, 4]),
    ],
    ids=lambda change: "-".join(change),
)
def test_damaged_scores_are_named_and_the_others_make_the_table(change, tmp_path, capsys):
    (tmp_path / "good.json").write_text(json.dumps(result("sft", 20.0)))
    (tmp_path / "bad.json").write_text(json.dumps(result("joint", 99.0) | change))
    message = call_main(eval, tmp_path / "good.json", tmp_path / "bad.json")
    assert message.startswith(f"error: not scored: {tmp_path / 'bad.json'} (")
    output = capsys.readouterr().out
    assert "| sft | 1 | 20.00 |" in output and "joint" not in output


def test_an_option_of_all_methods_is_named_where_methods_differ_in_it():
    ours, theirs = result("sft", 20.0, amp="off"), result("mergan_ra", 90.0, amp="bf16")
    theirs["arguments"]["lambda_ra"] = 1e-3
    assert [row[0] for row in rows([ours, theirs])] == ["sft amp=off", "mergan_ra amp=bf16"]


def test_table_never_mixes_runs_of_different_arguments_and_names_what_differs():
    table = rows([result("sft", 20.0), result("sft", 30.0, lambda_gp=1.0), result("joint", 95.0)])
    assert [row[:3] for row in table] == [
        ["joint lambda_gp=10.0", "1", "95.00"],
        ["sft lambda_gp=10.0", "1", "20.00"],
        ["sft lambda_gp=1.0", "1", "30.00"],
    ]


def counted(samples, seed):
    """Scores whose FID has so many images a side."""
    scores = result("sft", 30.0, seed=seed)
    scores["fid"]["samples"] = samples
    return scores


@pytest.mark.parametrize(
    "other, told",
    [
        (result("sft", 30.0, iters=800), ["iters 400", "iters 800"]),
        (result("sft", 30.0, learning_rate=1e-4), ["learning rate 0.0001"]),
        (result("sft", 30.0, width=64), ["width 64"]),
        (result("sft", 30.0, dataset="idx"), ["dataset idx"]),
        (
            result("sft", 30.0, categories_per_task=2) | dict(categories=list("01234")),
            ["categories per task 2"],
        ),
        (
            result("sft", 30.0, features="inception", seed=2),
            ["| FID (judge) test |", "| FID (Inception) test |"],
        ),
        (counted(2000, seed=2), ["5000 images a side", "2000 images a side"]),
        (
            result("sft", 30.0, seed=2) | dict(data="ffffffff"),
            ["real data and judge 0123abcd", "real data and judge ffffffff"],
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_runs_that_do_not_compare_have_tables_of_their_own(other, told):
    text = tables.markdown([result("sft", 20.0), other])
    assert text.count("| method |") == 2 and all(part in text for part in told)
    assert [row[1:3] for row in rows([result("sft", 20.0), other])] == [
        ["1", "20.00"],
        ["1", "30.00"],
    ]


def test_papers_number_is_shown_for_its_own_number_of_tasks_only():
    assert rows([result("sft", 20.0)])[0][3] == "19.87"
    assert "paper" not in tables.markdown([result("sft", 20.0, dataset="idx")])
    assert rows([result("sft", 20.0, categories="9,8,7,6,5")])[0][3] == "–"
    assert rows([result("sft", 20.0, images_per_category=10)])[0][3] == "–"


def test_csv_has_a_row_a_run_and_leaves_options_of_other_methods_empty():
    sft, ra = csv_rows([result("sft", 20.0), result("mergan_ra", 90.0, lambda_ra=1e-3)])
    assert (sft["method"], sft["accuracy"], sft["lambda_ra"]) == ("sft", "20.0", "")
    assert (ra["lambda_ra"], ra["fid_test"], ra["fid_features"]) == ("0.001", "9.0", "judge")
    assert (ra["fid_samples"], ra["reverse_accuracy"]) == ("5000", "89.0")
    assert (ra["accuracy_4"], ra["fid_train_0"], ra["diversity"]) == ("90.0", "18.0", "0.5")
    # Of tasks: what was learned, and the FIDs of the fixture, which are 50 and then 90
    assert (ra["learned"], ra["forgetting"], ra["backward_transfer"]) == ("58.0", "1.0", "-1.0")
    assert (ra["afq_test"], ra["fr_train"]) == ("90.0", "40.0")
    assert float(ra["aiq_test"]) == pytest.approx((10 * 50 + 5 * 90) / 15)


def of_two_categories_a_task(method):
    """Scores of a run that learned all five categories in three tasks."""
    scores = result(method, 90.0, num_tasks=3, categories_per_task=2)
    matrix = [
        [100.0, 80.0, None, None, None],
        [50.0, 60.0, 70.0, 90.0, None],
        [90.0, 80.0, 70.0, 60.0, 50.0],
    ]
    for split in ("test", "train"):
        scores["fid"][split] = {"all": 1.0, "per_category": matrix[2], "matrix": matrix}
    scores |= {"accuracy": matrix, "average_accuracy": [90.0, 67.5, 70.0]}
    return scores | {"categories": list("abcde")}


def test_tasks_of_several_categories_have_a_column_for_each_category_and_no_paper():
    several = of_two_categories_a_task("mergan_ra")
    (row,) = rows([several])
    text = tables.markdown([several])
    assert "num tasks 3, iters 400" in text and "categories per task 2**" in text
    assert "| a | b | c | d | e | minutes |" in text
    assert row[:3] == ["mergan_ra", "1", "70.00"] and "paper" not in text
    assert row[10:] == ["90.0", "80.0", "70.0", "60.0", "50.0", "2.0"]
    (line,) = csv_rows([several])
    assert (line["categories_per_task"], line["accuracy_4"]) == ("2", "50.0")
    assert line["category_names"] == "a, b, c, d, e"
    assert float(line["afq_test"]) == pytest.approx((85 + 65 + 50) / 3)
    assert float(line["fr_test"]) == pytest.approx(((85 - 90) + (65 - 80)) / 2)


def test_methods_stand_in_the_papers_order_and_others_behind_by_name():
    methods = ["b", "sft", "a", "mergan_ra", "joint"]
    table = rows([result(method, 20.0) for method in methods])
    assert [row[0] for row in table] == ["joint", "sft", "mergan_ra", "a", "b"]


def test_columns_have_the_names_of_categories_and_tables_of_different_names_are_apart():
    scenes = result("sft", 20.0) | dict(categories=["a", "b", "c", "d", "e", "f"])
    text = tables.markdown([scenes, result("sft", 30.0, seed=2)])
    assert text.count("| method |") == 2 and "| a | b | c | d | e | minutes |" in text
    assert "columns a, b, … are the categories" in text and "| 0 | 1 | 2 | 3 | 4 |" in text


def test_names_of_categories_break_no_table():
    scenes = result("sft", 20.0, categories="a|b,c") | dict(categories=["a|b", "c\nd", *"efg"])
    other = result("sft", 20.0, categories="a") | dict(categories=scenes["categories"])
    lines = [line for line in tables.markdown([scenes, other]).splitlines() if line[:1] == "|"]
    assert len(lines) == 4 and "a\\|b | c\ufffdd | e" in lines[0]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_a_row_has_one_name_in_tables_of_more_and_of_fewer_tasks():
    fewer = result("ewc", 70.0, num_tasks=4, lambda_ewc=9.0)
    for scores in ("accuracy", "average_accuracy"):
        fewer[scores] = fewer[scores][:3] + fewer[scores][-1:]
    text = tables.markdown([fewer, result("ewc", 80.0, lambda_ewc=27.0)])
    assert "| ewc lambda_ewc=9.0 | 1 | 70.00 |" in text
    assert "| ewc lambda_ewc=27.0 | 1 | 80.00 |" in text


def test_an_option_that_is_null_is_not_one_that_is_not_there():
    assert tables.labels_of([{"method": "a", "x": None}, {"method": "a"}]) == ["a x=None", "a"]


def test_a_reader_of_the_table_may_have_seen_enough(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(result("sft", 20.0)))
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, ROOT / "eval.py", tmp_path / "a.json"]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.stderr == b""
