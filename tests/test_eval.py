import csv
import importlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, run_script, write_bars
from torch import nn

import eval as scoring
from common import Generator, Judge, make_generator
from datafiles.idx import write_idx

SETTINGS = dict(device="cpu", statistics="batch", samples=64, intermediate_samples=0, fid_features="judge",
                fid_samples=10000, inception_weights=None)  # fmt: skip


def settings(**changes):
    return SimpleNamespace(**SETTINGS | changes)


# The means and the tables

MATRIX = [[95.0, None, None], [90.0, 80.0, None], [60.0, 85.0, 99.0]]


def test_forgetting_is_the_best_before_minus_the_final_over_all_but_the_newest_category():
    assert scoring.forgetting(MATRIX) == pytest.approx(((95 - 60) + (80 - 85)) / 2)


def test_backward_transfer_is_the_final_minus_the_first_over_all_but_the_newest_category():
    assert scoring.backward_transfer(MATRIX) == pytest.approx(((60 - 95) + (85 - 80)) / 2)


@pytest.mark.parametrize("measure", [scoring.forgetting, scoring.backward_transfer])
def test_both_need_two_rows_and_none_missing(measure):
    for matrix in ([[90.0, None]], [None, None, [90.0, 80.0, 70.0]], [[90.0, None, None], None, [60.0, 85.0, 99.0]]):
        assert measure(matrix) is None


def test_mean_and_sample_standard_deviation():
    assert scoring.mean_std([1.0, 3.0, None]) == "2.00 ± 1.41"
    assert scoring.mean_std([1.0, None], 1) == "1.0"
    assert scoring.mean_std([None]) == "–"


def result(method, accuracy, features="judge", **changes):
    arguments = dict(dataset="mnist", num_tasks=5, iters=400, batch_size=64, learning_rate=5e-4, width=32, seed=1)
    arguments |= dict(method=method, lambda_gp=10.0, run_dir=f"runs/{len(changes)}", data_dir="data", overwrite=False)
    matrix = [[50.0] * (t + 1) + [None] * (4 - t) for t in range(4)] + [[accuracy] * 5]
    fids = dict(all=accuracy / 10, per_category=[accuracy / 5] * 5, all_by_task=[1.0] * 5, matrix=matrix)
    fid = dict(test=fids, train=fids, floor=dict(test=0.5, train=0.25), features=features, samples=5000,
               samples_per_category=[1000] * 5)  # fmt: skip
    averages = [50.0] * 4 + [accuracy]
    return dict(
        arguments=arguments | changes, accuracy=matrix, average_accuracy=averages, forgetting=1.0,
        backward_transfer=-1.0, fid=fid, reverse_accuracy=accuracy - 1, reverse_accuracy_ceiling=99.5,
        diversity=[0.5] * 5 + [None],
        judge_accuracy=99.0, data="0123abcd", samples=6400, statistics="batch", minutes=2.0,
    )  # fmt: skip


def rows(results):
    lines = [line for line in scoring.markdown(results).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[2:5] not in ("met", "---")]


def test_table_puts_runs_that_differ_by_seed_alone_in_one_row_with_the_papers_number():
    results = [result("mergan_ra", 80.0), result("mergan_ra", 90.0, seed=2, run_dir="b", overwrite=True)]
    (row,) = rows(results)
    assert row[:5] == ["mergan_ra", "2", "85.00 ± 7.07", "98.19", "8.50 ± 0.71"]
    assert row[5:10] == ["8.50 ± 0.71", "84.00 ± 7.07", "1.00 ± 0.00", "-1.00 ± 0.00", "0.50 ± 0.00"]
    assert row[10:] == ["85.0 ± 7.1"] * 5 + ["2.0 ± 0.0"]
    text = scoring.markdown(results)
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
    head = next(line for line in scoring.markdown([ten]).splitlines() if line.startswith("| method"))
    assert head.startswith("| method | n | after 5 tasks % | paper | accuracy % | paper | FID test |")
    assert len(row) == head.count("|") - 1


