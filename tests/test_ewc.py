"""EWC and rotated EWC against plain loops, brute force and explicit Kronecker products."""

import importlib
import itertools

import pytest
import torch
from conftest import assert_same_weights, load, same_weights
from torch import nn

import ewc
import rewc
import sft
from common import Critic, Generator, make_critic, make_generator

KINDS = ["critic", "pixels"]


def networks(n=6, dtype=torch.float64):
    """A generator and a critic for three categories of 32×32 images, one category, n z and v."""
    torch.manual_seed(0)
    generator = Generator(3, 1, latent_dim=5, width=2).to(dtype).eval()
    critic = Critic(3, 1, width=2).to(dtype)
    for norm in generator.norms:
        norm.standing_mean.normal_()
        norm.standing_var.uniform_(0.5, 2)
    z = torch.randn(n, 5, dtype=dtype)
    v = torch.randn(n, 1, 32, 32, dtype=dtype)
    return generator, critic, torch.tensor([1]), z, v


def residual_networks(n):
    """The same for 64×64 colour images."""
    torch.manual_seed(0)
    options = {"latent_dim": 5, "width": 1, "conditioning": "concat"}
    generator = make_generator(3, 3, 64, **options).double().eval()
    critic = make_critic(3, 3, 64, width=1).double()
    z = torch.randn(n, 5, dtype=torch.float64)
    v = torch.randn(n, 3, 64, 64, dtype=torch.float64)
    return generator, critic, torch.tensor([1]), z, v


def zeros_like_weights(module):
    return [torch.zeros_like(weight) for weight in module.parameters()]


def rotate(module, critic, y, z, v, kind="pixels"):
    """Turn a module with rotations to the eigenvectors of its covariances."""
    rewc.measure_covariances(module, critic, y, z, v, kind)
    rewc.rotate_anew(module, zeros_like_weights(module))


def correlated(n, channels, *positions):
    """Random [n, channels, *positions] whose channels are correlated."""
    mix = torch.randn(channels, channels, dtype=torch.float64)
    independent = torch.randn(n, channels, *positions, dtype=torch.float64)
    return torch.einsum("cd,nd...->nc...", mix, independent)


