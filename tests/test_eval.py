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
from conftest import ROOT, contents, run_script, write_bars
from torch import nn

import common
import eval
from common import Generator, Judge, make_generator, normalise
from datafiles.checks import LEAST
from datafiles.idx import write_idx
from scoring import cache, drawing
from scoring import judge as judges
from scoring import metrics
from scoring import reference as real_side
from scoring import scores, tables
from scoring.drawing import SavedGenerator
from scoring.inception import inception
from scoring.reference import open_reference
from scoring.runs import ELSEWHERE, Run, command, complete, find_runs

# The means and the tables

MATRIX = [[95.0, None, None], [90.0, 80.0, None], [60.0, 85.0, 99.0]]


def test_forgetting_is_the_best_before_minus_the_final_over_all_but_the_newest_category():
    assert metrics.forgetting(MATRIX) == pytest.approx(((95 - 60) + (80 - 85)) / 2)


def test_backward_transfer_is_the_final_minus_the_first_over_all_but_the_newest_category():
    assert metrics.backward_transfer(MATRIX) == pytest.approx(((60 - 95) + (85 - 80)) / 2)


@pytest.mark.parametrize("measure", [metrics.forgetting, metrics.backward_transfer])
def test_both_need_two_rows_and_none_missing(measure):
    for matrix in (
        [[90.0, None]],
        [None, None, [90.0, 80.0, 70.0]],
        [[90.0, None, None], None, [60.0, 85.0, 99.0]],
    ):
        assert measure(matrix) is None


def test_mean_and_sample_standard_deviation():
    assert tables.mean_std([1.0, 3.0, None]) == "2.00 ± 1.41"
    assert tables.mean_std([1.0, None], 1) == "1.0"
    assert tables.mean_std([None]) == "–"


def result(method, accuracy, features="judge", **changes):
    arguments = dict(
        dataset="mnist", num_tasks=5, iters=400, batch_size=64, learning_rate=5e-4, width=32, seed=1
    )
    arguments |= dict(
        method=method,
        lambda_gp=10.0,
        run_dir=f"runs/{len(changes)}",
        data_dir="data",
        overwrite=False,
    )
    matrix = [[50.0] * (t + 1) + [None] * (4 - t) for t in range(4)] + [[accuracy] * 5]
    fids = dict(
        all=accuracy / 10, per_category=[accuracy / 5] * 5, all_by_task=[1.0] * 5, matrix=matrix
    )
    fid = dict(
        test=fids,
        train=fids,
        floor=dict(test=0.5, train=0.25),
        features=features,
        samples=5000,
        samples_per_category=[1000] * 5,
    )
    averages = [50.0] * 4 + [accuracy]
    return dict(
        arguments=arguments | changes,
        accuracy=matrix,
        average_accuracy=averages,
        forgetting=1.0,
        backward_transfer=-1.0,
        fid=fid,
        reverse_accuracy=accuracy - 1,
        reverse_accuracy_ceiling=99.5,
        diversity=[0.5] * 5 + [None],
        judge_accuracy=99.0,
        data="0123abcd",
        samples=6400,
        statistics="batch",
        minutes=2.0,
    )


def rows(results):
    lines = [line for line in tables.markdown(results).splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line[2:5] not in ("met", "---")
    ]


def test_table_puts_runs_that_differ_by_seed_alone_in_one_row_with_the_papers_number():
    results = [
        result("mergan_ra", 80.0),
        result("mergan_ra", 90.0, seed=2, run_dir="b", overwrite=True),
    ]
    (row,) = rows(results)
    assert row[:5] == ["mergan_ra", "2", "85.00 ± 7.07", "98.19", "8.50 ± 0.71"]
    assert row[5:10] == [
        "8.50 ± 0.71",
        "84.00 ± 7.07",
        "1.00 ± 0.00",
        "-1.00 ± 0.00",
        "0.50 ± 0.00",
    ]
    assert row[10:] == ["85.0 ± 7.1"] * 5 + ["2.0 ± 0.0"]
    text = tables.markdown(results)
    for part in (
        "judge features, 5000 images a side",
        "FID 0.50 (test) and 0.25 (train)",
        "99.50 %",
        "99.00 % of real",
    ):
        assert part in text


def test_a_table_of_ten_tasks_has_the_accuracy_after_five_of_them_too():
    ten = result("mergan_ra", 80.0, num_tasks=10)
    ten["average_accuracy"], ten["accuracy"] = [10.0 + t for t in range(10)], [[80.0] * 10] * 10
    (row,) = rows([ten])
    assert row[:6] == ["mergan_ra", "1", "14.00", "98.19", "19.00", "97.01"]
    head = next(line for line in tables.markdown([ten]).splitlines() if line.startswith("| method"))
    assert head.startswith(
        "| method | n | after 5 tasks % | paper | accuracy % | paper | FID test |"
    )
    assert len(row) == head.count("|") - 1


def test_the_table_names_the_hardware_that_runs_were_trained_on_where_it_is_known():
    runs = [
        result("sft", 20.0, hardware="H100"),
        result("sft", 21.0, seed=2, hardware="H200"),
        result("joint", 99.0),
    ]
    text = tables.markdown(runs)
    assert "Trained on: H100 or H200." in text and "| sft | 2 |" in text
    assert "Trained on" not in tables.markdown(runs[2:])