def test_the_table_names_the_hardware_that_runs_were_trained_on_where_it_is_known():
    runs = [result("sft", 20.0, hardware="H100"), result("sft", 21.0, seed=2, hardware="H200"), result("joint", 99.0)]
    text = scoring.markdown(runs)
    assert "Trained on: H100 or H200." in text and "| sft | 2 |" in text
    assert "Trained on" not in scoring.markdown(runs[2:])


@pytest.mark.parametrize(
    "name, scores",
    [("mnist", "mnist*/*.json"), ("scenes_cpu", "scenes_cpu/*.json"), ("ablation_cpu", "ablation_cpu/*.json")],
)
def test_committed_tables_are_those_of_the_committed_scores_byte_for_byte(name, scores, call_main, capsys):
    assert call_main(scoring, *sorted((ROOT / "results").glob(scores))) is None
    assert capsys.readouterr().out == (ROOT / "results" / f"{name}.md").read_text()


def test_scores_that_are_no_eval_json_are_named_and_the_others_make_the_table(tmp_path, call_main, capsys):
    files = {"a": json.dumps(result("sft", 20.0)), "b": '{"accuracy": []}', "c": "[1, 2", "d": "[]"}
    for letter, text in files.items():
        (tmp_path / f"{letter}.json").write_text(text)
    message = call_main(scoring, *(tmp_path / f"{letter}.json" for letter in "abcde"))
    assert message.count("Error: ") == 4 and not "a.json" in message
    assert "| sft | 1 | 20.00 |" in capsys.readouterr().out


def test_table_never_mixes_runs_of_different_arguments_and_names_what_differs():
    table = rows([result("sft", 20.0), result("sft", 30.0, lambda_gp=1.0), result("joint", 95.0)])
    assert [row[:3] for row in table] == [
        ["joint", "1", "95.00"],
        ["sft lambda_gp=10.0", "1", "20.00"],
        ["sft lambda_gp=1.0", "1", "30.00"],
    ]


@pytest.mark.parametrize("name, value", [("iters", 800), ("learning_rate", 1e-4), ("width", 64), ("dataset", "idx")])
def test_other_settings_have_a_table_of_their_own(name, value):
    table = scoring.markdown([result("sft", 20.0), result("sft", 30.0, **{name: value})])
    assert table.count("| method |") == 2 and f"{name.replace('_', ' ')} {value}" in table
    assert [row[1:3] for row in rows([result("sft", 20.0), result("sft", 30.0, **{name: value})])] == [
        ["1", "20.00"],
        ["1", "30.00"],
    ]


def test_fids_of_different_features_are_never_in_one_column():
    table = scoring.markdown([result("sft", 20.0), result("sft", 30.0, features="inception", seed=2)])
    assert table.count("| method |") == 2 and "FID of judge features" in table and "FID of inception features" in table


def test_runs_on_other_data_are_never_in_one_row():
    other = result("sft", 30.0, seed=2) | dict(data="ffffffff")
    assert [row[1:3] for row in rows([result("sft", 20.0), other])] == [["1", "20.00"], ["1", "30.00"]]
    text = scoring.markdown([result("sft", 20.0), other])
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


def test_csv_has_a_row_a_run_and_leaves_options_of_other_methods_empty():
    file = io.StringIO()
    scoring.write_csv([result("sft", 20.0), result("mergan_ra", 90.0, lambda_ra=1e-3)], file)
    file.seek(0)
    sft, ra = csv.DictReader(file)
    assert (sft["method"], sft["accuracy"], sft["lambda_ra"], ra["lambda_ra"]) == ("sft", "20.0", "", "0.001")
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
    turn = torch.linalg.qr(torch.randn(6, 6, generator=random, dtype=torch.double)).Q  # commuting covariances
    a = with_moments(40, mean_a, turn @ var_a.diag() @ turn.T, random)
    b = with_moments(90, mean_b, turn @ var_b.diag() @ turn.T, random)
    expected = (mean_a - mean_b).square().sum() + (var_a.sqrt() - var_b.sqrt()).square().sum()
    assert scoring.fid(a, b) == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("n, m, d", [(300, 200, 16), (500, 400, 128)])
