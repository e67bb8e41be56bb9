"""What saved generators score: drawing, accuracy, FID, diversity, reverse accuracy."""

import json

import numpy as np
import pytest
import torch
from conftest import Brightness, write_bars

import common
from common import Generator
from datafiles.idx import write_idx
from scoring import judge as judges
from scoring import metrics, scores, tables
from scoring.drawing import SavedGenerator
from scoring.reference import Reference
from scoring.runs import SavedRun
from scoring.scores import score_run


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


def reference_to(folder):
    """A Reference to the data in a folder, with Brightness as its judge."""
    reference = Reference(dict(dataset="idx", data_dir=folder))
    reference.judge, reference.judge_name = Brightness(), "brightness"
    return reference


@pytest.fixture
def dark_and_bright(tmp_path):
    """A Reference to images of two categories, dark and bright."""
    random = np.random.default_rng(0)
    folder = tmp_path / "real"
    folder.mkdir()
    for prefix, count in [("train", 400), ("t10k", 80)]:
        labels = (np.arange(count) % 2).astype(np.uint8)
        bright, dark = random.integers(200, 256, count), random.integers(0, 50, count)
        shades = np.where(labels, bright, dark).astype(np.uint8)
        images = np.tile(shades[:, None, None], (1, 32, 32))
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
    return reference_to(folder)


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
    """A run on dark and bright images that has saved such generators."""
    run.mkdir()
    own = dict(dataset="idx", num_tasks=len(painters), iters=4, batch_size=12, learning_rate=1e-3)
    own |= dict(width=1, method="sft", seed=1, categories_per_task=1, hardware="a CPU")
    (run / "args.json").write_text(json.dumps(own | arguments))
    (run / "metrics.jsonl").write_text('{"elapsed": 30.0}\n{"elapsed": 90.0}\n')
    for task, generator in enumerate(painters, start=1):
        snapshot = dict(
            config=generator.config, generator=generator.state_dict(), categories=["0", "1"]
        )
        torch.save(snapshot | dict(seen=list(range(task))), run / f"task_{task}.pt")
    return run


@pytest.mark.parametrize("statistics", ["batch", "standing"])
def test_score_fills_the_matrices_by_task_and_category(tmp_path, dark_and_bright, statistics):
    save_run(tmp_path / "run", [painter(False, False), painter(True, True)])
    standing = statistics == "standing"
    run = SavedRun(tmp_path / "run")
    results, problems = score_run(run, dark_and_bright, samples=64, standing=standing)
    assert problems == []
    assert results["accuracy"] == [[100.0, None], [0.0, 100.0]]
    assert results["average_accuracy"] == [100.0, 50.0]
    assert (results["forgetting"], results["backward_transfer"]) == (100.0, -100.0)
    assert results["learned"] == 100.0
    assert results["minutes"] == 1.5
    assert (results["samples"], results["statistics"]) == (64, statistics)

    fid = results["fid"]
    # 40 real test images of each category
    assert (fid["features"], fid["samples"]) == ("judge", 80)
    for split in ("test", "train"):
        matrix = fid[split]["matrix"]
        assert matrix[0][1] is None and fid[split]["per_category"] == matrix[1]
        # Bright for dark is far off, bright for bright is not
        assert matrix[1][0] > 5 > 1 > matrix[0][0] and matrix[1][1] < 1
        assert fid[split]["all_by_task"][1] == fid[split]["all"] > 1 > fid["floor"][split]
        assert fid[split]["afq"] == pytest.approx(sum(matrix[1]) / 2)
        assert fid[split]["fr"] == pytest.approx(matrix[1][0] - matrix[0][0])
    assert results["diversity"] == [0.0, 0.0]  # every image of a category is the same: collapsed


def test_fid_over_all_is_of_the_categories_together(tmp_path, dark_and_bright):
    save_run(tmp_path / "run", [painter(False, False), painter(True, True)])
    results, _ = score_run(SavedRun(tmp_path / "run"), dark_and_bright, samples=64)
    saved = SavedGenerator(painter(True, True), [0, 1], ["0", "1"])
    drawn = torch.cat([judges.embed(Brightness(), saved.draw(c, 64)[:40]) for c in (0, 1)])
    real = judges.embed(Brightness(), dark_and_bright.test_images)
    assert results["fid"]["test"]["all"] == pytest.approx(metrics.fid(drawn, real), rel=1e-6)


def test_counts_are_the_same_on_both_sides_and_never_more_than_there_are(dark_and_bright):
    assert dark_and_bright.count(0, categories=2, samples=6400) == 40  # real test images
    assert dark_and_bright.count(0, categories=2, samples=20) == 20
    dark_and_bright.fid_samples = 24
    assert dark_and_bright.count(0, categories=2, samples=6400) == 12
    assert {len(dark_and_bright.real(split, 0, 12)) for split in ("train", "test", "rest")} == {12}