@pytest.mark.parametrize(
    "name, scores",
    [
        ("mnist", "mnist_cpu/*.json"),
        ("mnist_small", "mnist_small/*.json"),
        ("mnist_ten_small", "mnist_ten_small/*.json"),
        ("mnist_before", "mnist_before/*.json"),
        ("scenes_cpu", "scenes_cpu/*.json"),
        ("ablation_cpu", "ablation_cpu/*.json"),
    ],
)
def test_committed_tables_are_those_of_the_committed_scores_byte_for_byte(
    name, scores, call_main, capsys
):
    assert call_main(eval, *sorted((ROOT / "results").glob(scores))) is None
    assert capsys.readouterr().out == (ROOT / "results" / f"{name}.md").read_text()


def test_scores_that_are_no_eval_json_are_named_and_the_others_make_the_table(
    tmp_path, call_main, capsys
):
    files = {"a": json.dumps(result("sft", 20.0)), "b": '{"accuracy": []}', "c": "[1, 2", "d": "[]"}
    for letter, text in files.items():
        (tmp_path / f"{letter}.json").write_text(text)
    message = call_main(eval, *(tmp_path / f"{letter}.json" for letter in "abcde"))
    assert message.count("Error: ") == 4 and not "a.json" in message
    assert "| sft | 1 | 20.00 |" in capsys.readouterr().out


def test_one_run_never_counts_twice(tmp_path, call_main, capsys):
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
def test_damaged_scores_are_named_and_the_others_make_the_table(
    change, tmp_path, call_main, capsys
):
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


@pytest.mark.parametrize(
    "name, value", [("iters", 800), ("learning_rate", 1e-4), ("width", 64), ("dataset", "idx")]
)
def test_other_settings_have_a_table_of_their_own(name, value):
    table = tables.markdown([result("sft", 20.0), result("sft", 30.0, **{name: value})])
    assert table.count("| method |") == 2 and f"{name.replace('_', ' ')} {value}" in table
    assert [
        row[1:3] for row in rows([result("sft", 20.0), result("sft", 30.0, **{name: value})])
    ] == [
        ["1", "20.00"],
        ["1", "30.00"],
    ]


def test_fids_of_different_features_are_never_in_one_column():
    table = tables.markdown(
        [result("sft", 20.0), result("sft", 30.0, features="inception", seed=2)]
    )
    assert (
        table.count("| method |") == 2
        and "FID of judge features" in table
        and "FID of inception features" in table
    )


def test_fids_of_different_counts_are_never_in_one_column():
    other = result("sft", 30.0, seed=2)
    other["fid"]["samples"] = 2000
    text = tables.markdown([result("sft", 20.0), other])
    assert text.count("| method |") == 2
    assert "5000 images a side" in text and "2000 images a side" in text


def test_runs_on_other_data_are_never_in_one_row():
    other = result("sft", 30.0, seed=2) | dict(data="ffffffff")
    assert [row[1:3] for row in rows([result("sft", 20.0), other])] == [
        ["1", "20.00"],
        ["1", "30.00"],
    ]
    text = tables.markdown([result("sft", 20.0), other])
    assert "real data and judge 0123abcd" in text and "real data and judge ffffffff" in text


def test_n_and_minutes_are_of_finished_runs():
    unfinished = result("sft", 30.0, seed=2) | dict(
        accuracy=[[50.0]] + [None] * 4, average_accuracy=[50.0] + [None] * 4
    )
    unfinished["minutes"] = 50.0
    (row,) = rows([result("sft", 20.0), unfinished])
    assert (row[1:3], row[-1]) == (["1", "20.00"], "2.0")
    assert [row[1:3] for row in rows([unfinished])] == [["0", "–"]]


def test_papers_number_is_shown_for_its_own_number_of_tasks_only():
    assert rows([result("sft", 20.0)])[0][3] == "19.87"
    assert rows([result("sft", 20.0, dataset="idx")])[0][3] == "–"
    assert rows([result("sft", 20.0, categories="9,8,7,6,5")])[0][3] == "–"
    assert rows([result("sft", 20.0, images_per_category=10)])[0][3] == "–"


def test_csv_has_a_row_a_run_and_leaves_options_of_other_methods_empty():
    file = io.StringIO()
    tables.write_csv([result("sft", 20.0), result("mergan_ra", 90.0, lambda_ra=1e-3)], file)
    file.seek(0)
    sft, ra = csv.DictReader(file)
    assert (sft["method"], sft["accuracy"], sft["lambda_ra"], ra["lambda_ra"]) == (
        "sft",
        "20.0",
        "",
        "0.001",
    )
    assert (ra["fid_test"], ra["fid_features"], ra["fid_samples"], ra["reverse_accuracy"]) == (
        "9.0",
        "judge",
        "5000",
        "89.0",
    )
    assert (ra["accuracy_4"], ra["fid_train_0"], ra["diversity"]) == ("90.0", "18.0", "0.5")


# FID


