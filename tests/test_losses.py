import pytest
import torch
from conftest import metrics
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
    return torch.cat([torch.tensor(scores)[:, None], torch.tensor(logits)], 1)[:, :, None, None]


def cross_entropy(logits, label):
    return -torch.log(torch.exp(logits[label]) / torch.exp(logits).sum())


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


def test_gradient_penalty_of_the_critic_agrees_with_finite_differences():
    torch.manual_seed(0)
    critic = Critic(3, 1, width=2).double()
    real, fake = torch.randn(2, 2, 1, 32, 32, dtype=torch.float64)
    torch.manual_seed(7)
    penalty = sft.gradient_penalty(critic, real, fake)
    torch.manual_seed(7)
    epsilon = torch.rand(2, 1, 1, 1)
    terms, steps = [], 1e-6 * torch.eye(1024, dtype=torch.float64).view(1024, 1, 32, 32)
    with torch.no_grad():
        for x_hat in epsilon * real + (1 - epsilon) * fake:
            gradient = (critic(x_hat + steps)[0] - critic(x_hat - steps)[0]) / 2e-6
            terms.append((gradient.square().sum().sqrt() - 1) ** 2)
    torch.testing.assert_close(penalty, sum(terms) / 2, rtol=1e-6, atol=0)


def test_gradient_penalty_is_taken_at_a_random_point_between_real_and_fake_for_each_image():
    seen = []

    class Spy(LinearCritic):
        def forward(self, x):
            seen.append(x.detach())
            return super().forward(x)

    sft.gradient_penalty(Spy(torch.randn(48)), torch.ones(100, 3, 4, 4), torch.zeros(100, 3, 4, 4))
    epsilon = seen[0].flatten(1)
    assert (epsilon == epsilon[:, :1]).all()
    assert 0 <= epsilon.min() < 0.1 and 0.9 < epsilon.max() <= 1 and len(epsilon[:, 0].unique()) > 90


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
    assert len(products) >= 4 and penalty.dtype == torch.float32
    assert all(dtype == torch.float32 for dtypes in products for dtype in dtypes)


# GAN losses


def test_critic_loss_is_fake_minus_real_plus_lambda_times_cross_entropy_of_real():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    real, fake = images([1.0, 2.0, 3.0, 6.0], logits.tolist()), images([0.5, 0.5, 1.0, 2.0], torch.randn(4, 3).tolist())
    expected = 1.0 - 3.0 + 0.7 * sum(cross_entropy(row, label) for row, label in zip(logits, (2, 2, 0, 0))) / 4
    torch.testing.assert_close(sft.critic_loss(GivenCritic(), real, fake, torch.tensor([2, 0]), 0.7), expected)


def test_generator_loss_is_minus_fake_plus_lambda_times_cross_entropy_of_fake():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    fake = images([0.5, 0.5, 1.0, 2.0], logits.tolist())
    expected = -1.0 + 0.7 * sum(cross_entropy(row, label) for row, label in zip(logits, (2, 2, 0, 0))) / 4
    torch.testing.assert_close(sft.generator_loss(GivenCritic(), fake, torch.tensor([2, 0]), 0.7), expected)


def test_critic_gains_from_high_scores_of_real_and_low_scores_of_fake_images():
    scores = torch.zeros(2, 4, 4, 1, 1, requires_grad=True)
    sft.critic_loss(GivenCritic(), *scores, torch.tensor([1]), 1.0).backward()
    assert (scores.grad[0, :, 0] < 0).all() and (scores.grad[1, :, 0] > 0).all()
    assert (scores.grad[0, :, 2] < 0).all() and (scores.grad[1, :, 1:] == 0).all()  # category 1 of real images alone


def test_generator_gains_from_high_scores_and_the_right_category():
    fake = torch.zeros(4, 4, 1, 1, requires_grad=True)
    sft.generator_loss(GivenCritic(), fake, torch.tensor([1]), 1.0).backward()
    assert (fake.grad[:, 0] < 0).all() and (fake.grad[:, 2] < 0).all() and (fake.grad[:, 1] > 0).all()


# MeRGAN


def test_jtr_losses_times_old_categories_are_the_sums_of_each_old_categorys_own_means():
    torch.manual_seed(0)
    critic, past, n = Critic(5, 1, width=2).double(), torch.tensor([0, 1, 2]), 4
    replay, fake = torch.randn(2, 3 * n, 1, 32, 32, dtype=torch.float64)
    of_critic = of_generator = 0.0
    for c in past:
        of_category = slice(c * n, (c + 1) * n)
        (score_replay, logits_replay), (score_fake, logits_fake) = critic(replay[of_category]), critic(
            fake[of_category]
        )
        of_critic += score_fake.mean() - score_replay.mean()
        of_critic += 0.7 * sum(cross_entropy(row, c) for row in logits_replay) / n
        of_generator += -score_fake.mean() + 0.7 * sum(cross_entropy(row, c) for row in logits_fake) / n
    torch.testing.assert_close(len(past) * mergan_jtr.critic_loss(critic, replay, fake, past, 0.7), of_critic)
    torch.testing.assert_close(len(past) * mergan_jtr.generator_loss(critic, fake, past, 0.7), of_generator)


