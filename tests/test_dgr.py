"""Deep generative replay: what its networks learn from, and how a generator that knows no categories is scored."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from conftest import metrics
from PIL import Image
from torch import nn

import dgr
import eval
import figures
from common import Generator, Judge, make_generator
from scoring.drawing import SavedGenerator
from scoring.scores import score_reverse


@pytest.fixture
def batches(monkeypatch):
    """(real images and replays, logits of the solver, labels) of every generator iteration of dgr.py."""
    seen, critic_loss, cross_entropy = [], dgr.critic_loss, dgr.F.cross_entropy

    def of_critic(critic, real, fake, y, lambda_cls):
        seen.append([real, fake, y])
        return critic_loss(critic, real, fake, y, lambda_cls)

    def of_solver(logits, labels):
        if logits.shape[1] > 1:  # not the critic's class head of one category
            seen[-1] += [logits.detach(), labels]
        return cross_entropy(logits, labels)

    monkeypatch.setattr(dgr, "critic_loss", of_critic)
    monkeypatch.setattr(dgr.F, "cross_entropy", of_solver)
    return seen


def test_a_batch_has_every_category_in_equal_shares_replays_named_by_the_solver_of_the_task_before(
    batches, call_main, tiny_options, tmp_path, monkeypatch
):
    modes, forward = set(), Judge.forward
    monkeypatch.setattr(
        Judge, "forward", lambda self, x: modes.add((self.training, torch.is_grad_enabled())) or forward(self, x)
    )
    options = "--iters 2 --critic-steps 1 --snapshots tasks".split()
    assert call_main(dgr, *tiny_options("dgr", tmp_path), *options) is None
    assert modes == {(True, True), (False, False)}  # the one that learns, and the frozen one that names replays
    images, labels, _ = dgr.load_dataset(**vars(dgr.parse_args()), split="train")
    images = images.float() / 127.5 - 1
    assert len(batches) == 6
    for i, (real, fake, y, logits, named) in enumerate(batches):
        task = i // 2
        n = 12 // (task + 1)
        assert (len(real), len(fake), len(logits), y.tolist()) == (12, 12, 12, [0])
        for image in real[:n]:
            assert (image == images[labels == task]).flatten(1).all(1).any()
        assert named[:n].tolist() == [task] * n
        if task == 0:
            continue
        assert not (real[n:, None] == images[None, ::10]).flatten(2).all(2).any()
        snapshot = torch.load(tmp_path / f"task_{task}.pt", weights_only=True)
        solver = Judge(3, 1).eval()
        solver.load_state_dict(snapshot["solver"])
        assert torch.equal(named[n:], solver(real[n:]).argmax(1))
        assert not torch.equal(real[n:], fake[n:])
    for line, (*_, logits, named) in zip(metrics(tmp_path), batches):
        expected = -torch.log_softmax(logits, 1)[torch.arange(12), named].mean().item()
        assert line["solver"] == pytest.approx(expected, abs=1e-5)


def test_replays_are_of_the_generator_of_the_task_before_normalised_as_a_whole_batch(
    batches, call_main, tiny_options, tmp_path, monkeypatch
):
    noises, forward = [], Generator.forward
    monkeypatch.setattr(Generator, "forward", lambda self, z, y: noises.append(z) or forward(self, z, y))
    assert call_main(dgr, *tiny_options("dgr", tmp_path), "--iters", 1, "--critic-steps", 1, "--num-tasks", 2) is None
    snapshot = torch.load(tmp_path / "task_1.pt", weights_only=True)
    generator = make_generator(**snapshot["config"])
    generator.load_state_dict(snapshot["generator"])
    replays = [forward(generator, z, torch.tensor([0]))[6:] for z in noises if len(z) == 12]
    assert sum(torch.allclose(replay, batches[1][0][6:], atol=1e-5) for replay in replays) == 1


def test_the_solver_leaves_the_generator_alone_and_the_class_terms_are_zero(
    finished, call_main, tiny_options, tmp_path, monkeypatch
):
    """In the first task, without replays that a solver names: the same without its loss, and with any --lambda-cls."""

    def first_generator(run_dir):
        return torch.load(run_dir / "task_1.pt", weights_only=True)["generator"]

    monkeypatch.setattr(dgr.F, "cross_entropy", lambda logits, labels: 0 * logits.sum())
    options = [*tiny_options("dgr", tmp_path), "--num-tasks", 1, "--lambda-cls", 7]
    assert call_main(dgr, *options) is None
    ours, theirs = first_generator(tmp_path), first_generator(finished("dgr"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    solver = torch.load(tmp_path / "task_1.pt", weights_only=True)["solver"]
    assert not torch.equal(
        solver["head.weight"], torch.load(finished("dgr") / "task_1.pt", weights_only=True)["solver"]["head.weight"]
    )


def test_the_solver_learns_the_categories_of_real_images_and_replays(finished):
    snapshot = torch.load(finished("dgr") / "task_3.pt", weights_only=True)
    assert snapshot["config"]["num_categories"] == 1 and snapshot["seen"] == [0, 1, 2]
    lines = metrics(finished("dgr"))
    assert lines[0]["solver"] > 0.3 > lines[3]["solver"]  # one category: soon certain
    assert len({line["solver"] for line in lines}) == len(lines)


# Scores


class Brightest(nn.Module):
    """A solver that calls an image 0, 1 or 2 by the brightness of its first pixel: bounds are -1, a, b, 1."""

    def __init__(self, a, b):
        super().__init__()
        self.bounds = torch.tensor([a, b])

    def forward(self, x):
        return nn.functional.one_hot(torch.bucketize(x[:, 0, 0, 0].contiguous(), self.bounds), 3).float()


def scholar(*bounds):
    torch.manual_seed(0)
    generator = Generator(1, 1, latent_dim=4, width=2)
    with torch.no_grad():
        generator.deconvs[2].weight.mul_(5)
    return SavedGenerator(generator, [0, 1, 2], ["0", "1", "2"], solver=Brightest(*bounds))


@torch.no_grad()
def first_pixels():
    """The first pixel of some of the scholar's images."""
    generator, random = scholar(0, 0).generator, torch.Generator().manual_seed(6)
    z = torch.randn(20, 64, 4, generator=random)
    return torch.cat([generator(some, torch.tensor([0]))[:, 0, 0, 0] for some in z])