def with_moments(n, mean, covariance, random):
    """n features whose sample mean and covariance (N − 1) are exactly those given."""
    x = torch.randn(n, len(mean), generator=random, dtype=torch.double)
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    return x @ torch.linalg.cholesky(covariance).T + mean


def test_fid_of_two_gaussians_is_the_closed_form():
    random = torch.Generator().manual_seed(0)
    mean_a, mean_b = torch.randn(2, 6, generator=random, dtype=torch.double)
    var_a, var_b = torch.rand(2, 6, generator=random, dtype=torch.double) + 0.1
    turn = torch.linalg.qr(
        torch.randn(6, 6, generator=random, dtype=torch.double)
    ).Q  # commuting covariances
    a = with_moments(40, mean_a, turn @ var_a.diag() @ turn.T, random)
    b = with_moments(90, mean_b, turn @ var_b.diag() @ turn.T, random)
    expected = (mean_a - mean_b).square().sum() + (var_a.sqrt() - var_b.sqrt()).square().sum()
    assert metrics.fid(a, b) == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("n, m, d", [(300, 200, 16), (500, 400, 128)])
def test_fid_equals_torch_fidelitys(n, m, d):
    from torch_fidelity import metric_fid as reference

    random = torch.Generator().manual_seed(0)
    mix = torch.randn(d, d, generator=random)
    a = (
        torch.randn(n, d, generator=random).relu() @ mix
    )  # correlated and not Gaussian, as features are
    b = torch.randn(m, d, generator=random).relu() @ mix * 1.3 + 0.2
    moments = [reference.fid_features_to_statistics(x) for x in (a, b)]
    expected = reference.fid_statistics_to_metric(*moments, False)["frechet_inception_distance"]
    assert metrics.fid(a, b) == pytest.approx(float(expected), rel=1e-4)


def test_fid_is_symmetric_zero_for_one_set_and_grows_with_noise():
    random = torch.Generator().manual_seed(0)
    a, noise = torch.randn(2, 500, 20, generator=random)
    assert metrics.fid(a, a) == pytest.approx(0, abs=1e-9)
    values = [metrics.fid(a, a + scale * noise) for scale in (0.1, 0.3, 1.0, 3.0)]
    assert 0 < values[0] < values[1] < values[2] < values[3]
    b = a * 2 + noise
    assert metrics.fid(a, b) == pytest.approx(metrics.fid(b, a), rel=1e-9)


def test_fid_is_sound_where_covariances_are_singular():
    a, b = torch.randn(
        2, 10, 30, dtype=torch.double, generator=torch.Generator().manual_seed(0)
    )  # 10 images, 30 features
    sigma = [np.cov(x.numpy(), rowvar=False) for x in (a, b)]
    product = np.sqrt(
        np.linalg.eigvals(sigma[0] @ sigma[1]).real.clip(0)
    ).sum()  # PAPER's other form of the trace
    expected = (
        (a.mean(0) - b.mean(0)).square().sum().item() + np.trace(sigma[0] + sigma[1]) - 2 * product
    )
    assert metrics.fid(a, b) == pytest.approx(expected, rel=1e-5)
    constant = torch.ones(5, 30)  # no spread at all: only the means and the other's trace remain
    expected = (a.mean(0) - 1).square().sum().item() + np.trace(sigma[0])
    assert metrics.fid(a, constant) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="at least 2 images a side, got 10 and 1"):
        metrics.fid(a, b[:1])


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    """A file of random weights for torch-fidelity's Inception network."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Network

    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url",
            lambda *a, **k: {},
        )
        patch.setattr(Network, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        network = Network("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), path)
    return path, network


def test_inception_features_are_torch_fidelitys(inception_weights):
    path, network = inception_weights
    features = inception(str(path), "cpu")
    grey = torch.randint(256, (3, 1, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(features(grey), network(grey.repeat(1, 3, 1, 1))[0])
    assert features(grey).shape == (3, 2048)


def test_inception_without_weights_or_package_ends_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_bytes(b"not weights")
    with pytest.raises(
        SystemExit, match=r"error: Inception's weights could not be read from .*--inception-weights"
    ):
        inception(str(tmp_path / "weights.pth"), "cpu")
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(
        SystemExit, match=r"needs torch-fidelity; install it with: python -m pip install -r"
    ):
        inception(None, "cpu")


def test_inception_fid_of_a_run(finished, tiny_data, tmp_path, inception_weights, call_main):
    shutil.copytree(finished("joint"), tmp_path / "run")
    options = [
        "--fid-features",
        "inception",
        "--inception-weights",
        inception_weights[0],
        "--fid-samples",
        "6",
    ]
    assert call_main(eval, tmp_path, "--samples", "64", "--device", "cpu", *options) is None
    fid = json.loads((tmp_path / "run" / "eval.json").read_text())["fid"]
    assert (fid["features"], fid["samples"]) == ("inception", 6) and fid["test"]["all"] > 0


# Scores


class Brightness(nn.Module):
    """A stub of a judge: features are darkness and brightness, categories 0 dark and 1 bright."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def body(self, x):
        brightness = self.weight * x.mean((1, 2, 3))
        return torch.stack([-brightness, brightness], 1)

    def head(self, features):
        return features