def test_floor_is_of_training_images_that_are_not_on_the_other_side(tmp_path, dark_and_bright):
    indexed = torch.arange(400).view(400, 1, 1, 1) * torch.ones(1, 1, 32, 32)
    dark_and_bright.images = indexed
    train, rest = (dark_and_bright.real(split, 1, 100) for split in ("train", "rest"))
    assert not set(train[:, 1].tolist()) & set(rest[:, 1].tolist())
    assert len(train) == len(rest) == 100


def test_diversity_of_real_images_is_one_and_mean_distance_is_over_all_pairs(dark_and_bright):
    features = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    assert metrics.mean_distance(features) == pytest.approx((5 + 10 + 5) / 3)
    real = judges.embed(Brightness(), dark_and_bright.chosen("test", 0, 30))
    assert metrics.mean_distance(real) == pytest.approx(dark_and_bright.real_distance(0, 30))
    dark_and_bright.kind = "inception"  # diversity is of the judge's features all the same
    assert metrics.mean_distance(real[:20]) == pytest.approx(dark_and_bright.real_distance(0, 20))


def test_a_task_of_two_categories_is_scored_as_one_task(tmp_path, dark_and_bright):
    run = SavedRun(save_run(tmp_path / "run", [painter(False, False)], categories_per_task=2))
    state = torch.load(run.task(1), weights_only=True)
    torch.save(state | {"seen": [0, 1]}, run.task(1))
    dark_and_bright.fid_samples = 24
    results, _ = score_run(run, dark_and_bright, samples=64, reverse_accuracy=False)
    assert results["accuracy"] == [[100.0, 0.0]]
    assert (results["learned"], results["forgetting"]) == (50.0, None)
    assert results["fid"]["samples_per_category"] == [12, 12]  # two share them
    per_category = results["fid"]["test"]["per_category"]
    assert results["fid"]["test"]["afq"] == pytest.approx(sum(per_category) / 2)
    assert results["reverse_accuracy"] is results["reverse_accuracy_ceiling"] is None
    assert "categories per task 2**" in tables.markdown([with_options(results)])


def with_options(results):
    """Scores whose run names its options as a method script does."""
    results["arguments"] |= {"categories": "", "images_per_category": None}
    return results


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    """A Reference to 1 800 training images of bars left, in the middle or right."""
    folder = tmp_path_factory.mktemp("bars")
    write_bars(folder, train=1800, test=300)
    return reference_to(folder)


def test_reverse_accuracy_is_near_the_ceiling_on_real_images_and_at_chance_on_noise(bars):
    images, labels, seen = bars.images[:900], bars.labels[:900], [0, 1, 2]
    assert bars.ceiling(seen) > 95
    assert bars.reverse_accuracy(images, labels, seen) > 95
    # The labels matter, not the judge
    assert bars.reverse_accuracy(images, (labels + 1) % 3, seen) < 5
    torch.manual_seed(0)
    noise = torch.randint(256, (10, 150, 1, 32, 32), dtype=torch.uint8)
    values = [bars.reverse_accuracy(some_noise, labels[:150], seen) for some_noise in noise]
    # Bars are alike, so a single value is anything from 0 to 100
    assert sum(values) / 10 == pytest.approx(100 / 3, abs=15)


def test_reverse_accuracy_counts_real_images_of_the_seen_categories_alone(bars):
    seen = bars.labels < 2
    assert bars.reverse_accuracy(bars.images[seen], bars.labels[seen], [0, 1]) > 95
    # A third is of a category that was never seen
    assert bars.reverse_accuracy(bars.images[seen], bars.labels[seen], [0, 1, 2]) < 70


def test_reverse_accuracy_trains_on_as_many_images_as_the_real_set_has(finished, bars, monkeypatch):
    drawn = []
    monkeypatch.setattr(bars, "reverse_accuracy", lambda *arguments: drawn.append(arguments[:3]))
    scores.score_reverse(finished("sft") / "task_2.pt", bars)
    ((images, labels, seen),) = drawn
    assert seen == [0, 1] and labels.bincount().tolist() == [600, 600]
    assert images.shape == (1200, 1, 32, 32) and images.dtype == torch.uint8
    assert images.float().std() > 1


def test_standing_statistics_inside_a_task_are_measured_anew(finished):
    path = finished("sft") / "snapshots" / "task_2_step_000002.pt"
    stale, _, snapshot = common.load_generator(path)
    images = SavedGenerator.load(path, standing=True).draw(1, 256)
    old = SavedGenerator(stale.eval(), [0, 1], snapshot["categories"]).draw(1, 256)
    expected = SavedGenerator.load(path).draw(1, 256)
    assert (images - expected).abs().mean() < 0.2 * (old - expected).abs().mean()