def test_equal_generators_give_the_critic_no_gradient_from_replay(tiny_options, call_main, tmp_path, monkeypatch):
    gradients, loss = [], mergan_jtr.critic_loss

    def recording(critic, replay, fake, y, lambda_cls):
        value = loss(critic, replay, fake, y, 0)
        if not torch.equal(replay, fake) and len(gradients) < 1:  # of the task, not of replay
            return loss(critic, replay, fake, y, lambda_cls)
        weights = list(critic.parameters())
        grads = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
        gradients.append(max(g.abs().max().item() for g in grads if g is not None))
        return loss(critic, replay, fake, y, lambda_cls)

    monkeypatch.setattr(mergan_jtr, "critic_loss", recording)
    options = "--num-tasks 2 --iters 1 --critic-steps 1".split()
    assert call_main(mergan_jtr, *tiny_options("mergan_jtr", tmp_path), *options) is None
    assert len(gradients) == 1 and gradients[0] < 1e-6


def test_replay_alignment_is_half_the_squared_pixel_differences_over_old_categories():
    fake, replay = torch.randn(2, 3 * 2, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    total = 0.0
    for c in range(3):
        for i in range(c * 2, c * 2 + 2):
            for row in range(4):
                for column in range(4):
                    total += (fake[i, 0, row, column].item() - replay[i, 0, row, column].item()) ** 2
    torch.testing.assert_close(mergan_ra.replay_alignment(fake, replay, 3).item(), 0.5 * total / 3)


@pytest.fixture
def spy(monkeypatch):
    """Record the arguments and the value of every call of a module's function."""

    def record(module, name):
        calls, function = [], getattr(module, name)

        def recording(*args):
            value = function(*args)
            calls.append((args, value.item()))
            return value

        monkeypatch.setattr(module, name, recording)
        return calls

    return record


def test_jtr_trains_on_the_current_category_plus_the_sum_over_old_ones(spy, call_main, tiny_options, tmp_path):
    critic_calls, generator_calls = spy(mergan_jtr, "critic_loss"), spy(mergan_jtr, "generator_loss")
    options = "--iters 1 --critic-steps 1 --lambda-gp 3 --lambda-cls 0.5".split()
    assert call_main(mergan_jtr, *tiny_options("mergan_jtr", tmp_path), *options) is None

    assert [args[3].tolist() for args, _ in critic_calls] == [[0], [1], [0], [2], [0, 1]]
    assert [args[2].tolist() for args, _ in generator_calls] == [[0], [1], [0], [2], [0, 1]]
    assert [len(args[1]) for args, _ in critic_calls] == [12] * 5  # replays too: 12 // (t - 1) each
    assert all(args[-1] == 0.5 for args, _ in critic_calls + generator_calls)

    lines = metrics(tmp_path)
    penalty = [3 * line["gradient_penalty"] for line in lines]
    for name, calls, extra in [("critic", critic_calls, penalty), ("generator", generator_calls, [0, 0, 0])]:
        first, second, old_1, third, old_2 = [value for _, value in calls]
        expected = [first + extra[0], second + old_1 + extra[1], third + 2 * old_2 + extra[2]]
        assert [line[name] for line in lines] == pytest.approx(expected)


def test_ra_aligns_with_the_frozen_copy_on_the_same_z_and_trains_the_critic_on_the_current_category_alone(
    spy, call_main, tiny_options, tmp_path
):
    critic_calls, generator_calls = spy(mergan_ra, "critic_loss"), spy(mergan_ra, "generator_loss")
    alignments = spy(mergan_ra, "replay_alignment")
    options = "--iters 2 --critic-steps 1 --lambda-ra 0.25".split()
    assert call_main(mergan_ra, *tiny_options("mergan_ra", tmp_path), *options) is None

    assert [args[3].tolist() for args, _ in critic_calls] == [[0], [0], [1], [1], [2], [2]]
    assert [(len(args[0]), args[2]) for args, _ in alignments] == [(12, 1), (12, 1), (12, 2), (12, 2)]
    assert all(args[0].requires_grad and not args[1].requires_grad for args, _ in alignments)

    values = [0, 0] + [value for _, value in alignments]
    assert values[2] == values[4] == 0  # first step of a task: both generators still paint the same
    assert values[3] > 0 and values[5] > 0
    lines = metrics(tmp_path)
    assert [line["alignment"] for line in lines] == values
    expected = [loss + 0.25 * value for (_, loss), value in zip(generator_calls, values)]
    assert [line["generator"] for line in lines] == pytest.approx(expected)
