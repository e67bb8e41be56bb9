"""EWC and rotated EWC against plain loops, brute force and explicit Kronecker products, in float64."""

import importlib

import pytest
import torch
from conftest import assert_same_weights
from torch import nn

import ewc
import rewc
from common import Critic, Generator, make_critic, make_generator

KINDS = ["critic", "pixels"]


def networks(n=6, dtype=torch.float64):
    torch.manual_seed(0)
    generator, critic = Generator(3, 1, latent_dim=5, width=2).to(dtype), Critic(3, 1, width=2).to(dtype)
    for norm in generator.norms:
        norm.standing_mean.normal_()
        norm.standing_var.uniform_(0.5, 2)
    z, v = torch.randn(n, 5, dtype=dtype), torch.randn(n, 1, 32, 32, dtype=dtype)
    return generator.eval(), critic, torch.tensor([1]), z, v


class OneLayer(nn.Module):
    """A layer as a generator of images: fewer than 200 parameters, so that the full Fisher matrix fits."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(1)
        layers = dict(
            linear=nn.Linear(6, 5, bias=False),
            conv=nn.Conv2d(4, 3, 3, bias=False),
            deconv=nn.ConvTranspose2d(4, 3, 3, stride=2, bias=False),
        )
        self.layer, self.kind = layers[kind].double(), kind

    def forward(self, z, y):
        return self.layer(z)

    def samples(self, n):
        """Inputs with correlated channels, and the v that stand for the gradients, correlated too."""
        shape = {"linear": (), "conv": (4, 4), "deconv": (3, 3)}[self.kind]
        out = {"linear": (5,), "conv": (3, 2, 2), "deconv": (3, 7, 7)}[self.kind]
        channels = 6 if self.kind == "linear" else 4
        mix = torch.randn(channels, channels, dtype=torch.float64)
        z = torch.einsum("cd,nd...->nc...", mix, torch.randn(n, channels, *shape, dtype=torch.float64))
        mix = torch.randn(out[0], out[0], dtype=torch.float64)
        return z, torch.einsum("cd,nd...->nc...", mix, torch.randn(n, *out, dtype=torch.float64))


def full_fisher(model, z, v):
    """E[g gᵀ] over flattened weights, one sample at a time."""
    total = 0
    for i in range(len(z)):
        model.zero_grad()
        (model(z[i : i + 1], None) * v[i : i + 1]).sum().backward()
        g = torch.cat([w.grad.flatten() for w in model.parameters()])
        total = total + torch.outer(g, g) / len(z)
    return total


def kronecker(rotation, weight):
    """The matrix from flattened W′ to flattened W, built column by column from the definition W = U₂ W′ U₁ᵀ."""
    basis = torch.eye(weight.numel(), dtype=weight.dtype).unflatten(1, weight.shape)
    return torch.stack([rotation.rotate(e, rotation.u2, rotation.u1).flatten() for e in basis], dim=1)


def fisher_by_loop(generator, critic, y, z, v, kind):
    """E[g²] over samples, one at a time."""
    expected = [torch.zeros_like(w) for w in generator.parameters()]
    for i in range(len(z)):
        image = generator(z[i : i + 1], y)
        likelihood = critic(image)[0].sum() if kind == "critic" else (image * v[i : i + 1]).sum()
        for total, g in zip(expected, torch.autograd.grad(likelihood, list(generator.parameters()))):
            total += g.square() / len(z)
    return expected


@pytest.mark.parametrize("kind", KINDS)
def test_fisher_equals_a_loop_over_single_samples(kind):
    generator, critic, y, z, v = networks()
    fisher = ewc.fisher_information(generator, critic, y, z, v, kind, chunk=4)
    for ours, theirs in zip(fisher, fisher_by_loop(generator, critic, y, z, v, kind), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-15)
    likelihood = ewc.log_likelihood(critic, generator(z, y), v, kind) / len(z)
    batch = torch.autograd.grad(likelihood, list(generator.parameters()))
    ratio = sum(f.sum() for f in fisher) / sum(g.square().sum() for g in batch)  # 1 with the frequent bug
    assert ratio > {"critic": 1.001, "pixels": 1.5}[kind] and not ratio.requires_grad


def test_pixel_fisher_tends_to_the_diagonal_of_jacobian_squared():
    generator, critic, y, z, _ = networks(1)
    w = generator.deconvs[0].bias
    rows = [torch.autograd.grad(p, w, retain_graph=True)[0] for p in generator(z, y).flatten()]
    exact = torch.stack(rows).square().sum(0)
    many = 4000
    v = torch.randn(many, 1, 32, 32, dtype=torch.float64)
    fisher = ewc.fisher_information(generator, critic, y, z.expand(many, -1), v, "pixels", chunk=500)
    index = [name for name, _ in generator.named_parameters()].index("deconvs.0.bias")
    torch.testing.assert_close(fisher[index], exact, rtol=0.15, atol=0)


def test_rows_of_other_categories_are_free():
    generator, critic, y, z, v = networks()
    fisher = dict(zip(dict(generator.named_parameters()), ewc.fisher_information(generator, critic, y, z, v, "pixels")))
    for i in range(3):
        for name in (f"norms.{i}.scale", f"norms.{i}.shift"):
            assert (fisher[name][1] > 0).any() and (fisher[name][[0, 2]] == 0).all()


def test_penalty_is_the_equation_and_its_minimum_freezes_what_has_fisher_information():
    fisher, anchor = torch.tensor([0.0, 0.5, 3.0]).double(), torch.tensor([1.0, -2.0, 0.5]).double()
    weights = torch.tensor([1.5, -1.0, 0.0]).double()
    expected = 0.5 * (0.5 * 1.0**2 + 3.0 * 0.5**2)
    assert ewc.ewc_penalty([weights], [fisher], [anchor]).item() == pytest.approx(expected)
    slope = torch.tensor([1.0, 2.0, -4.0]).double()  # of a linear loss
    for strength in (1e2, 1e9):
        at = anchor - torch.where(fisher > 0, slope / (strength * fisher), torch.tensor(7.0).double())
        at.requires_grad_()
        (slope @ at + strength * ewc.ewc_penalty([at], [fisher], [anchor])).backward()
        torch.testing.assert_close(at.grad, torch.tensor([1.0, 0, 0]).double(), rtol=0, atol=1e-6)
    assert (at - anchor).abs()[1:].max() < 1e-8 < (at - anchor).abs()[0]  # F = 0 alone is free to move


@pytest.mark.parametrize("mode", ["online", "mean", "fresh"])
def test_consolidation_over_tasks(mode):
    torch.manual_seed(0)
    thetas, fishers = torch.randn(3, 8).double(), torch.rand(3, 8).double()
    total, star = torch.zeros(8).double(), torch.zeros(8).double()
    for theta, f in zip(thetas, fishers):
        ewc.consolidate([total], [star], [f], [theta], mode)
    torch.testing.assert_close(total, fishers[-1] if mode == "fresh" else fishers.sum(0))
    torch.testing.assert_close(star, thetas[-1])


def test_fisher_of_several_categories_is_their_mean():
    generator, critic, _, z, v = networks()
    single = [ewc.fisher_information(generator, critic, torch.tensor([c]), z, v, "pixels") for c in (0, 2)]
    both = ewc.fisher_information(generator, critic, torch.tensor([0, 2]), z, v, "pixels")
    for mean, first, second in zip(both, *single, strict=True):
        torch.testing.assert_close(mean, (first + second) / 2)


@pytest.mark.parametrize("method", ["ewc", "rewc"])
def test_fresh_mode_measures_all_past_categories_at_the_latest_weights(method, call_main, tiny_options, tmp_path):
    script, measured = importlib.import_module(method), []
    function = script.fisher_information

    def recording(generator, critic, y, *arguments):
        measured.append(y.tolist())
        return function(generator, critic, y, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "fisher_information", recording)
        options = ["--ewc-mode", "fresh", "--checkpoint-every", "100"]
        assert call_main(script, *tiny_options(method, tmp_path), *options) is None
    assert measured == [[0], [0, 1]]


@pytest.mark.parametrize("kind", ["linear", "conv", "deconv"])
def test_against_the_full_fisher_matrix(kind):
    model = OneLayer(kind)
    z, v = model.samples(300)
    full = full_fisher(model, z, v)
    assert full.shape[0] < 200
    (plain,) = ewc.fisher_information(model, None, torch.tensor([0]), z, v, "pixels")
    torch.testing.assert_close(plain.flatten(), full.diag())

    rewc.add_rotations(model)
    (rotation,) = [rotation for _, rotation in rewc.rotated_layers(model)]
    rewc.measure_covariances(model, None, None, z, v, "pixels", chunk=100)
    (weight,) = model.parameters()
    rewc.rotate_anew(model, [torch.zeros_like(weight)], [torch.zeros_like(weight)])
    (rotated,) = rewc.fisher_information(model, None, torch.tensor([0]), z, v, "pixels")
    r = kronecker(rotation, weight)
    torch.testing.assert_close(r.T @ r, torch.eye(len(r)).double(), rtol=0, atol=1e-12)
    turned = r.T @ full @ r
    torch.testing.assert_close(rotated.flatten(), turned.diag())
    off = lambda f: 1 - f.diag().square().sum() / f.square().sum()
    assert off(turned) < 0.7 * off(full)  # nearer to diagonal than plain EWC assumes


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_rotation_leaves_the_generator_unchanged_and_merges_into_an_ordinary_one(dtype, tolerance):
    generator, critic, y, z, v = networks(40, dtype)
    before = generator(z, y)
    rewc.add_rotations(generator)
    fisher = [torch.rand_like(w) for w in generator.parameters()]
    anchor = [w.detach().clone() for w in generator.parameters()]
    for _ in range(2):  # the second turns from rotated coordinates
        rewc.measure_covariances(generator, critic, y, z, v, "pixels")
        rewc.rotate_anew(generator, fisher, anchor)
        assert (generator(z, y) - before).norm() < tolerance * before.norm()
    for star, weight in zip(anchor, generator.parameters()):  # the anchor turns with the weights
        torch.testing.assert_close(star, weight.detach())
    with torch.no_grad():
        for weight in generator.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.01)
    merged = make_generator(**generator.config).to(dtype).eval()
    merged.load_state_dict(rewc.merged_state(generator))
    torch.testing.assert_close(merged(z, y), generator(z, y))
    assert not torch.allclose(generator(z, y), before)


def test_rotated_covariances_are_diagonal():
    generator, critic, y, z, v = networks(200)
    rewc.add_rotations(generator)
    rewc.measure_covariances(generator, critic, y, z, v, "pixels")
    zeros = [torch.zeros_like(w) for w in generator.parameters()]
    rewc.rotate_anew(generator, zeros, [w.clone() for w in zeros])
    before = [(r.input_covariance.clone(), r.gradient_covariance.clone()) for _, r in rewc.rotated_layers(generator)]
    for (lhs, rhs), (_, r) in zip(before, rewc.rotated_layers(generator)):
        for covariance, u in ((lhs, r.u1), (rhs, r.u2)):
            turned = u.T @ covariance @ u
            assert (turned - turned.diag().diag()).abs().max() < 1e-6 * turned.diag().max()
            assert torch.linalg.matrix_rank(covariance) > 1 or len(covariance) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_residual_generator_has_the_fisher_of_a_loop_and_none_for_other_categories(kind):
    torch.manual_seed(0)
    generator = make_generator(3, 3, 64, latent_dim=5, width=1, conditioning="concat").double().eval()
    critic, y = make_critic(3, 3, 64, width=1).double(), torch.tensor([1])
    z, v = torch.randn(3, 5).double(), torch.randn(3, 3, 64, 64).double()
    fisher = ewc.fisher_information(generator, critic, y, z, v, kind, chunk=2)
    for ours, theirs in zip(fisher, fisher_by_loop(generator, critic, y, z, v, kind), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-15)
    of_linear = dict(zip(dict(generator.named_parameters()), fisher))["linear.weight"]
    assert (of_linear[:, [5, 7]] == 0).all() and (of_linear[:, 6] > 0).any()  # one-hot columns: 5, 6, 7


def test_rotation_and_merging_of_a_residual_generator():
    torch.manual_seed(0)
    generator = make_generator(3, 3, 64, latent_dim=5, width=1, conditioning="concat").double().eval()
    z, v, y = torch.randn(20, 5).double(), torch.randn(20, 3, 64, 64).double(), torch.tensor([1])
    before = generator(z, y)
    rewc.add_rotations(generator)
    zeros = [torch.zeros_like(w) for w in generator.parameters()]
    rewc.measure_covariances(generator, None, y, z, v, "pixels")
    rewc.rotate_anew(generator, zeros, [w.clone() for w in zeros])
    assert len(rewc.rotated_layers(generator)) == 14  # linear, three convolutions in each block, the last one
    assert (generator(z, y) - before).norm() < 1e-12 * before.norm()
    merged = make_generator(**generator.config).double().eval()
    merged.load_state_dict(rewc.merged_state(generator))
    torch.testing.assert_close(merged(z, y), before)


def test_fisher_information_turns_with_the_coordinates():
    model = OneLayer("deconv")
    z, v = model.samples(50)
    rewc.add_rotations(model)
    (weight,) = model.parameters()
    fisher = torch.rand_like(weight)
    old = fisher.clone()
    rewc.measure_covariances(model, None, None, z, v, "pixels")
    rewc.rotate_anew(model, [fisher], [torch.zeros_like(weight)])
    r = kronecker(rewc.rotated_layers(model)[0][1], weight)
    torch.testing.assert_close(fisher.flatten(), (r.T @ old.flatten().diag() @ r).diag())


def test_a_gradient_step_in_rotated_coordinates_is_the_step_of_the_plain_network():
    generator, critic, y, z, v = networks(40)
    plain, _, _, _, _ = networks(40)
    rewc.add_rotations(generator)
    rewc.measure_covariances(generator, critic, y, z, v, "critic")
    zeros = [torch.zeros_like(w) for w in generator.parameters()]
    rewc.rotate_anew(generator, zeros, [w.clone() for w in zeros])
    for network in (generator, plain):
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        critic(network(z, y))[0].mean().backward()
        optimizer.step()
    for name, weight in rewc.merged_state(generator).items():
        torch.testing.assert_close(weight, plain.state_dict()[name])


def test_without_the_penalty_ewc_is_fine_tuning_bit_for_bit(train, finished, tmp_path):
    assert train("ewc", tmp_path, "--lambda-ewc", 0).returncode == 0
    assert_same_weights(tmp_path, finished("sft"))


def test_without_the_penalty_a_step_of_rewc_is_one_of_fine_tuning_up_to_rounding(train, tmp_path):
    states = {}
    for method, own in [("sft", []), ("rewc", ["--lambda-ewc", 0])]:
        assert train(method, tmp_path / method, "--iters", 1, "--num-tasks", 1, *own).returncode == 0
        states[method] = torch.load(tmp_path / method / "task_1.pt", weights_only=True)["generator"]
    for name, weight in states["rewc"].items():
        cancels = ("linear.bias", "deconvs.0.bias", "deconvs.1.bias")  # by batch norm: their gradients are rounding
        if name not in cancels and "standing_mean" not in name:
            torch.testing.assert_close(weight, states["sft"][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["ewc", "rewc"])
def test_mean_mode_is_online_until_two_tasks_are_past(method, train, finished, tmp_path):
    assert train(method, tmp_path, "--ewc-mode", "mean").returncode == 0
    load = lambda run_dir, task: torch.load(run_dir / f"task_{task}.pt", weights_only=True)["generator"]
    for task, equal in [(1, True), (2, True), (3, False)]:
        ours, theirs = load(tmp_path, task), load(finished(method), task)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs) == equal
