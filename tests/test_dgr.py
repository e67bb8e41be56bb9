"""Deep generative replay: what its networks learn from, and how its images get their categories."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from conftest import call_main, load, metrics, same_weights
from PIL import Image
from torch import nn

import common
import dgr
import eval
import figures
from common import Generator, Judge
from scoring.drawing import SavedGenerator
from scoring.scores import score_reverse

# Training


@pytest.fixture
def batches(monkeypatch):
    """What dgr.py learns from: real images and replays, fakes, labels and the solver's logits.

    One critic step for each generator step is expected.
    """
    critic_loss = dgr.critic_loss
    cross_entropy = dgr.F.cross_entropy
    seen = []

    def of_critic(critic, real, fake, y, lambda_cls):
        seen.append(SimpleNamespace(real=real, fake=fake, y=y))
        return critic_loss(critic, real, fake, y, lambda_cls)

    def of_solver(logits, labels):
        if logits.shape[1] > 1:  # not the critic's head, which knows one category
            seen[-1].logits = logits.detach()
            seen[-1].labels = labels
        return cross_entropy(logits, labels)

    monkeypatch.setattr(dgr, "critic_loss", of_critic)
    monkeypatch.setattr(dgr.F, "cross_entropy", of_solver)
    return seen


@pytest.mark.parametrize("together, tasks", [(1, [[0], [1], [2]]), (2, [[0, 1], [2]])])
def test_a_batch_has_equal_shares_of_categories_named_by_the_solver_of_the_task_before(
    together, tasks, batches, tiny_options, tiny_data, tmp_path
):
    options = ["--iters", 2, "--critic-steps", 1, "--categories-per-task", together]
    assert call_main(dgr, *tiny_options("dgr", tmp_path), *options) is None
    for line, batch in zip(metrics(tmp_path), batches, strict=True):
        of_label = torch.log_softmax(batch.logits, 1)[torch.arange(12), batch.labels]
        assert line["solver"] == pytest.approx(-of_label.mean().item(), abs=1e-5)
    images, labels, _ = common.load_dataset("idx", tiny_data, "train")
    images = common.normalise(images)
    for number, batch in enumerate(batches):
        task = number // 2
        n = 12 // (tasks[task][-1] + 1)
        assert len(batch.real) == len(batch.fake) == len(batch.logits) == 12
        assert batch.y.tolist() == [0]
        # First real images of the task's categories
        new = torch.tensor(tasks[task]).repeat_interleave(n)
        assert batch.labels[: len(new)].tolist() == new.tolist()
        for image, category in zip(batch.real, new):
            assert (image == images[labels == category]).flatten(1).all(1).any()
        # Then replays, which are neither real nor of this generator
        if task > 0:
            replay = batch.real[len(new) :]
            assert not (replay[:, None] == images[None, ::10]).flatten(2).all(2).any()
            assert not torch.equal(replay, batch.fake[len(new) :])
            solver = common.load_generator(tmp_path / f"task_{task}.pt")[1]
            assert torch.equal(batch.labels[len(new) :], solver(replay).argmax(1))


def test_one_solver_learns_and_a_frozen_one_names_replays(tiny_options, tmp_path, monkeypatch):
    forward = Judge.forward
    modes = set()

    def recording(self, x):
        modes.add((self.training, torch.is_grad_enabled()))
        return forward(self, x)

    monkeypatch.setattr(Judge, "forward", recording)
    options = ["--iters", 1, "--critic-steps", 1, "--num-tasks", 2]
    assert call_main(dgr, *tiny_options("dgr", tmp_path), *options) is None
    assert modes == {(True, True), (False, False)}


def test_replays_are_of_the_generator_of_the_task_before_normalised_as_a_whole_batch(
    batches, tiny_options, tmp_path, monkeypatch
):
    forward = Generator.forward
    noises = []

    def recording(self, z, y):
        noises.append(z)
        return forward(self, z, y)

    monkeypatch.setattr(Generator, "forward", recording)
    options = ["--iters", 1, "--critic-steps", 1, "--num-tasks", 2]
    assert call_main(dgr, *tiny_options("dgr", tmp_path), *options) is None
    generator, _, _ = common.load_generator(tmp_path / "task_1.pt")
    replayed = batches[1].real[6:]
    equal = 0
    for z in noises:
        if len(z) == 12:
            replay = forward(generator, z, torch.tensor([0]))[6:]
            equal += torch.allclose(replay, replayed, atol=1e-5)
    assert equal == 1


def test_the_solver_does_not_move_the_generator_and_the_class_terms_are_zero(
    finished, tiny_options, tmp_path, monkeypatch
):
    # In the first task no replay depends on the solver
    theirs = load(finished("dgr") / "task_1.pt")

    def zero(logits, labels):
        return 0 * logits.sum()

    monkeypatch.setattr(dgr.F, "cross_entropy", zero)
    options = [*tiny_options("dgr", tmp_path), "--num-tasks", 1, "--lambda-cls", 7]
    assert call_main(dgr, *options) is None
    ours = load(tmp_path / "task_1.pt")
    assert same_weights(ours["generator"], theirs["generator"])
    assert not torch.equal(ours["solver"]["head.weight"], theirs["solver"]["head.weight"])


def test_the_solver_learns(finished):
    saved = load(finished("dgr") / "task_3.pt")
    assert saved["config"]["num_categories"] == 1
    assert saved["seen"] == [0, 1, 2]
    losses = [line["solver"] for line in metrics(finished("dgr"))]
    assert losses[0] > 0.3 > losses[3]  # of one category it is soon certain
    assert len(set(losses)) == len(losses)


# Scores


class Brightest(nn.Module):
    """A solver that goes by the first pixel: category 0 up to low, 1 up to high, 2 above."""

    def __init__(self, low, high):
        super().__init__()
        self.bounds = torch.tensor([low, high])

    def forward(self, x):
        category = torch.bucketize(x[:, 0, 0, 0].contiguous(), self.bounds)
        return nn.functional.one_hot(category, 3).float()


def scholar(low, high):
    """A generator that never learned, with a solver that goes by the first pixel."""
    torch.manual_seed(0)
    generator = Generator(1, 1, latent_dim=4, width=2)
    with torch.no_grad():
        generator.deconvs[2].weight.mul_(5)  # for more contrast
    return SavedGenerator(generator, [0, 1, 2], ["0", "1", "2"], solver=Brightest(low, high))


@torch.no_grad()
def painted(groups, seed):
    """Images of the scholar's generator, in groups of 64 as it draws them."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(64 * groups, 4, generator=random)
    generator = scholar(0.0, 0.0).generator
    return torch.cat([generator(some, torch.tensor([0])) for some in z.split(64)])