def painter(*bright):
    """A generator that paints the category c all bright where bright[c], else all dark."""
    generator = Generator(2, 1, latent_dim=4, width=1)
    with torch.no_grad():
        for weight in generator.parameters():
            weight.zero_()
        generator.norms[2].shift += torch.tensor([[9.0 if b else 0.0] for b in bright])
        generator.deconvs[2].weight.fill_(1)
        generator.deconvs[2].bias.fill_(-5)
    return generator


@pytest.fixture
def dark_and_bright(tmp_path):
    """A Reference to images of two categories, dark and bright, with Brightness as its judge."""
    random = np.random.default_rng(0)
    (tmp_path / "real").mkdir()
    for prefix, count in [("train", 400), ("t10k", 80)]:
        labels = (np.arange(count) % 2).astype(np.uint8)
        shades = np.where(
            labels, random.integers(200, 256, count), random.integers(0, 50, count)
        ).astype(np.uint8)
        write_idx(
            tmp_path / "real" / f"{prefix}-images-idx3-ubyte",
            np.tile(shades[:, None, None], (1, 32, 32)),
        )
        write_idx(tmp_path / "real" / f"{prefix}-labels-idx1-ubyte", labels)
    reference = open_reference(dict(dataset="idx", data_dir=tmp_path / "real"))
    reference.judge = Brightness()
    return reference


def test_a_perfect_generator_scores_100_and_a_blank_one_the_share_of_one_category():
    def accuracies(generator):
        judge = Brightness()
        saved = SavedGenerator(generator, [0, 1], ["0", "1"])
        drawn = [judges.embed(judge, saved.draw(c, 128)) for c in (0, 1)]
        return [judges.percent_right(judge, features, c) for c, features in enumerate(drawn)]

    assert accuracies(painter(False, True)) == [100, 100]
    assert accuracies(painter(False, False)) == [100, 0]


def test_embed_normalises_pixels_and_takes_images_of_a_generator_as_they_are():
    pixels = (
        torch.tensor([0, 100, 150, 255], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 32, 32)
    )
    for images in (pixels, pixels / 127.5 - 1):
        assert judges.embed(Brightness(), images).argmax(1).tolist() == [0, 0, 1, 1]
    assert torch.equal(drawing.pixels(pixels / 127.5 - 1), pixels)


def test_the_judges_features_are_its_penultimate_layer(tiny_data):
    judge, images = Judge(3, 1).eval(), torch.rand(5, 1, 32, 32)
    assert judges.embed(judge, images).shape == (5, 128)
    torch.testing.assert_close(judge.head(judges.embed(judge, images)), judge(images))


@pytest.mark.parametrize("training", [True, False])
def test_draw_gives_the_same_images_whatever_was_drawn_before(training):
    generator = Generator(3, 1, latent_dim=4, width=2).train(training)
    saved = SavedGenerator(generator, [0, 1, 2], ["0", "1", "2"])
    first = saved.draw(1, 192)
    torch.randn(5)
    saved.draw(0, 64)
    assert first.shape == (192, 1, 32, 32)
    assert torch.equal(saved.draw(1, 192), first)


def test_draw_normalises_in_groups_of_64_as_in_training():
    generator = Generator(3, 1, latent_dim=4, width=2)
    z = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([generator(some_z, torch.tensor([1])) for some_z in z.split(64)])
    drawn = SavedGenerator(generator, [0, 1, 2], ["0", "1", "2"]).draw(1, 128)
    torch.testing.assert_close(drawn, expected, rtol=1e-5, atol=1e-6)


def save_run(run, painters, **arguments):
    run.mkdir()
    own = dict(dataset="idx", num_tasks=len(painters), iters=4, batch_size=12, learning_rate=1e-3)
    own |= dict(width=1, method="sft", seed=1)
    (run / "args.json").write_text(json.dumps(own | arguments))
    (run / "metrics.jsonl").write_text('{"elapsed": 30.0}\n{"elapsed": 90.0}\n')
    for task, generator in enumerate(painters, start=1):
        snapshot = dict(
            config=generator.config, generator=generator.state_dict(), categories=["0", "1"]
        )
        torch.save(snapshot | dict(seen=list(range(task))), run / f"task_{task}.pt")


@pytest.mark.parametrize("statistics", ["batch", "standing"])
def test_score_fills_the_matrices_by_task_and_category(tmp_path, dark_and_bright, statistics):
    save_run(tmp_path / "run", [painter(False, False), painter(True, True)])
    standing = statistics == "standing"
    results, broken = eval.score_and_write(
        Run(tmp_path / "run"), dark_and_bright, samples=64, standing=standing
    )
    assert broken == [] and results == json.loads((tmp_path / "run" / "eval.json").read_text())
    assert results["accuracy"] == [[100.0, None], [0.0, 100.0]]
    assert results["average_accuracy"] == [100.0, 50.0]
    assert (results["forgetting"], results["backward_transfer"]) == (100.0, -100.0)
    assert results["minutes"] == 1.5
    assert (results["samples"], results["statistics"]) == (64, statistics)

    fid = results["fid"]
    assert (fid["features"], fid["samples"]) == (
        "judge",
        80,
    )  # 40 real test images of each category
    for split, images in [("test", dark_and_bright.test_images), ("train", dark_and_bright.images)]:
        matrix = fid[split]["matrix"]
        assert matrix[0][1] is None and fid[split]["per_category"] == matrix[1]
        assert (
            matrix[1][0] > 5 > 1 > matrix[0][0] and matrix[1][1] < 1
        )  # bright for dark is far off, bright for bright is not
        labels = dark_and_bright.test_labels if split == "test" else dark_and_bright.labels
        assert (
            len(images[labels == 0]) >= 40
            and fid[split]["all_by_task"][1] == fid[split]["all"] > 1 > fid["floor"][split]
        )
    assert results["diversity"] == [0.0, 0.0]  # every image of a category is the same: collapsed


