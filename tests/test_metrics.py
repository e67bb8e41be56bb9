"""The measures against independent references: matrices of scores, FID, Inception's features."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from conftest import call_main

import eval
from scoring import metrics
from scoring.inception import inception

# Rows after each task, columns tasks
MATRIX = [[95.0, None, None], [90.0, 80.0, None], [60.0, 85.0, 99.0]]


def test_forgetting_is_the_best_before_minus_the_final_over_all_but_the_newest_task():
    assert metrics.forgetting(MATRIX) == pytest.approx(((95 - 60) + (80 - 85)) / 2)


def test_backward_transfer_is_the_final_minus_the_first_over_all_but_the_newest_task():
    assert metrics.backward_transfer(MATRIX) == pytest.approx(((60 - 95) + (85 - 80)) / 2)


@pytest.mark.parametrize(
    "measure", [metrics.forgetting, metrics.backward_transfer, metrics.learned]
)
def test_all_need_every_row(measure):
    for matrix in (
        [None, None, [90.0, 80.0, 70.0]],
        [[90.0, None, None], None, [60.0, 85.0, 99.0]],
        [[90.0, None], [80.0, None]],
    ):
        assert measure(matrix) is None
    assert measure([[90.0]]) == (90.0 if measure is metrics.learned else None)


def test_learned_is_the_mean_of_what_each_task_was_when_just_learned():
    assert metrics.learned(MATRIX) == pytest.approx((95 + 80 + 99) / 3)


def test_the_qualities_are_those_of_clog():
    """With the sums written out: T = 3, FIDs of MATRIX."""
    qualities = metrics.qualities(MATRIX)
    assert qualities["afq"] == pytest.approx((60 + 85 + 99) / 3)
    assert qualities["aiq"] == pytest.approx((95 + 90 + 80 + 60 + 85 + 99) / 6)
    assert qualities["fr"] == pytest.approx(((60 - 95) + (85 - 80)) / 2)


def test_one_generator_for_all_tasks_has_a_final_quality_only():
    assert metrics.qualities([None, None, [1.0, 2.0, 6.0]]) == {"afq": 3.0, "aiq": None, "fr": None}
    assert metrics.qualities([[4.0]]) == {"afq": 4.0, "aiq": 4.0, "fr": None}
    assert metrics.qualities([[4.0], None]) == {"afq": None, "aiq": None, "fr": None}
    assert metrics.qualities([[4.0, None], [5.0, None]]) == {"afq": None, "aiq": None, "fr": None}


def test_a_matrix_by_task_has_the_means_of_the_tasks_categories():
    """Tasks of two categories, of which the last has one; the sixth category is never learned."""
    by_category = [
        [90.0, 80.0, None, None, None, None],
        None,
        [10.0, 30.0, 50.0, 70.0, 100.0, None],
    ]
    assert metrics.by_task(by_category, 2) == [[85.0, None, None], None, [20.0, 60.0, None]]
    assert metrics.by_task([row and row[:5] for row in by_category], 2)[2] == [20.0, 60.0, 100.0]
    assert metrics.by_task(MATRIX, 1) == MATRIX


# FID


@pytest.mark.parametrize("n, m, d", [(300, 200, 16), (500, 400, 128)])
def test_fid_equals_torch_fidelitys(n, m, d):
    from torch_fidelity import metric_fid as reference

    random = torch.Generator().manual_seed(0)
    mix = torch.randn(d, d, generator=random)
    # Correlated and not Gaussian, as features are
    a = torch.randn(n, d, generator=random).relu() @ mix
    b = torch.randn(m, d, generator=random).relu() @ mix * 1.3 + 0.2
    moments = [reference.fid_features_to_statistics(x) for x in (a, b)]
    expected = reference.fid_statistics_to_metric(*moments, False)["frechet_inception_distance"]
    assert metrics.fid(a, b) == pytest.approx(float(expected), rel=1e-4)


def test_fid_is_sound_where_covariances_are_singular():
    """10 images of 30 features, against the other form of the trace, by eigenvalues."""
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 10, 30, dtype=torch.double, generator=random)
    sigma = [np.cov(x.numpy(), rowvar=False) for x in (a, b)]
    product = np.sqrt(np.linalg.eigvals(sigma[0] @ sigma[1]).real.clip(0)).sum()
    means = (a.mean(0) - b.mean(0)).square().sum().item()
    expected = means + np.trace(sigma[0] + sigma[1]) - 2 * product
    assert metrics.fid(a, b) == pytest.approx(expected, rel=1e-5)
    # No spread at all: only the means and the other's trace remain
    expected = (a.mean(0) - 1).square().sum().item() + np.trace(sigma[0])
    assert metrics.fid(a, torch.ones(5, 30)) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="at least 2 images a side, got 10 and 1"):
        metrics.fid(a, b[:1])


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    """A file of random weights for torch-fidelity's Inception network."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Network

    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    download = "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, lambda *a, **k: {})
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
    unread = "error: Inception's weights could not be read from .*--inception-weights"
    with pytest.raises(SystemExit, match=unread):
        inception(str(tmp_path / "weights.pth"), "cpu")
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    absent = "needs torch-fidelity; install it with: python -m pip install -r"
    with pytest.raises(SystemExit, match=absent):
        inception(None, "cpu")


def test_inception_fid_of_a_run(finished, tiny_data, tmp_path, inception_weights):
    shutil.copytree(finished("joint"), tmp_path / "run")
    options = "--quick --samples 64 --fid-samples 6 --device cpu --fid-features inception".split()
    options += ["--inception-weights", inception_weights[0]]
    assert call_main(eval, tmp_path, *options) is None
    fid = json.loads((tmp_path / "run" / "eval.json").read_text())["fid"]
    assert (fid["features"], fid["samples"]) == ("inception", 6) and fid["test"]["all"] > 0
