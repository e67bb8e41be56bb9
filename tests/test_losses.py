"""Losses against closed forms, loops and finite differences, and how scripts put them together."""

import pytest
import torch
from conftest import call_main, metrics, write_bars
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import mergan_jtr
import mergan_ra
import sft
from common import Critic


class LinearCritic(nn.Module):
    """Score <w, x>; no class head."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x):
        return x.flatten(1) @ self.w, None


class GivenCritic(nn.Module):
    """Score and class logits that are pixels of the image: score = x[0], logits = x[1:]."""

    def forward(self, x):
        return x[:, 0, 0, 0], x[:, 1:, 0, 0]


def images(scores, logits):
    """Images to which GivenCritic gives these scores and logits."""
    return torch.cat([torch.tensor(scores)[:, None], logits], dim=1)[:, :, None, None]


def cross_entropy(logits, label):
    return -torch.log(torch.exp(logits[label]) / torch.exp(logits).sum())


def mean_cross_entropy(logits, labels):
    terms = [cross_entropy(row, label) for row, label in zip(logits, labels, strict=True)]
    return sum(terms) / len(terms)


# Gradient penalty


@pytest.mark.parametrize("length", [0.25, 3.0])
def test_gradient_penalty_of_a_linear_critic_has_its_closed_form(length):
    torch.manual_seed(0)
    w = torch.randn(3 * 4 * 4, dtype=torch.float64)
    critic = LinearCritic(length * w / w.norm())
    real, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    penalty = sft.gradient_penalty(critic, real, fake)
    penalty.backward()
    torch.testing.assert_close(penalty.item(), (length - 1) ** 2)
    torch.testing.assert_close(critic.w.grad, 2 * (length - 1) * critic.w.detach() / length)


@torch.no_grad()
def test_gradient_penalty_of_the_critic_agrees_with_finite_differences():
    torch.manual_seed(0)
    critic = Critic(3, 1, width=2).double()
    real, fake = torch.randn(2, 2, 1, 32, 32, dtype=torch.float64)
    torch.manual_seed(7)
    with torch.enable_grad():
        penalty = sft.gradient_penalty(critic, real, fake)
    torch.manual_seed(7)
    epsilon = torch.rand(2, 1, 1, 1)
    steps = 1e-6 * torch.eye(1024, dtype=torch.float64).view(1024, 1, 32, 32)
    terms = []
    for x_hat in epsilon * real + (1 - epsilon) * fake:
        score_above, _ = critic(x_hat + steps)
        score_below, _ = critic(x_hat - steps)
        gradient = (score_above - score_below) / 2e-6
        terms.append((gradient.square().sum().sqrt() - 1) ** 2)
    torch.testing.assert_close(penalty, sum(terms) / 2, rtol=1e-6, atol=0)


def test_gradient_penalty_is_taken_at_a_random_point_between_real_and_fake_for_each_image():
    seen = []

    class Recording(LinearCritic):
        def forward(self, x):
            seen.append(x.detach())
            return super().forward(x)

    real, fake = torch.ones(100, 3, 4, 4), torch.zeros(100, 3, 4, 4)
    sft.gradient_penalty(Recording(torch.randn(48)), real, fake)
    epsilon = seen[0].flatten(1)
    assert (epsilon == epsilon[:, :1]).all()
    assert 0 <= epsilon.min() < 0.1
    assert 0.9 < epsilon.max() <= 1
    assert len(epsilon[:, 0].unique()) > 90


def test_under_bfloat16_both_backward_products_of_the_score_head_are_float32():
    torch.manual_seed(0)
    critic = Critic(3, 1, width=2)
    products = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
                products.append([t.dtype for t in args if torch.is_tensor(t)])
            return function(*args, **(kwargs or {}))

    real, fake = torch.randn(2, 4, 1, 32, 32)
    with Watch():
        with torch.autocast("cpu", torch.bfloat16):
            penalty = sft.gradient_penalty(critic, real, fake)
        penalty.backward()
    assert penalty.dtype == torch.float32
    assert len(products) >= 4
    assert all(dtype == torch.float32 for dtypes in products for dtype in dtypes)


# GAN losses


def test_critic_loss_is_fake_minus_real_plus_lambda_times_cross_entropy_of_real():
    torch.manual_seed(0)
    logits_real, logits_fake = torch.randn(2, 4, 3)
    real = images([1.0, 2.0, 3.0, 6.0], logits_real)  # of mean score 3
    fake = images([0.5, 0.5, 1.0, 2.0], logits_fake)  # of mean score 1
    expected = 1.0 - 3.0 + 0.7 * mean_cross_entropy(logits_real, [2, 2, 0, 0])
    found = sft.critic_loss(GivenCritic(), real, fake, torch.tensor([2, 0]), 0.7)
    torch.testing.assert_close(found, expected)


def test_generator_loss_is_minus_fake_plus_lambda_times_cross_entropy_of_fake():
    torch.manual_seed(0)
    logits = torch.randn(4, 3)
    fake = images([0.5, 0.5, 1.0, 2.0], logits)  # of mean score 1
    expected = -1.0 + 0.7 * mean_cross_entropy(logits, [2, 2, 0, 0])
    found = sft.generator_loss(GivenCritic(), fake, torch.tensor([2, 0]), 0.7)
    torch.testing.assert_close(found, expected)


# MeRGAN


def test_equal_generators_give_the_critic_no_gradient_from_replay(
    tiny_options, tmp_path, monkeypatch
):
    critic_loss = mergan_jtr.critic_loss
    largest = []

    def recording(critic, real, fake, y, lambda_cls):
        if y.tolist() == [0]:
            scores = critic_loss(critic, real, fake, y, lambda_cls=0)
            weights = list(critic.parameters())
            gradients = torch.autograd.grad(scores, weights, retain_graph=True, allow_unused=True)
            largest.append(max(g.abs().max().item() for g in gradients if g is not None))
        return critic_loss(critic, real, fake, y, lambda_cls)

    monkeypatch.setattr(mergan_jtr, "critic_loss", recording)
    options = tiny_options("mergan_jtr", tmp_path)
    one_step = ["--num-tasks", 2, "--iters", 1, "--critic-steps", 1]
    assert call_main(mergan_jtr, *options, *one_step) is None
    # In the first task category 0 is real, in the second one it is replayed
    of_task, of_replay = largest
    assert of_task > 1e-3
    assert of_replay < 1e-6


def test_replay_alignment_is_half_the_squared_pixel_differences():
    torch.manual_seed(0)
    fake, replay = torch.randn(2, 3 * 2, 1, 4, 4, dtype=torch.float64)
    total = 0.0
    for a, b in zip(fake.flatten().tolist(), replay.flatten().tolist()):
        total += (a - b) ** 2
    torch.testing.assert_close(mergan_ra.replay_alignment(fake, replay, 1).item(), total / 2)


@pytest.fixture
def four_categories(tmp_path):
    """Options for a data set of four categories."""
    (tmp_path / "four").mkdir()
    write_bars(tmp_path / "four", train=80, test=20, categories=4)
    return ["--data-dir", tmp_path / "four"]


ONE_BY_ONE = [[0], [1], [0], [2], [0, 1], [3], [0, 1, 2]]
TWO_BY_TWO = [[0, 1], [2, 3], [0, 1]]


@pytest.mark.parametrize("replay", ["share", "full"])
@pytest.mark.parametrize("together, categories", [(1, ONE_BY_ONE), (2, TWO_BY_TWO)])
def test_jtr_weighs_a_past_category_as_a_new_one_or_all_past_ones_together(
    replay, together, categories, record, four_categories, tiny_options, tmp_path
):
    critic_calls = record(mergan_jtr, "critic_loss")
    generator_calls = record(mergan_jtr, "generator_loss")
    options = [*tiny_options("mergan_jtr", tmp_path / "run"), *four_categories]
    options += ["--categories-per-task", together, "--replay", replay]
    one_step = ["--iters", 1, "--critic-steps", 1, "--lambda-gp", 3, "--lambda-cls", 0.5]
    assert call_main(mergan_jtr, *options, *one_step) is None

    # Arguments of each call: categories, size of the batch, λ
    assert [arguments[3].tolist() for arguments, _ in critic_calls] == categories
    assert [arguments[2].tolist() for arguments, _ in generator_calls] == categories
    is_past = [y[0] == 0 and number > 0 for number, y in enumerate(categories)]
    for y, past, (arguments, _) in zip(categories, is_past, critic_calls):
        full = past and replay == "full"
        assert len(arguments[1]) == (12 * len(y) if full else 12)
    assert all(arguments[-1] == 0.5 for arguments, _ in critic_calls + generator_calls)

    # What each network minimises, which the log has; a loss is the mean over its categories
    lines = metrics(tmp_path / "run")
    for name, calls in [("critic", critic_calls), ("generator", generator_calls)]:
        expected = []
        for y, past, (_, value) in zip(categories, is_past, calls):
            if past:
                weight = len(y) if replay == "share" else 1
                expected[-1] += weight * value / together
            else:
                expected.append(value)
        if name == "critic":
            penalties = [3 * line["gradient_penalty"] for line in lines]
            expected = [loss + penalty for loss, penalty in zip(expected, penalties)]
        assert [line[name] for line in lines] == pytest.approx(expected)


@pytest.mark.parametrize("replay", ["share", "full"])
@pytest.mark.parametrize("alignment", ["equation", "code"])
def test_ra_aligns_on_the_same_z_with_the_weight_of_the_equation_or_of_the_code(
    alignment, replay, record, tiny_options, tmp_path
):
    critic_calls = record(mergan_ra, "critic_loss")
    generator_calls = record(mergan_ra, "generator_loss")
    alignments = record(mergan_ra, "replay_alignment")
    options = [*tiny_options("mergan_ra", tmp_path), "--alignment", alignment, "--replay", replay]
    two_steps = ["--iters", 2, "--critic-steps", 1, "--lambda-ra", 0.25]
    assert call_main(mergan_ra, *options, *two_steps) is None

    # The critic learns only from the current category
    categories = [arguments[3].tolist() for arguments, _ in critic_calls]
    assert categories == [[0], [0], [1], [1], [2], [2]]
    # In the first step of a task both generators still paint the same
    values = [0, 0] + [value for _, value in alignments]
    assert values[2] == values[4] == 0
    assert min(values[3], values[5]) > 0
    lines = metrics(tmp_path)
    assert [line["alignment"] for line in lines] == values
    expected = [loss + 0.25 * value for (_, loss), value in zip(generator_calls, values)]
    assert [line["generator"] for line in lines] == pytest.approx(expected)

    # The equation: ½ E ‖G_t(z,c) − G_{t−1}(z,c)‖² times the size of a batch, however many are past
    for past, ((fake, replayed, _), value) in zip([1, 1, 2, 2], alignments, strict=True):
        assert len(fake) == len(replayed) == (12 if replay == "share" else 12 * past)
        assert fake.requires_grad
        assert not replayed.requires_grad
        squares = [(a - b).square().sum().item() for a, b in zip(fake, replayed)]
        expected = 12 * sum(squares) / len(squares) / 2
        if alignment == "code":
            expected = expected / past if replay == "share" else expected * past
        assert value == pytest.approx(expected)