def test_fid_over_all_is_of_the_categories_together(tmp_path, dark_and_bright):
    save_run(tmp_path / "run", [painter(False, False), painter(True, True)])
    results, _ = eval.score(Run(tmp_path / "run"), dark_and_bright, samples=64)
    saved = SavedGenerator(painter(True, True), [0, 1], ["0", "1"])
    drawn = torch.cat([judges.embed(Brightness(), saved.draw(c, 64)[:40]) for c in (0, 1)])
    real = judges.embed(Brightness(), dark_and_bright.test_images)
    assert results["fid"]["test"]["all"] == pytest.approx(metrics.fid(drawn, real), rel=1e-6)


def test_counts_are_the_same_on_both_sides_and_never_more_than_there_are(dark_and_bright):
    assert dark_and_bright.count(0, tasks=2, samples=6400) == 40  # real test images
    assert dark_and_bright.count(0, tasks=2, samples=20) == 20
    dark_and_bright.fid_samples = 24
    assert dark_and_bright.count(0, tasks=2, samples=6400) == 12
    assert {len(dark_and_bright.real(split, 0)) for split in ("train", "test", "rest")} == {24}


def test_floor_is_of_training_images_that_are_not_on_the_other_side(tmp_path, dark_and_bright):
    indexed = torch.arange(400).view(400, 1, 1, 1) * torch.ones(1, 1, 32, 32)
    dark_and_bright.images = indexed
    train, rest = (dark_and_bright.real(split, 1) for split in ("train", "rest"))
    assert (
        not set(train[:, 1].tolist()) & set(rest[:, 1].tolist()) and len(train) == len(rest) == 100
    )


def test_diversity_of_real_images_is_one_and_mean_distance_is_over_all_pairs(dark_and_bright):
    features = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    assert metrics.mean_distance(features) == pytest.approx((5 + 10 + 5) / 3)
    real = judges.embed(
        Brightness(), dark_and_bright.test_images[dark_and_bright.test_labels == 0][:30]
    )
    assert metrics.mean_distance(real) == pytest.approx(dark_and_bright.real_distance(0, 30))


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    """A Reference to 1 800 training images of bars left, in the middle or right."""
    folder = tmp_path_factory.mktemp("bars")
    write_bars(folder, train=1800, test=300)
    return open_reference(dict(dataset="idx", data_dir=folder))


def test_reverse_accuracy_is_near_the_ceiling_on_real_images_and_at_chance_on_noise(bars):
    assert bars.ceiling([0, 1, 2]) > 95
    half = bars.images[:900], bars.labels[:900]
    assert bars.reverse_accuracy(*half, [0, 1, 2]) > 95
    assert (
        bars.reverse_accuracy(half[0], (half[1] + 1) % 3, [0, 1, 2]) < 5
    )  # the labels matter, not the judge
    torch.manual_seed(0)
    noise = torch.randint(256, (10, 150, 1, 32, 32), dtype=torch.uint8)
    values = [
        bars.reverse_accuracy(some_noise, bars.labels[:150], [0, 1, 2]) for some_noise in noise
    ]
    assert sum(values) / 10 == pytest.approx(
        100 / 3, abs=15
    )  # bars are alike, so a single value is anything from 0 to 100


def test_reverse_accuracy_counts_real_images_of_the_seen_categories_alone(bars):
    seen = bars.labels < 2
    assert bars.reverse_accuracy(bars.images[seen], bars.labels[seen], [0, 1]) > 95
    assert (
        bars.reverse_accuracy(bars.images[seen], bars.labels[seen], [0, 1, 2]) < 70
    )  # a third is of one never seen


def test_reverse_accuracy_trains_on_as_many_images_as_the_real_set_has(finished, bars, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        bars, "reverse_accuracy", lambda images, labels, seen: drawn.append((images, labels, seen))
    )
    scores.score_reverse(finished("sft") / "task_2.pt", bars)
    ((images, labels, seen),) = drawn
    assert seen == [0, 1] and labels.bincount().tolist() == [600, 600]
    assert (
        images.shape == (1200, 1, 32, 32)
        and images.dtype == torch.uint8
        and images.float().std() > 1
    )


# Photographs


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