class OneLayer(nn.Module):
    """A layer as a generator of images: the full Fisher matrix of its few weights fits."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(1)
        if kind == "linear":
            self.layer = nn.Linear(6, 5, bias=False)
            self.inputs, self.outputs = (6,), (5,)
        if kind == "conv":
            self.layer = nn.Conv2d(4, 3, 3, bias=False)
            self.inputs, self.outputs = (4, 4, 4), (3, 2, 2)
        if kind == "deconv":
            self.layer = nn.ConvTranspose2d(4, 3, 3, stride=2, bias=False)
            self.inputs, self.outputs = (4, 3, 3), (3, 7, 7)
        self.double()

    def forward(self, z, y):
        return self.layer(z)

    def samples(self, n):
        """n z, and n v that stand for the gradients at the output."""
        return correlated(n, *self.inputs), correlated(n, *self.outputs)


def full_fisher(model, z, v):
    """E[g gᵀ] over flattened weights, one sample at a time."""
    total = 0
    for one_z, one_v in zip(z.split(1), v.split(1)):
        model.zero_grad()
        (model(one_z, None) * one_v).sum().backward()
        g = torch.cat([weight.grad.flatten() for weight in model.parameters()])
        total = total + torch.outer(g, g) / len(z)
    return total


def fisher_by_loop(generator, critic, y, z, v, kind):
    """E[g²] over samples, one at a time."""
    weights = list(generator.parameters())
    total = zeros_like_weights(generator)
    for one_z, one_v in zip(z.split(1), v.split(1)):
        image = generator(one_z, y)
        if kind == "critic":
            score, _ = critic(image)
            likelihood = score.sum()
        else:
            likelihood = (image * one_v).sum()
        for f, g in zip(total, torch.autograd.grad(likelihood, weights)):
            f += g.square() / len(z)
    return total


def kronecker(rotation, weight):
    """The matrix from flattened W′ to flattened W, column by column from W = U₂ W′ U₁ᵀ."""
    basis = torch.eye(weight.numel(), dtype=weight.dtype).unflatten(1, weight.shape)
    columns = [rotation.rotate(e, rotation.u2, rotation.u1).flatten() for e in basis]
    return torch.stack(columns, dim=1)


# Fisher information


@pytest.mark.parametrize("kind", KINDS)
def test_fisher_equals_a_loop_over_single_samples(kind):
    generator, critic, y, z, v = networks()
    fisher = ewc.fisher_information(generator, critic, y, z, v, kind, chunk=4)
    expected = fisher_by_loop(generator, critic, y, z, v, kind)
    for ours, theirs in zip(fisher, expected, strict=True):
        assert not ours.requires_grad
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_fisher_is_not_the_squared_gradient_of_the_mean(kind):
    """A frequent bug, with which both would be the same."""
    generator, critic, y, z, v = networks()
    fisher = ewc.fisher_information(generator, critic, y, z, v, kind)
    likelihood = ewc.log_likelihood(critic, generator(z, y), v, kind) / len(z)
    gradients = torch.autograd.grad(likelihood, list(generator.parameters()))
    ratio = sum(f.sum() for f in fisher) / sum(g.square().sum() for g in gradients)
    assert ratio > {"critic": 1.001, "pixels": 1.5}[kind]


def test_pixel_fisher_tends_to_the_diagonal_of_jacobian_squared():
    generator, critic, y, z, _ = networks(1)
    bias = generator.deconvs[0].bias
    pixels = generator(z, y).flatten()
    rows = [torch.autograd.grad(pixel, bias, retain_graph=True)[0] for pixel in pixels]
    exact = torch.stack(rows).square().sum(0)
    v = torch.randn(4000, 1, 32, 32, dtype=torch.float64)
    same_z = z.expand(len(v), -1)
    fisher = ewc.fisher_information(generator, critic, y, same_z, v, "pixels", chunk=500)
    names = [name for name, _ in generator.named_parameters()]
    torch.testing.assert_close(fisher[names.index("deconvs.0.bias")], exact, rtol=0.15, atol=0)


def test_rows_of_other_categories_are_free():
    generator, critic, y, z, v = networks()
    fisher = ewc.fisher_information(generator, critic, y, z, v, "pixels")
    for (name, _), f in zip(generator.named_parameters(), fisher):
        if "scale" in name or "shift" in name:
            assert (f[1] > 0).any()
            assert (f[[0, 2]] == 0).all()


def test_fisher_of_several_categories_is_their_mean():
    generator, critic, _, z, v = networks()

    def fisher_of(*categories):
        y = torch.tensor(categories)
        return ewc.fisher_information(generator, critic, y, z, v, "pixels")

    for mean, first, second in zip(fisher_of(0, 2), fisher_of(0), fisher_of(2), strict=True):
        torch.testing.assert_close(mean, (first + second) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_fisher_of_a_residual_generator_is_that_of_a_loop_and_zero_for_other_categories(kind):
    generator, critic, y, z, v = residual_networks(3)
    fisher = ewc.fisher_information(generator, critic, y, z, v, kind, chunk=2)
    expected = fisher_by_loop(generator, critic, y, z, v, kind)
    for ours, theirs in zip(fisher, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-15)
    names = [name for name, _ in generator.named_parameters()]
    of_linear = fisher[names.index("linear.weight")]
    one_hot = of_linear[:, 5:]  # columns of z come first
    assert (one_hot[:, 1] > 0).any()
    assert (one_hot[:, [0, 2]] == 0).all()


# The penalty


def test_penalty_is_the_equation():
    fisher = [torch.tensor([0.0, 0.5]), torch.tensor([[3.0]])]
    anchor = [torch.tensor([1.0, -2.0]), torch.tensor([[0.5]])]
    weights = [torch.tensor([1.5, -1.0]), torch.tensor([[0.0]])]
    expected = 0.5 * (0.0 * 0.5**2 + 0.5 * 1.0**2 + 3.0 * 0.5**2)
    assert ewc.ewc_penalty(weights, fisher, anchor).item() == pytest.approx(expected)


@pytest.mark.parametrize("strength, moved", [(1e2, 1e-1), (1e9, 1e-8)])
def test_the_minimum_with_the_penalty_freezes_what_has_fisher_information(strength, moved):
    fisher = torch.tensor([0.0, 0.5, 3.0], dtype=torch.float64)
    anchor = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    slope = torch.tensor([0.0, 2.0, -4.0], dtype=torch.float64)  # of a linear loss
    # Where the gradient of loss and penalty is zero; the first weight may be anywhere
    minimum = anchor.clone()
    minimum[0] = 7.0
    minimum[1:] -= slope[1:] / (strength * fisher[1:])
    minimum.requires_grad_()
    penalty = ewc.ewc_penalty([minimum], [fisher], [anchor])
    (slope @ minimum + strength * penalty).backward()
    torch.testing.assert_close(minimum.grad, torch.zeros_like(slope), rtol=0, atol=1e-6)
    assert (minimum - anchor)[1:].abs().max() < moved


@pytest.mark.parametrize("mode", ["fresh", "online", "mean"])
def test_consolidation_over_tasks(mode):
    torch.manual_seed(0)
    weights, fishers = torch.randn(3, 8), torch.rand(3, 8)
    total, anchor = torch.zeros(8), torch.zeros(8)
    for weight, fisher in zip(weights, fishers):
        ewc.consolidate([total], [anchor], [fisher], [weight], mode)
    torch.testing.assert_close(total, fishers[-1] if mode == "fresh" else fishers.sum(0))
    torch.testing.assert_close(anchor, weights[-1])


# Rotation


@pytest.mark.parametrize("kind", ["linear", "conv", "deconv"])
def test_rotated_fisher_is_the_diagonal_of_the_full_matrix_in_new_coordinates(kind):
    model = OneLayer(kind)
    z, v = model.samples(300)
    y = torch.tensor([0])
    full = full_fisher(model, z, v)
    (plain,) = ewc.fisher_information(model, None, y, z, v, "pixels")
    torch.testing.assert_close(plain.flatten(), full.diag())

    rewc.add_rotations(model)
    rotate(model, None, None, z, v)
    ((_, rotation),) = rewc.rotated_layers(model)
    (weight,) = model.parameters()
    r = kronecker(rotation, weight)
    identity = torch.eye(len(r), dtype=torch.float64)
    torch.testing.assert_close(r.T @ r, identity, rtol=0, atol=1e-12)
    turned = r.T @ full @ r
    (rotated,) = rewc.fisher_information(model, None, y, z, v, "pixels")
    torch.testing.assert_close(rotated.flatten(), turned.diag())

    # The new coordinates are nearer to what a diagonal assumes
    def share_off_the_diagonal(matrix):
        return 1 - matrix.diag().square().sum() / matrix.square().sum()

    assert share_off_the_diagonal(turned) < 0.7 * share_off_the_diagonal(full)


def test_fisher_information_turns_with_the_coordinates():
    model = OneLayer("deconv")
    z, v = model.samples(50)
    rewc.add_rotations(model)
    (weight,) = model.parameters()
    old = torch.rand_like(weight)
    new = old.clone()
    rewc.measure_covariances(model, None, None, z, v, "pixels")
    rewc.rotate_anew(model, [new])
    ((_, rotation),) = rewc.rotated_layers(model)
    r = kronecker(rotation, weight)
    expected = (r.T @ old.flatten().diag() @ r).diag()
    torch.testing.assert_close(new.flatten(), expected)


def test_rotated_covariances_are_diagonal():
    generator, critic, y, z, v = networks(200)
    rewc.add_rotations(generator)
    rotate(generator, critic, y, z, v)
    for _, rotation in rewc.rotated_layers(generator):
        pairs = [
            (rotation.input_covariance, rotation.u1),
            (rotation.gradient_covariance, rotation.u2),
        ]
        for covariance, u in pairs:
            turned = u.T @ covariance @ u
            off = turned - turned.diag().diag()
            assert off.abs().max() < 1e-6 * turned.diag().max()
            assert len(covariance) == 1 or torch.linalg.matrix_rank(covariance) > 1


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_rotation_leaves_the_generator_as_it_was(dtype, tolerance):
    generator, critic, y, z, v = networks(40, dtype)
    before = generator(z, y)
    rewc.add_rotations(generator)
    fisher = [torch.rand_like(weight) for weight in generator.parameters()]
    for _ in range(2):  # the second time from rotated coordinates
        rewc.measure_covariances(generator, critic, y, z, v, "pixels")
        rewc.rotate_anew(generator, fisher)
        assert (generator(z, y) - before).norm() < tolerance * before.norm()


def test_a_rotated_generator_merges_into_an_ordinary_one():
    generator, critic, y, z, v = networks(40)
    before = generator(z, y)
    rewc.add_rotations(generator)
    rotate(generator, critic, y, z, v)
    with torch.no_grad():
        for weight in generator.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.01)
    ordinary = rewc.merged(generator)
    # A new generator takes what is saved of it
    loaded = make_generator(**ordinary.config).double().eval()
    loaded.load_state_dict(ordinary.state_dict())
    assert not rewc.rotated_layers(ordinary)
    torch.testing.assert_close(loaded(z, y), generator(z, y))
    assert not torch.allclose(generator(z, y), before)


def test_rotation_and_merging_of_a_residual_generator():
    generator, critic, y, z, v = residual_networks(20)
    before = generator(z, y)
    rewc.add_rotations(generator)
    rotate(generator, critic, y, z, v)
    # A linear layer, three convolutions in each of four blocks, the last convolution
    assert len(rewc.rotated_layers(generator)) == 1 + 4 * 3 + 1
    assert (generator(z, y) - before).norm() < 1e-12 * before.norm()
    ordinary = make_generator(**generator.config).double().eval()
    ordinary.load_state_dict(rewc.merged(generator).state_dict())
    torch.testing.assert_close(ordinary(z, y), before)


def test_a_gradient_step_in_rotated_coordinates_is_the_step_of_the_plain_network():
    generator, critic, y, z, v = networks(40)
    plain, _, _, _, _ = networks(40)
    rewc.add_rotations(generator)
    rotate(generator, critic, y, z, v, "critic")
    for network in (generator, plain):
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        score, _ = critic(network(z, y))
        score.mean().backward()
        optimizer.step()
    expected = plain.state_dict()
    for name, weight in rewc.merged(generator).state_dict().items():
        torch.testing.assert_close(weight, expected[name])


# Training


@pytest.mark.parametrize("method", ["ewc", "rewc"])
def test_fresh_mode_measures_all_past_categories_at_the_latest_weights(
    method, call_main, tiny_options, tmp_path, monkeypatch
):
    script = importlib.import_module(method)
    fisher_information = script.fisher_information
    measured = []

    def recording(generator, critic, y, *arguments):
        measured.append(y.tolist())
        return fisher_information(generator, critic, y, *arguments)

    monkeypatch.setattr(script, "fisher_information", recording)
    assert call_main(script, *tiny_options(method, tmp_path)) is None
    assert measured == [[0], [0, 1]]


@pytest.mark.parametrize("method", ["ewc", "rewc"])
def test_the_modes_do_the_same_until_two_tasks_are_past(
    method, call_main, tiny_options, finished, tmp_path
):
    script = importlib.import_module(method)
    runs = {"fresh": finished(method)}
    for mode in ("online", "mean"):
        runs[mode] = tmp_path / mode
        options = tiny_options(method, runs[mode])
        assert call_main(script, *options, "--ewc-mode", mode) is None
    for one, other in itertools.combinations(runs.values(), 2):
        for name, equal in [("task_1.pt", True), ("task_2.pt", True), ("task_3.pt", False)]:
            ours, theirs = load(one / name)["generator"], load(other / name)["generator"]
            assert same_weights(ours, theirs) == equal


def test_without_the_penalty_ewc_is_fine_tuning_bit_for_bit(
    call_main, tiny_options, finished, tmp_path
):
    assert call_main(ewc, *tiny_options("ewc", tmp_path), "--lambda-ewc", 0) is None
    assert_same_weights(tmp_path, finished("sft"))


def test_without_the_penalty_a_step_of_rewc_is_one_of_fine_tuning_up_to_rounding(
    call_main, tiny_options, tmp_path
):
    states = []
    for script, own in [(sft, []), (rewc, ["--lambda-ewc", 0])]:
        run_dir = tmp_path / script.METHOD
        options = [*tiny_options(script.METHOD, run_dir), "--iters", 1, "--num-tasks", 1]
        assert call_main(script, *options, *own) is None
        states.append(load(run_dir / "task_1.pt")["generator"])
    # Batch norm cancels these biases, so that their gradients are nothing but rounding
    cancelled = {"linear.bias", "deconvs.0.bias", "deconvs.1.bias"}
    cancelled |= {name for name in states[0] if "standing_mean" in name}
    for name in states[0].keys() - cancelled:
        torch.testing.assert_close(states[1][name], states[0][name], rtol=1e-3, atol=1e-5)