@pytest.fixture(scope="module")
def first_pixels():
    """The first pixel of some of the scholar's images."""
    return painted(20, seed=6)[:, 0, 0, 0]


def test_images_of_a_category_are_the_first_that_the_solver_takes_for_it(first_pixels):
    low, high = first_pixels.quantile(torch.tensor([0.3, 0.6])).tolist()
    images = painted(16, seed=5)
    pixels = images[:, 0, 0, 0]
    chosen = [pixels < low, (pixels > low) & (pixels < high), pixels > high]
    generator = scholar(low, high)
    for category, mask in enumerate(chosen):
        assert mask.sum() > 64
        drawn = generator.draw(category, 64, seed=5)
        assert drawn.shape == (64, 1, 32, 32)
        torch.testing.assert_close(drawn, images[mask][:64], rtol=1e-5, atol=1e-5)


def test_samples_of_a_category_are_the_first_that_the_solver_takes_for_it(first_pixels):
    low, high = first_pixels.quantile(torch.tensor([0.5, 0.99])).tolist()
    seen = torch.arange(3)
    generator = scholar(low, high).generator
    found = common.fixed_samples(generator, seen, Brightest(low, high))
    images = painted(len(seen), seed=0)
    categories = Brightest(low, high)(images).argmax(1)
    assert found.shape == (3, 10, 1, 32, 32)
    for row, category in zip(found, seen):
        expected = images[categories == category][:10]
        shown = common.normalise(row[: len(expected)])
        torch.testing.assert_close(shown, expected, rtol=0, atol=1 / 255 + 1e-4)
        assert (row[len(expected) :] == 0).all()  # black
    assert len(expected) < 10  # the last category is rare


def test_a_category_that_the_solver_rarely_names_has_fewer_images(first_pixels):
    middle, high = first_pixels.quantile(torch.tensor([0.5, 0.98])).tolist()
    # 2 % of at most 4 · 3 · 64 images
    assert 1 < len(scholar(middle, high).draw(2, 64)) < 64


@pytest.fixture(scope="module")
def biased(finished, tmp_path_factory):
    """A run whose solver never names category 1, and after the first task only category 2."""
    run_dir = shutil.copytree(finished("dgr"), tmp_path_factory.mktemp("biased") / "run")
    for path in run_dir.rglob("task_*.pt"):
        saved = load(path)
        saved["solver"]["head.bias"] += torch.tensor([9.0, -1e9, 0.0])
        if path.name == "task_1.pt":
            saved["solver"]["head.bias"][2] = 1e9
        torch.save(saved, path)
    return run_dir


def test_a_category_never_named_scores_zero(biased):
    options = ["--samples", 64, "--intermediate-samples", 64, "--device", "cpu"]
    assert call_main(eval, biased, *options) is None
    result = json.loads((biased / "eval.json").read_text())
    fid = result["fid"]["test"]
    final = result["accuracy"][-1]
    assert final[1] == 0.0
    assert result["diversity"][1] == 0.0
    assert fid["per_category"][1] is None
    # The mean is over all categories seen, FID over the images that there are
    assert result["average_accuracy"][-1] == pytest.approx(sum(final) / 3)
    assert fid["all"] > 0
    assert 0 <= result["reverse_accuracy"] <= 100
    assert result["fid"]["samples_per_category"] == [20, 20, 20]
    assert len(result["intermediate"]) == 3 * 3
    # After the first task there is no image of a category seen
    assert result["accuracy"][0] == [0.0, None, None]
    assert fid["all_by_task"][0] is None


def test_reverse_accuracy_without_any_image_is_zero(biased):
    reference = SimpleNamespace(labels=torch.tensor([0, 1, 2] * 30), device="cpu")
    assert score_reverse(biased / "task_1.pt", reference) == 0.0


def test_pictures_show_the_images_that_the_solver_takes_for_a_category(biased, tmp_path):
    paint = ["paint", biased, "-n", 9, "-o", tmp_path / "nine.png", "--category"]
    assert call_main(figures, *paint, 0) is None
    assert Image.open(tmp_path / "nine.png").size == (3 * 34 + 2, 3 * 34 + 2)
    assert "takes fewer than 9 images for category 1" in call_main(figures, *paint, 1)
    assert "cannot be asked for a category" in call_main(figures, *paint, 0, "--interpolate")