@pytest.mark.parametrize("accuracy", [89.0, 91.0])
def test_a_judge_below_90_percent_is_warned_of(tiny_data, monkeypatch, capsys, tmp_path, accuracy):
    monkeypatch.setattr(real_side.Reference, "accuracy", accuracy)
    open_reference(dict(dataset="idx", data_dir=tiny_data, cache_dir=tmp_path / "new" / "cache"))
    assert ("warning: below 90 %" in capsys.readouterr().err) == (accuracy < 90)
    assert list((tmp_path / "new" / "cache").glob("judge-idx-*.pt"))


def test_runs_from_before_an_option_share_a_row_with_later_ones():
    scores = ROOT / "results" / "mnist_before"
    old = json.loads((scores / "mergan_ra__1.json").read_text())
    new = json.loads((scores / "mergan_ra__2.json").read_text())
    assert "replay" not in old["arguments"]
    new["arguments"] = complete(new["arguments"])
    table = tables.markdown([old, new])
    assert table.count("| mergan_ra |") == 1 and "| mergan_ra | 2 |" in table


def test_colour_images_are_learned_for_longer_and_shifted(monkeypatch):
    monkeypatch.setattr(judges, "LEAST_STEPS", 7)
    images = torch.randint(256, (150, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(150) % 2

    def batches(images):
        """The batches that a judge learns from: it takes each in four shards."""
        shards = []
        with monkeypatch.context() as patch:
            patch.setattr(
                Judge, "forward", lambda self, x: shards.append(x) or self.head(self.body(x))
            )
            judges.train_classifier(images, labels, 2, "cpu", "test")
        return [torch.cat(shards[i : i + 4]) for i in range(0, len(shards), 4)]

    learned = batches(images)
    assert [len(batch) for batch in learned] == [75] * 8  # four epochs of two batches make 7 steps
    originals = {image.numpy().tobytes() for image in normalise(images)}
    assert not any(image.numpy().tobytes() in originals for image in learned[0])
    monkeypatch.setattr(judges, "LEAST_STEPS", 11)
    assert len(batches(images)) == 12
    learned = batches(images[:, :1])
    originals = {image.numpy().tobytes() for image in normalise(images[:, :1])}
    assert len(learned) == 8 and all(image.numpy().tobytes() in originals for image in learned[0])


# The number of threads, and the judge that is shipped


def test_scores_are_the_same_to_the_last_digit_with_one_thread_and_with_more(
    finished, tmp_path, tiny_data
):
    """Each number of threads has runs and data of its own, judge included."""
    texts = []
    for threads in (1, 2, 3):
        folder = tmp_path / str(threads)
        shutil.copytree(finished("sft"), folder / "runs" / "sft")
        shutil.copytree(finished("dgr"), folder / "runs" / "dgr")
        write_bars(folder, train=300, test=60)
        options = (
            "--device cpu --samples 640 --intermediate-samples 64 --statistics standing".split()
        )
        code = "import sys, torch, runpy; torch.set_num_threads(int(sys.argv.pop(1))); "
        code += "sys.argv.pop(0); "
        code += "runpy.run_path('eval.py', run_name='__main__')"
        command = [
            sys.executable,
            "-c",
            code,
            str(threads),
            "eval.py",
            folder,
            "--data-dir",
            folder,
            *options,
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        texts.append(
            [(folder / "runs" / name / "eval.json").read_text() for name in ("sft", "dgr")]
        )
    assert texts[0] == texts[1] == texts[2]
    assert json.loads(texts[0][0])["fid"]["test"]["all"] > 0


@pytest.mark.parametrize("channels, size, count", [(1, 32, 1000), (3, 64, 300)])
def test_a_classifier_learns_the_same_bits_on_any_number_of_threads(
    channels, size, count, monkeypatch
):
    monkeypatch.setattr(judges, "LEAST_STEPS", 6)
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, channels, size, size), dtype=torch.uint8, generator=random)
    labels = torch.arange(count) % 3
    learned, threads = [], torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            judge = judges.train_classifier(images, labels, 3, "cpu", "test")
            learned.append({**judge.state_dict(), "features": judges.embed(judge, images)})
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    for other in learned[1:]:
        assert all(torch.equal(value, other[name]) for name, value in learned[0].items())


def test_the_statistics_of_a_classifiers_batch_norms_are_those_of_its_images():
    """Each shard of a batch has its own; the classifier has the mean of all that learned."""
    images = torch.full((640, 1, 32, 32), 200, dtype=torch.uint8)
    judge = judges.train_classifier(images, torch.arange(640) % 2, 2, "cpu", "test")
    norm = judge.body[1]
    expected = judge.body[0](normalise(images[:1]))[0, :, 16, 16]
    assert norm.num_batches_tracked == 20
    assert norm.running_mean == pytest.approx((1 - 0.9**20) * expected.detach().numpy(), abs=0.1)


def test_the_shipped_judge_knows_mnist_and_answers_for_chosen_categories_in_their_order():
    saved = torch.load(ROOT / "judges" / "mnist.pt", weights_only=True)
    judge, name = judges.shipped_judge("mnist", list("0123456789"))
    assert name == f"judges/mnist.pt (SHA-256 {judges.SHIPPED['mnist'][:8]})" and not judge.training
    images = torch.randint(256, (20, 1, 32, 32), dtype=torch.uint8)
    whole = judge.head(judges.embed(judge, images))
    some, _ = judges.shipped_judge("mnist", ["7", "3", "1"])
    torch.testing.assert_close(some.head(judges.embed(some, images)), whole[:, [7, 3, 1]])
    assert torch.equal(judges.embed(some, images), judges.embed(judge, images))
    assert torch.equal(judge.state_dict()["head.weight"], saved["judge"]["head.weight"])
    assert (
        judges.shipped_judge("idx", ["0", "1"]) is None
        and judges.shipped_judge("mnist", ["0", "ten"]) is None
    )


def test_a_shipped_judge_that_is_not_the_shipped_one_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(judges, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match="mnist.pt cannot be read .*git checkout judges/mnist.pt"):
        judges.shipped_judge("mnist", ["0", "1"])
    (tmp_path / "mnist.pt").write_bytes((ROOT / "judges" / "mnist.pt").read_bytes()[:-1])
    with pytest.raises(SystemExit, match="has SHA-256 .*, expected .*; restore it with"):
        judges.shipped_judge("mnist", ["0", "1"])


def test_mnist_is_scored_by_the_shipped_judge_unless_another_is_asked_for(
    tiny_data, tmp_path, monkeypatch, capsys
):
    """With the loader imitated: real MNIST is not to be downloaded by a test."""
    load = real_side.load_dataset
    monkeypatch.setattr(real_side, "load_dataset", lambda split, **_: load("idx", tiny_data, split))
    data = dict(dataset="mnist", data_dir=tmp_path)
    reference = open_reference(data)
    assert reference.judge_name.startswith("judges/mnist.pt (") and not list(
        tmp_path.glob("judge*")
    )
    ten, _ = judges.shipped_judge("mnist", list("0123456789"))
    assert torch.equal(reference.judge.head.weight, ten.head.weight[:3])
    reference = open_reference(data, judge="trained")
    assert [path.name for path in tmp_path.glob("judge*")] == [reference.judge_name]


def test_the_table_names_the_judge_where_it_is_known():
    named = result("sft", 20.0) | dict(judge="judges/mnist.pt (SHA-256 01234567)")
    assert "The judge, judges/mnist.pt (SHA-256 01234567), gets 99.00 %" in tables.markdown([named])
    assert "The judge gets 99.00 %" in tables.markdown([result("sft", 20.0)])


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


def test_a_damaged_cache_is_made_anew(folder, call_main, capsys):
    options = [folder / "one", "--samples", "64", "--device", "cpu"]
    call_main(eval, *options)
    first = capsys.readouterr().out
    (folder / "one" / "eval_cache.json").write_text('{"half')
    assert call_main(eval, *options) is None and capsys.readouterr().out == first


def test_packages_of_a_virtual_environment_inside_the_project_are_not_its_code():
    environment = cache.ROOT / ".venv" / "lib" / "python3.11" / "site-packages"
    package = SimpleNamespace(__file__=str(environment / "torch" / "__init__.py"))
    assert not cache.is_ours(package)
    assert cache.is_ours(scores)


def test_an_edited_docstring_comment_or_layout_is_the_same_code_an_edited_number_is_not(
    tmp_path, monkeypatch
):
    """Of the function itself, of one that it uses, of a constant; not of one it does not use."""
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = """
NUMBER = 2

class Owner:
    def method(self):
        return 1

def inner(x):
    "A docstring."
    return x * NUMBER  # a comment

def outer(x, owner):
    return inner(x) + owner.method()

def unused(x):
    return 3
"""

    def version(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        module = importlib.import_module(name)
        return cache.code_version(module.outer, methods_of=[module.Owner])

    first = version("version_a", text)
    same = [("A docstring.", "Another."), ("  # a comment", ""), ("inner(x) +", "inner(x)  +")]
    same += [("return 3", "return 4")]
    other = [("NUMBER = 2", "NUMBER = 3"), ("x * NUMBER", "x + NUMBER"), ("return 1", "return 2")]
    other += [("inner(x) +", "inner(x) -")]
    for number, (old, new) in enumerate(same + other):
        changed = version(f"version_{number}", text.replace(old, new))
        assert (changed == first) == (number < len(same)), new


def test_what_a_cached_score_depends_on_holds_all_that_computes_it(monkeypatch):
    """Functions at every depth: an edit is noticed; tables and the command do not count."""

    def versions():
        methods = [real_side.Reference]
        return [
            cache.code_version(scores.score_snapshot, methods_of=methods),
            cache.code_version(scores.score_reverse, methods_of=methods),
            cache.code_version(real_side.Reference.floor, methods_of=methods),
        ]

    def edited(module, old, new):
        """Which of them change with a text of a module."""
        source = cache.inspect.getsource(module)
        assert old in source

        def read(other):
            return source.replace(old, new) if other is module else getsource(other)

        with monkeypatch.context() as patch:
            patch.setattr(cache.inspect, "getsource", read)
            cache.definitions.cache_clear()
            changed = [a != b for a, b in zip(versions(), before)]
        cache.definitions.cache_clear()
        return changed

    before, getsource = versions(), cache.inspect.getsource
    assert edited(metrics, "len(x) - 1)", "len(x))") == [True, False, True]
    assert edited(metrics, "Fréchet distance", "The distance") == [False, False, False]
    assert edited(metrics, "losses.append(max", "losses.append(min") == [False, False, False]
    assert edited(judges, "optimizer, 3e-3", "optimizer, 1e-3") == [False, True, False]
    assert edited(judges, "return padded[:, :, top", "return padded[:, :, 1 + top") == [0, 1, 0]
    assert edited(common, "standing_var[y] + self.eps", "standing_var[y]") == [True, True, False]
    assert edited(real_side, "test, train // 2", "test, train // 3") == [True, False, True]
    assert edited(drawing, "torch.randn(BATCH", "torch.rand(BATCH") == [True, True, False]
    assert edited(common, "images.float() / 127.5", "images.float() / 127") == [True, True, True]
    monkeypatch.setattr(drawing, "PATIENCE", 5)
    assert [a != b for a, b in zip(versions(), before)] == [True, True, False]


# Other data than was learned


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


# What cannot be written


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


def test_a_category_with_too_few_images_for_fid_is_named_and_its_accuracy_given(
    tmp_path, capsys, dark_and_bright, monkeypatch
):
    # The loaders refuse such data; scores do not rely on it
    monkeypatch.setitem(LEAST, "test", 1)
    labels = np.array([0, 0, 1], np.uint8)  # one bright image for testing
    write_idx(tmp_path / "real" / "t10k-images-idx3-ubyte", np.zeros((3, 32, 32), np.uint8))
    write_idx(tmp_path / "real" / "t10k-labels-idx1-ubyte", labels)
    reference = open_reference(dict(dataset="idx", data_dir=tmp_path / "real"))
    assert "category 1 has 200 training and 1 test images, FID needs" in capsys.readouterr().err
    reference.judge = Brightness()
    save_run(tmp_path / "run", [painter(False, False), painter(False, True)])
    results, problems = eval.score(Run(tmp_path / "run"), reference, samples=64)
    assert problems == [] and results["accuracy"][1] == [100.0, 100.0]
    fid = results["fid"]
    assert fid["test"]["all"] is None and fid["floor"] == {"test": None, "train": None}
    assert fid["test"]["per_category"][1] is None and fid["test"]["per_category"][0] >= 0
    assert "| sft | 1 | 100.00 |" in tables.markdown([results])


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


# The script


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
    names += " judge_accuracy data samples statistics minutes arguments"
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
        k: v for k, v in arguments.items() if k not in ELSEWHERE or k == "hardware"
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
    (folder / "six" / "args.json").write_text(json.dumps(arguments | {"data_dir": "nowhere"}))
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


def test_standing_statistics_inside_a_task_are_measured_anew(finished):
    path = finished("sft") / "snapshots" / "task_2_step_000002.pt"
    snapshot = torch.load(path, weights_only=True)
    stale = make_generator(**snapshot["config"]).eval()
    stale.load_state_dict(snapshot["generator"])
    images = SavedGenerator.load(path, standing=True).draw(1, 256)
    old = SavedGenerator(stale, [0, 1], snapshot["categories"]).draw(1, 256)
    expected = SavedGenerator.load(path).draw(1, 256)
    assert (images - expected).abs().mean() < 0.2 * (old - expected).abs().mean()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--fid-samples", "5"], "--fid-samples is 5, expected at least 2 for each of the 3 tasks"),
        (["--fid-features", "inception", "--inception-weights", "nowhere"], 2),
    ],
)
def test_options_that_cannot_work_end_in_one_line(folder, call_main, options, message, capsys):
    stop = call_main(eval, folder, "--samples", "64", "--device", "cpu", *options)
    assert stop == message or message in stop