def test_images_of_a_category_are_the_first_that_the_solver_takes_for_it():
    low, high = first_pixels().quantile(torch.tensor([0.3, 0.6])).tolist()
    generator = scholar(low, high)
    z = torch.randn(64 * 16, 4, generator=torch.Generator().manual_seed(5))
    y = torch.tensor([0])
    painted = torch.cat([generator.generator(some, y) for some in z.split(64)]).detach()
    pixel = painted[:, 0, 0, 0]
    chosen = [pixel < low, (pixel > low) & (pixel < high), pixel > high]
    assert all(mask.sum() > 64 for mask in chosen)
    for category, mask in enumerate(chosen):
        drawn = generator.draw(category, 64, seed=5)
        assert drawn.shape == (64, 1, 32, 32)
        torch.testing.assert_close(drawn, painted[mask][:64], rtol=1e-5, atol=1e-5)


def test_a_category_that_is_rare_or_never_named_has_fewer_images_or_none():
    middle, rarely = first_pixels().quantile(torch.tensor([0.5, 0.98])).tolist()
    counts = [len(scholar(middle, 5.0).draw(c, 64)) for c in (0, 1, 2)]
    assert counts == [64, 64, 0]
    rare = scholar(middle, rarely)
    assert 1 < len(rare.draw(2, 64)) < 64  # of at most 4 · 3 · 64 images


def test_a_run_is_scored_and_a_category_never_named_gets_zero(finished, tmp_path, call_main):
    run = shutil.copytree(finished("dgr"), tmp_path / "run")
    for path in run.rglob("task_*.pt"):
        snapshot = torch.load(path, weights_only=True)
        snapshot["solver"]["head.bias"] += torch.tensor([9.0, -1e9, 0.0])  # category 1 is never named
        if path.name == "task_1.pt":
            snapshot["solver"]["head.bias"][2] = 1e9  # which is not seen yet: none of those seen is named
        torch.save(snapshot, path)
    assert call_main(eval, run, "--samples", "64", "--device", "cpu", "--intermediate-samples", "64") is None
    result = json.loads((run / "eval.json").read_text())
    final = result["accuracy"][-1]
    assert final[1] == 0.0 and result["diversity"][1] == 0.0 and result["fid"]["test"]["per_category"][1] is None
    assert result["average_accuracy"][-1] == pytest.approx(sum(final) / 3)
    assert result["fid"]["test"]["all"] > 0
    assert 0 <= result["reverse_accuracy"] <= 100
    assert result["fid"]["samples_per_category"] == [20, 20, 20] and len(result["intermediate"]) == 3 * 3
    assert result["accuracy"][0] == [0.0, None, None] and result["fid"]["test"]["all_by_task"][0] is None
    reference = SimpleNamespace(labels=torch.tensor([0, 1, 2] * 30), device="cpu")
    assert score_reverse(run / "task_1.pt", reference) == 0.0

    assert call_main(figures, "samples", run, "-o", tmp_path) is None
    paint = ["paint", run, "-n", "9", "-o", tmp_path / "nine.png", "--category"]
    assert call_main(figures, *paint, "0") is None and Image.open(tmp_path / "nine.png").size == (104, 104)
    assert "takes fewer than 9 images for category 1" in call_main(figures, *paint, "1")
    assert "cannot be asked for a category" in call_main(figures, *paint, "0", "--interpolate")