def test_fid_equals_torch_fidelitys(n, m, d):
    from torch_fidelity import metric_fid as reference

    random = torch.Generator().manual_seed(0)
    mix = torch.randn(d, d, generator=random)
    a = torch.randn(n, d, generator=random).relu() @ mix  # correlated and not Gaussian, as features are
    b = torch.randn(m, d, generator=random).relu() @ mix * 1.3 + 0.2
    moments = [reference.fid_features_to_statistics(x) for x in (a, b)]
    expected = reference.fid_statistics_to_metric(*moments, False)["frechet_inception_distance"]
    assert scoring.fid(a, b) == pytest.approx(float(expected), rel=1e-4)


def test_fid_is_symmetric_zero_for_one_set_and_grows_with_noise():
    random = torch.Generator().manual_seed(0)
    a, noise = torch.randn(2, 500, 20, generator=random)
    assert scoring.fid(a, a) == pytest.approx(0, abs=1e-9)
    values = [scoring.fid(a, a + scale * noise) for scale in (0.1, 0.3, 1.0, 3.0)]
    assert 0 < values[0] < values[1] < values[2] < values[3]
    b = a * 2 + noise
    assert scoring.fid(a, b) == pytest.approx(scoring.fid(b, a), rel=1e-9)


def test_fid_is_sound_where_covariances_are_singular():
    a, b = torch.randn(
        2, 10, 30, dtype=torch.double, generator=torch.Generator().manual_seed(0)
    )  # 10 images, 30 features
    sigma = [np.cov(x.numpy(), rowvar=False) for x in (a, b)]
    product = np.sqrt(np.linalg.eigvals(sigma[0] @ sigma[1]).real.clip(0)).sum()  # PAPER's other form of the trace
    expected = (a.mean(0) - b.mean(0)).square().sum().item() + np.trace(sigma[0] + sigma[1]) - 2 * product
    assert scoring.fid(a, b) == pytest.approx(expected, rel=1e-5)
    constant = torch.ones(5, 30)  # no spread at all: only the means and the other's trace remain
    expected = (a.mean(0) - 1).square().sum().item() + np.trace(sigma[0])
    assert scoring.fid(a, constant) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="at least 2 images a side, got 10 and 1"):
        scoring.fid(a, b[:1])


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    """A file of random weights for torch-fidelity's Inception network."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Network

    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(Network, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        network = Network("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), path)
    return path, network


def test_inception_features_are_torch_fidelitys(inception_weights):
    path, network = inception_weights
    features = scoring.inception(str(path), "cpu")
    grey = torch.randint(256, (3, 1, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(features(grey), network(grey.repeat(1, 3, 1, 1))[0])
    assert features(grey).shape == (3, 2048)


def test_inception_without_weights_or_package_ends_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_bytes(b"not weights")
    with pytest.raises(SystemExit, match=r"error: Inception's weights could not be read from .*--inception-weights"):
        scoring.inception(str(tmp_path / "weights.pth"), "cpu")
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(SystemExit, match=r"needs torch-fidelity; install it with: python -m pip install -r"):
        scoring.inception(None, "cpu")


def test_inception_fid_of_a_run(finished, tiny_data, tmp_path, inception_weights, call_main):
    shutil.copytree(finished("joint"), tmp_path / "run")
    options = ["--fid-features", "inception", "--inception-weights", inception_weights[0], "--fid-samples", "6"]
    assert call_main(scoring, tmp_path, "--samples", "64", "--device", "cpu", *options) is None
    fid = json.loads((tmp_path / "run" / "eval.json").read_text())["fid"]
    assert (fid["features"], fid["samples"]) == ("inception", 6) and fid["test"]["all"] > 0


# Scores


class Brightness(nn.Module):
    """A stub of a judge: its two features are darkness and brightness, its categories 0 for dark, 1 for bright."""

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
    """A Reference to real images of two categories, dark and bright, of several shades; its judge is Brightness."""
    random = np.random.default_rng(0)
    (tmp_path / "real").mkdir()
    for prefix, count in [("train", 400), ("t10k", 80)]:
        labels = (np.arange(count) % 2).astype(np.uint8)
        shades = np.where(labels, random.integers(200, 256, count), random.integers(0, 50, count)).astype(np.uint8)
        write_idx(tmp_path / "real" / f"{prefix}-images-idx3-ubyte", np.tile(shades[:, None, None], (1, 32, 32)))
        write_idx(tmp_path / "real" / f"{prefix}-labels-idx1-ubyte", labels)
    reference = scoring.Reference(dict(dataset="idx", data_dir=tmp_path / "real"), settings())
    reference.judge = Brightness()
    return reference


def test_a_perfect_generator_scores_100_and_a_blank_one_the_share_of_one_category():
    def accuracies(generator):
        judge = Brightness()
        drawn = [scoring.embed(judge, scoring.draw(generator, c, 128)) for c in (0, 1)]
        return [scoring.percent_right(judge, features, c) for c, features in enumerate(drawn)]

    assert accuracies(painter(False, True)) == [100, 100]
    assert accuracies(painter(False, False)) == [100, 0]


def test_embed_normalises_pixels_and_takes_images_of_a_generator_as_they_are():
    pixels = torch.tensor([0, 100, 150, 255], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 32, 32)
    for images in (pixels, pixels / 127.5 - 1):
        assert scoring.embed(Brightness(), images).argmax(1).tolist() == [0, 0, 1, 1]
    assert torch.equal(scoring.pixels(pixels / 127.5 - 1), pixels)


def test_the_judges_features_are_its_penultimate_layer(tiny_data):
    judge, images = Judge(3, 1).eval(), torch.rand(5, 1, 32, 32)
    assert scoring.embed(judge, images).shape == (5, 128)
    torch.testing.assert_close(judge.head(scoring.embed(judge, images)), judge(images))


@pytest.mark.parametrize("training", [True, False])
def test_draw_gives_the_same_images_whatever_was_drawn_before(training):
    generator = Generator(3, 1, latent_dim=4, width=2).train(training)
    first = scoring.draw(generator, 1, 192)
    torch.randn(5), scoring.draw(generator, 0, 64)
    assert first.shape == (192, 1, 32, 32)
    assert torch.equal(scoring.draw(generator, 1, 192), first)


def test_draw_normalises_in_groups_of_64_as_in_training():
    generator = Generator(3, 1, latent_dim=4, width=2)
    z = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([generator(some_z, torch.tensor([1])) for some_z in z.split(64)])
    torch.testing.assert_close(scoring.draw(generator, 1, 128), expected, rtol=1e-5, atol=1e-6)


def save_run(run, painters, **arguments):
    run.mkdir()
    (run / "args.json").write_text(json.dumps(dict(num_tasks=len(painters), method="sft") | arguments))
    (run / "metrics.jsonl").write_text('{"elapsed": 30.0}\n{"elapsed": 90.0}\n')
    for task, generator in enumerate(painters, start=1):
        snapshot = dict(config=generator.config, generator=generator.state_dict(), categories=["0", "1"])
        torch.save(snapshot | dict(seen=list(range(task))), run / f"task_{task}.pt")


@pytest.mark.parametrize("statistics", ["batch", "standing"])
def test_score_fills_the_matrices_by_task_and_category(tmp_path, dark_and_bright, statistics):
    save_run(tmp_path / "run", [painter(False, False), painter(True, True)])
    results, broken = scoring.score(tmp_path / "run", dark_and_bright, settings(statistics=statistics))
    assert broken == [] and results == json.loads((tmp_path / "run" / "eval.json").read_text())
    assert results["accuracy"] == [[100.0, None], [0.0, 100.0]]
    assert results["average_accuracy"] == [100.0, 50.0]
    assert (results["forgetting"], results["backward_transfer"]) == (100.0, -100.0)
    assert results["minutes"] == 1.5
    assert (results["samples"], results["statistics"]) == (64, statistics)

    fid = results["fid"]
    assert (fid["features"], fid["samples"]) == ("judge", 80)  # 40 real test images of each category
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
    results, _ = scoring.score(tmp_path / "run", dark_and_bright, settings())
    drawn = torch.cat([scoring.embed(Brightness(), scoring.draw(painter(True, True), c, 64)[:40]) for c in (0, 1)])
    real = scoring.embed(Brightness(), dark_and_bright.test_images)
    assert results["fid"]["test"]["all"] == pytest.approx(scoring.fid(drawn, real), rel=1e-6)


def test_counts_are_the_same_on_both_sides_and_never_more_than_there_are(dark_and_bright):
    assert dark_and_bright.count(0, tasks=2, samples=6400) == 40  # real test images
    assert dark_and_bright.count(0, tasks=2, samples=20) == 20
    dark_and_bright.args.fid_samples = 24
    assert dark_and_bright.count(0, tasks=2, samples=6400) == 12
    assert {len(dark_and_bright.real(split, 0)) for split in ("train", "test", "rest")} == {24}


def test_floor_is_of_training_images_that_are_not_on_the_other_side(tmp_path, dark_and_bright):
    indexed = torch.arange(400).view(400, 1, 1, 1) * torch.ones(1, 1, 32, 32)
    dark_and_bright.images = indexed
    train, rest = (dark_and_bright.real(split, 1) for split in ("train", "rest"))
    assert not set(train[:, 1].tolist()) & set(rest[:, 1].tolist()) and len(train) == len(rest) == 100


def test_diversity_of_real_images_is_one_and_mean_distance_is_over_all_pairs(dark_and_bright):
    features = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    assert scoring.mean_distance(features) == pytest.approx((5 + 10 + 5) / 3)
    real = scoring.embed(Brightness(), dark_and_bright.test_images[dark_and_bright.test_labels == 0][:30])
    assert scoring.mean_distance(real) == pytest.approx(dark_and_bright.real_distance(0, 30))


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    """A Reference to 1 800 training images of bars on the left, in the middle or on the right: enough to be learned."""
    folder = tmp_path_factory.mktemp("bars")
    write_bars(folder, train=1800, test=300)
    return scoring.Reference(dict(dataset="idx", data_dir=folder), settings())


def test_reverse_accuracy_is_near_the_ceiling_on_real_images_and_at_chance_on_noise(bars):
    assert bars.ceiling([0, 1, 2]) > 95
    half = bars.images[:900], bars.labels[:900]
    assert bars.reverse_accuracy(*half, [0, 1, 2]) > 95
    assert bars.reverse_accuracy(half[0], (half[1] + 1) % 3, [0, 1, 2]) < 5  # the labels matter, not the judge
    torch.manual_seed(0)
    noise = torch.randint(256, (10, 150, 1, 32, 32), dtype=torch.uint8)
    values = [bars.reverse_accuracy(some_noise, bars.labels[:150], [0, 1, 2]) for some_noise in noise]
    assert sum(values) / 10 == pytest.approx(
        100 / 3, abs=15
    )  # bars are alike, so a single value is anything from 0 to 100


def test_reverse_accuracy_counts_real_images_of_the_seen_categories_alone(bars):
    seen = bars.labels < 2
    assert bars.reverse_accuracy(bars.images[seen], bars.labels[seen], [0, 1]) > 95
    assert bars.reverse_accuracy(bars.images[seen], bars.labels[seen], [0, 1, 2]) < 70  # a third is of one never seen


def test_reverse_accuracy_trains_on_as_many_images_as_the_real_set_has(finished, bars, monkeypatch):
    drawn = []
    monkeypatch.setattr(bars, "reverse_accuracy", lambda images, labels, seen: drawn.append((images, labels, seen)))
    scoring.score_reverse(finished("sft") / "task_2.pt", bars, settings())
    ((images, labels, seen),) = drawn
    assert seen == [0, 1] and labels.bincount().tolist() == [600, 600]
    assert images.shape == (1200, 1, 32, 32) and images.dtype == torch.uint8 and images.float().std() > 1


# Photographs


def test_photographs_at_64_by_64_are_scored_with_a_judge_of_their_own(
    photo_options, call_main, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(scoring, "JUDGE_STEPS", 20)
    options = photo_options("mergan_jtr", tmp_path)
    assert call_main(importlib.import_module("mergan_jtr"), *options) is None
    assert call_main(scoring, tmp_path, "--samples", "64", "--intermediate-samples", "64", "--device", "cpu") is None
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
    monkeypatch.setattr(scoring.Reference, "judge_accuracy", lambda self: accuracy)
    scoring.Reference(dict(dataset="idx", data_dir=tiny_data, cache_dir=tmp_path / "new" / "cache"), settings())
    assert ("warning: below 90 %" in capsys.readouterr().err) == (accuracy < 90)
    assert list((tmp_path / "new" / "cache").glob("judge-idx-*.pt"))


def test_runs_from_before_an_option_share_a_row_with_later_ones():
    old = json.loads((ROOT / "results" / "mnist_cpu" / "mergan_ra__1.json").read_text())
    new = json.loads((ROOT / "results" / "mnist_cpu" / "mergan_ra__2.json").read_text())
    assert "replay" not in old["arguments"]
    new["arguments"] = scoring.complete(new["arguments"])
    table = scoring.markdown([old, new])
    assert table.count("| mergan_ra |") == 1 and "| mergan_ra | 2 |" in table


def test_colour_images_are_learned_for_longer_and_shifted(monkeypatch):
    monkeypatch.setattr(scoring, "JUDGE_STEPS", 7)
    seen = []
    monkeypatch.setattr(scoring.Judge, "forward", lambda self, x: seen.append(x) or self.head(self.body(x)))
    images = torch.randint(256, (150, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(150) % 2
    scoring.train_classifier(images, labels, 2, "cpu", "test")
    assert len(seen) == 8 and seen[0].shape == (75, 3, 32, 32)  # four epochs of two batches make 7 steps
    originals = {image.numpy().tobytes() for image in scoring.normalise(images)}
    assert not any(image.numpy().tobytes() in originals for image in seen[0])
    seen.clear()
    monkeypatch.setattr(scoring, "JUDGE_STEPS", 11)
    scoring.train_classifier(images, labels, 2, "cpu", "test")
    assert len(seen) == 12
    seen.clear()
    scoring.train_classifier(images[:, :1], labels, 2, "cpu", "test")
    originals = {image.numpy().tobytes() for image in scoring.normalise(images[:, :1])}
    assert len(seen) == 8 and all(image.numpy().tobytes() in originals for image in seen[0])


# The cache


def count_calls(monkeypatch, *names):
    calls = []
    for name in names:
        function = getattr(scoring, name)
        monkeypatch.setattr(scoring, name, lambda *a, f=function, n=name, **k: calls.append(n) or f(*a, **k))
    return calls


def test_a_second_call_computes_nothing_and_a_changed_file_only_what_is_new(folder, call_main, monkeypatch, capsys):
    options = [folder, "--samples", "64", "--device", "cpu"]
    assert call_main(scoring, *options) is None
    first = capsys.readouterr().out
    calls = count_calls(monkeypatch, "train_classifier", "score_snapshot", "embed")
    assert call_main(scoring, *options) is None
    assert calls == [] and capsys.readouterr().out == first

    shutil.copy(folder / "one" / "task_1.pt", folder / "one" / "task_2.pt")  # other weights, and category 1 unseen
    assert call_main(scoring, *options) is None
    assert calls.count("score_snapshot") == 0  # known, as task_1
    state = torch.load(folder / "one" / "task_3.pt", weights_only=True)
    state["generator"]["linear.bias"] += 1
    torch.save(state, folder / "one" / "task_3.pt")
    assert call_main(scoring, *options) is None
    assert calls.count("score_snapshot") == calls.count("train_classifier") == 1


@pytest.mark.parametrize("option", [["--samples", "128"], ["--statistics", "standing"], ["--fid-samples", "30"]])
def test_other_settings_are_scored_anew(folder, call_main, monkeypatch, option):
    call_main(scoring, folder / "one", "--samples", "64", "--device", "cpu")
    calls = count_calls(monkeypatch, "score_snapshot")
    call_main(scoring, folder / "one", "--samples", "64", "--device", "cpu", *option)
    assert len(calls) == 3


def test_other_real_images_or_another_judge_are_scored_anew(folder, tiny_data, tmp_path, call_main, monkeypatch):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    options = [folder / "one", "--samples", "64", "--device", "cpu", "--data-dir", data]
    call_main(scoring, *options)
    path = data / "t10k-images-idx3-ubyte"
    changed = bytearray(path.read_bytes())
    changed[-400] ^= 255
    path.write_bytes(changed)
    calls = count_calls(monkeypatch, "score_snapshot")
    call_main(scoring, *options)
    assert len(calls) == 3
    (judge,) = data.glob("judge-*.pt")
    state, before = torch.load(judge, weights_only=True), judge.read_bytes()
    torch.save(state, tmp_path / "of_another_name.pt")
    shutil.copy(tmp_path / "of_another_name.pt", judge)
    assert judge.read_bytes() != before  # and yet the same judge
    call_main(scoring, *options)
    assert len(calls) == 3
    state["head.bias"] += 1
    torch.save(state, judge)
    call_main(scoring, *options)
    assert len(calls) == 6


def test_a_damaged_cache_is_made_anew(folder, call_main, capsys):
    options = [folder / "one", "--samples", "64", "--device", "cpu"]
    call_main(scoring, *options)
    first = capsys.readouterr().out
    (folder / "one" / "eval_cache.json").write_text('{"half')
    assert call_main(scoring, *options) is None and capsys.readouterr().out == first


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
    assert all(line[:1] in ("", "|", "*", "A") for line in done.stdout.splitlines())  # the table alone, for a file
    assert "of 60 real test images right" in done.stderr and list(tiny_data.glob("judge-idx-*.pt"))

    results = json.loads((folder / "one" / "eval.json").read_text())
    assert results.keys() == {"average_accuracy", "accuracy", "forgetting", "backward_transfer", "fid",
                              "reverse_accuracy", "reverse_accuracy_ceiling", "diversity", "intermediate",
                              "judge_accuracy", "data", "samples", "statistics", "minutes", "arguments"}  # fmt: skip
    for matrix in (results["accuracy"], results["fid"]["test"]["matrix"], results["fid"]["train"]["matrix"]):
        assert [[value is None for value in row] for row in matrix] == [[c > t for c in range(3)] for t in range(3)]
        assert all(0 <= value for row in matrix for value in row if value is not None)
    for row, average in zip(results["accuracy"], results["average_accuracy"]):
        seen = [value for value in row if value is not None]
        assert max(seen) <= 100 and average == pytest.approx(sum(seen) / len(seen))
    assert results["forgetting"] == pytest.approx(scoring.forgetting(results["accuracy"]))
    assert 0 <= results["reverse_accuracy"] <= 100 and results["fid"]["samples"] == 60 and results["intermediate"] == []
    arguments = json.loads((folder / "one" / "args.json").read_text())
    assert results["arguments"] == {k: v for k, v in arguments.items() if k not in scoring.ELSEWHERE or k == "hardware"}
    assert f"Trained on: {arguments['hardware']}." in scoring.markdown([results])

    of_joint = json.loads((folder / "two" / "eval.json").read_text())
    assert of_joint["accuracy"][:2] == of_joint["average_accuracy"][:2] == [None, None]
    assert len(of_joint["accuracy"][2]) == 3 and of_joint["forgetting"] is of_joint["backward_transfer"] is None

    done = run_script("eval", folder, "--samples", "64", "--device", "cpu", "--csv")
    one, two = csv.DictReader(io.StringIO(done.stdout))
    assert float(one["reverse_accuracy"]) == results["reverse_accuracy"] and two["method"] == "joint"


def test_snapshots_inside_tasks_are_scored_when_asked_for(folder, call_main):
    call_main(scoring, folder / "one", "--samples", "64", "--device", "cpu", "--intermediate-samples", "64")
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
    message = call_main(scoring, folder, "--samples", "64", "--device", "cpu")
    assert message.startswith("error: ") and "\n" not in message
    assert str(snapshot) in message and str(folder / "three" / "args.json") in message
    assert "| sft | 1 |" in capsys.readouterr().out
    matrix = json.loads((folder / "one" / "eval.json").read_text())["accuracy"]
    assert matrix[1] is None and matrix[0][0] is not None and None not in matrix[2]


def test_a_missing_snapshot_is_named_and_leaves_forgetting_open(folder, call_main, capsys):
    (folder / "one" / "task_2.pt").unlink()
    message = call_main(scoring, folder, "--samples", "64", "--device", "cpu")
    assert f"{folder / 'one' / 'task_2.pt'} (missing)" in message and "two" not in message
    assert json.loads((folder / "one" / "eval.json").read_text())["forgetting"] is None


def test_a_half_written_line_of_metrics_and_foreign_arguments_stop_nothing(folder, call_main, capsys):
    with open(folder / "one" / "metrics.jsonl", "a") as log:
        log.write('{"task": 3, "st')
    shutil.copytree(folder / "one", folder / "seven")
    (folder / "seven" / "metrics.jsonl").write_text("damaged\n")
    for name, arguments in [("three", {"method": "sft"}), ("four", {"num_tasks": None}), ("five", [1])]:
        (folder / name).mkdir()
        (folder / name / "args.json").write_text(json.dumps(arguments))
    shutil.copytree(folder / "one", folder / "six")
    arguments = json.loads((folder / "one" / "args.json").read_text())
    (folder / "six" / "args.json").write_text(json.dumps(arguments | {"data_dir": "nowhere"}))
    message = call_main(scoring, folder, "--samples", "64", "--device", "cpu")
    assert (
        all(str(folder / name) in message for name in ("three", "four", "five", "six", "seven")) and "\n" not in message
    )
    assert not any(str(folder / name) in message for name in ("one", "two"))
    output = capsys.readouterr().out
    assert "| sft | 1 |" in output and "| joint | 1 |" in output


def test_standing_statistics_inside_a_task_are_measured_anew(finished):
    path = finished("sft") / "snapshots" / "task_2_step_000002.pt"
    generator, snapshot = scoring.load_generator(path, settings(statistics="standing"))
    stale = make_generator(**snapshot["config"]).eval()
    stale.load_state_dict(snapshot["generator"])
    batch, _ = scoring.load_generator(path, settings())
    images, old, expected = (scoring.draw(g, 1, 256) for g in (generator, stale, batch))
    assert (images - expected).abs().mean() < 0.2 * (old - expected).abs().mean()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--fid-samples", "5"], "--fid-samples is 5, expected at least 2 for each of the 3 tasks"),
        (["--fid-features", "inception", "--inception-weights", "nowhere"], 2),
    ],
)
def test_options_that_cannot_work_end_in_one_line(folder, call_main, options, message, capsys):
    stop = call_main(scoring, folder, "--samples", "64", "--device", "cpu", *options)
    assert stop == message or message in stop


def test_a_run_that_has_just_begun_is_scored_as_far_as_it_is(folder, call_main, capsys):
    for path in [*(folder / "one").glob("task_*.pt"), folder / "one" / "metrics.jsonl"]:
        path.unlink()
    assert call_main(scoring, folder, "--samples", "64", "--device", "cpu") is None
    assert "| sft | 0 | – |" in capsys.readouterr().out


def test_without_runs_eval_ends_in_one_line(tmp_path, call_main):
    message = call_main(scoring, tmp_path)
    assert message.startswith(f"error: no run (a folder with args.json) in {tmp_path}") and "\n" not in message


@pytest.mark.parametrize("option", ["samples", "intermediate-samples"])
def test_samples_must_be_a_multiple_of_64(tmp_path, call_main, capsys, option):
    assert call_main(scoring, tmp_path, f"--{option}", "100") == 2
    assert f"--{option} is 100, expected a multiple of 64" in capsys.readouterr().err


def test_the_judge_learns_the_tiny_data_and_is_trained_once(tiny_data, capsys):
    scoring.Reference(dict(dataset="idx", data_dir=tiny_data), settings())
    capsys.readouterr()
    reference = scoring.Reference(dict(dataset="idx", data_dir=tiny_data), settings())
    assert "epoch" not in capsys.readouterr().err
    assert reference.accuracy > 50 and not reference.judge.training


def test_eval_needs_the_five_packages_alone():
    hide = "import sys; sys.modules.update(dict.fromkeys(['matplotlib', 'sklearn', 'torch_fidelity'])); import eval"
    subprocess.run([sys.executable, "-c", hide], cwd=ROOT, check=True)