def test_a_run_that_is_not_finished_is_an_error_line_and_the_others_make_the_table(
    folder, call_main, capsys
):
    shutil.copytree(folder / "one", folder / "begun")
    for path in [*(folder / "begun").rglob("task_*.pt"), folder / "begun" / "metrics.jsonl"]:
        path.unlink()
    (folder / "one" / "task_3.pt").unlink()
    log = (folder / "one" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "one" / "metrics.jsonl").write_text("".join(log[:10]))
    message = call_main(eval, folder, "--samples", "64", "--device", "cpu")
    assert message.startswith("error: ") and "\n" not in message
    assert f"{folder / 'one'} is not finished (task 3 of 3, step 2); run its command" in message
    assert f"{folder / 'begun'} is not finished (nothing logged yet)" in message
    output = capsys.readouterr().out
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


def test_the_judge_learns_the_tiny_data_and_is_trained_once(tiny_data, capsys):
    open_reference(dict(dataset="idx", data_dir=tiny_data))
    capsys.readouterr()
    reference = open_reference(dict(dataset="idx", data_dir=tiny_data))
    assert "epoch" not in capsys.readouterr().err
    assert reference.accuracy > 50 and not reference.judge.training


def test_eval_needs_the_five_packages_alone():
    hide = "import sys; extras = ['matplotlib', 'sklearn', 'torch_fidelity']; "
    hide += "sys.modules.update(dict.fromkeys(extras)); import eval"
    subprocess.run([sys.executable, "-c", hide], cwd=ROOT, check=True)
