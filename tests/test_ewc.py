"""EWC and rotated EWC against plain loops, brute force and explicit Kronecker products."""

import importlib

import pytest
import torch
from conftest import assert_same_weights, call_main, load, losses
from torch import nn

import ewc
import rewc
from common import Generator, make_generator


def network(n=6):
    """A generator for three categories of 32×32 images, one category, n z and v."""
    torch.manual_seed(0)
    generator = Generator(3, 1, latent_dim=5, width=2).double().eval()
    for norm in generator.norms:
        norm.standing_mean.normal_()
        norm.standing_var.uniform_(0.5, 2)
    z = torch.randn(n, 5, dtype=torch.float64)
    v = torch.randn(n, 1, 32, 32, dtype=torch.float64)
    return generator, torch.tensor([1]), z, v


def residual_network(n=6):
    """The same for 64×64 colour images."""
    torch.manual_seed(0)
    options = {"latent_dim": 5, "width": 1, "conditioning": "concat"}
    generator = make_generator(3, 3, 64, **options).double().eval()
    z = torch.randn(n, 5, dtype=torch.float64)
    v = torch.randn(n, 3, 64, 64, dtype=torch.float64)
    return generator, torch.tensor([1]), z, v


NETWORKS = [network, residual_network]


def measured(generator, y, z, v, rotations=list, chunk=4):
    """The Fisher information as the scripts measure it."""
    return rewc.fisher_information(map(rotations, rewc.sample_gradients(generator, y, z, v, chunk)))


def gradients_by_loop(generator, y, z, v):
    """∂(v·G(z,c))/∂θ of one sample after the other: lists like generator.parameters()."""
    weights = list(generator.parameters())
    for one_z, one_v in zip(z.split(1), v.split(1)):
        yield torch.autograd.grad((generator(one_z, y) * one_v).sum(), weights)


def turned(network, n):
    """A network, its rotations measured from n samples, and those samples."""
    generator, y, z, v = network(n)
    rotations = rewc.Rotations(generator).double()
    rotations.turn(generator, y, z, v, chunk=16)
    return generator, rotations, y, z, v


def kronecker(layer, u1, u2):
    """The matrix R of δ′ = Rᵀδ, where δ is a flattened weight and δ′ is U₂ᵀ δ U₁ for each pixel."""
    pixels = torch.eye(layer.weight[0, 0].numel(), dtype=torch.float64)
    is_transposed = isinstance(layer, nn.ConvTranspose2d)  # whose weight is [in, out, …]
    first, second = (u1, u2) if is_transposed else (u2, u1)
    return torch.kron(torch.kron(first, second), pixels)


def layers_and_matrices(rotations):
    """Each layer with the U₁ and U₂ of its inputs and outputs."""
    for layer, first, second in zip(rotations.layers, rotations.first, rotations.second):
        is_transposed = isinstance(layer, nn.ConvTranspose2d)
        yield layer, *((first, second) if is_transposed else (second, first))


def brute_force_rotations(generator, rotations):
    """A function that rotates a list like generator.parameters() by explicit matrices."""
    matrices = {}
    for layer, u1, u2 in layers_and_matrices(rotations):
        matrices[layer.weight] = kronecker(layer, u1, u2)

    def rotate(tensors):
        pairs = zip(generator.parameters(), tensors, strict=True)
        return [
            (matrices[weight].T @ x.flatten()).view(x.shape) if weight in matrices else x
            for weight, x in pairs
        ]

    return rotate


# Fisher information


@pytest.mark.parametrize("network", NETWORKS)
def test_fisher_equals_a_loop_over_single_samples(network):
    generator, y, z, v = network()
    expected = [0] * len(list(generator.parameters()))
    for gradients in gradients_by_loop(generator, y, z, v):
        expected = [total + g.square() / len(z) for total, g in zip(expected, gradients)]
    for ours, theirs in zip(measured(generator, y, z, v), expected, strict=True):
        assert not ours.requires_grad
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-15)


def test_fisher_tends_to_the_diagonal_of_jacobian_squared():
    generator, y, z, _ = network(1)
    bias = generator.deconvs[0].bias
    pixels = generator(z, y).flatten()
    rows = [torch.autograd.grad(pixel, bias, retain_graph=True)[0] for pixel in pixels]
    exact = torch.stack(rows).square().sum(0)
    v = torch.randn(4000, 1, 32, 32, dtype=torch.float64)
    fisher = measured(generator, y, z.expand(len(v), -1), v, chunk=500)
    names = [name for name, _ in generator.named_parameters()]
    torch.testing.assert_close(fisher[names.index("deconvs.0.bias")], exact, rtol=0.15, atol=0)


@pytest.mark.parametrize("network", NETWORKS)
def test_what_belongs_to_other_categories_is_free(network):
    """Rows of scale and shift, or columns of the one-hot code, which stand behind those of z."""
    generator, y, z, v = network()
    by_category = []
    for (name, _), f in zip(generator.named_parameters(), measured(generator, y, z, v)):
        if generator.config["conditioning"] == "concat" and name == "linear.weight":
            by_category.append(f[:, 5:].T)
        if len(f) == 3 and ("scale" in name or "shift" in name):
            by_category.append(f)
    assert by_category
    for f in by_category:
        assert (f[1] > 0).any()
        assert (f[[0, 2]] == 0).all()


def test_fisher_of_several_categories_is_their_mean():
    generator, _, z, v = network()
    both, first, second = [
        measured(generator, torch.tensor(categories), z, v) for categories in ([0, 2], [0], [2])
    ]
    for mean, a, b in zip(both, first, second, strict=True):
        torch.testing.assert_close(mean, (a + b) / 2)


# The penalty


def test_penalty_is_the_equation():
    fisher = [torch.tensor([0.0, 0.5]), torch.tensor([[3.0]])]
    distances = [torch.tensor([0.5, 1.0]), torch.tensor([[-0.5]])]
    expected = 0.5 * (0.0 * 0.5**2 + 0.5 * 1.0**2 + 3.0 * 0.5**2)
    assert ewc.ewc_penalty(fisher, distances).item() == pytest.approx(expected)


# Rotation


@pytest.mark.parametrize("network", NETWORKS)
def test_rotated_fisher_equals_a_loop_over_samples_and_explicit_rotations(network):
    generator, rotations, y, z, v = turned(network, 12)
    rotate = brute_force_rotations(generator, rotations)
    expected = [0] * len(list(generator.parameters()))
    for gradients in gradients_by_loop(generator, y, z[:6], v[:6]):
        expected = [total + g.square() / 6 for total, g in zip(expected, rotate(gradients))]
    found = measured(generator, y, z[:6], v[:6], rotations)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)


def covariances(generator, layers, y, z, v):
    """L and M of every layer: Σ x xᵀ and Σ δ δᵀ over samples and positions."""
    seen = {}

    def keep(layer, arguments, output):
        output.retain_grad()
        seen[layer] = arguments[0], output

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    (generator(z, y) * v).sum().backward()
    for hook in hooks:
        hook.remove()
    for layer in layers:
        x, output = seen[layer]
        columns = [t.detach().transpose(0, 1).flatten(1) for t in (x, output.grad)]
        yield [matrix @ matrix.T for matrix in columns]


@pytest.mark.parametrize("network", NETWORKS)
def test_rotations_diagonalise_the_covariances_of_inputs_and_gradients(network):
    generator, rotations, y, z, v = turned(network, 60)
    expected = 14 if network is residual_network else 4
    assert len(rotations.layers) == expected
    found = covariances(generator, rotations.layers, y, z, v)
    for (_, u1, u2), (of_inputs, of_gradients) in zip(layers_and_matrices(rotations), found):
        for covariance, u in [(of_inputs, u1), (of_gradients, u2)]:
            diagonal = u.T @ covariance @ u
            off = diagonal - diagonal.diag().diag()
            assert off.abs().max() <= 1e-4 * diagonal.diag().max()
            torch.testing.assert_close(u.T @ u, torch.eye(len(u)).double(), rtol=0, atol=1e-9)
            assert len(u) == 1 or torch.linalg.matrix_rank(covariance) > 1


def test_without_rotation_fisher_and_penalty_are_those_of_ewc():
    generator, y, z, v = network()
    rotations = rewc.Rotations(generator).double()
    ours, theirs = measured(generator, y, z, v, rotations), measured(generator, y, z, v)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    distances = [torch.randn_like(weight) for weight in generator.parameters()]
    rotated = rewc.ewc_penalty(ours, rotations(distances))
    assert torch.equal(rotated, ewc.ewc_penalty(theirs, distances))


# Training

both = pytest.mark.parametrize("method", ["ewc", "rewc"])


@both
@pytest.mark.parametrize("together, expected", [(1, [[0], [0, 1]]), (2, [[0, 1]])])
def test_all_past_categories_are_measured_at_the_latest_weights(
    method, together, expected, tiny_options, tmp_path, monkeypatch
):
    script = importlib.import_module(method)
    sample_gradients = script.sample_gradients
    calls = []

    def recording(generator, y, z, v):
        assert not generator.training
        calls.append((y.tolist(), generator.linear.weight.detach().clone()))
        return sample_gradients(generator, y, z, v)

    monkeypatch.setattr(script, "sample_gradients", recording)
    options = [*tiny_options(method, tmp_path), "--categories-per-task", together]
    assert call_main(script, *options) is None
    assert [categories for categories, _ in calls] == expected
    for task, (_, weight) in enumerate(calls, start=1):
        saved = load(tmp_path / f"task_{task}.pt")["generator"]
        assert torch.equal(weight, saved["linear.weight"])
    # θ* in the checkpoint of the end is that of the last measurement
    anchor = load(tmp_path / "checkpoint.pt")["networks"]["anchor"]
    assert any(torch.equal(star, saved["linear.weight"]) for star in anchor.values())


@both
def test_the_generator_minimises_its_loss_and_lambda_times_the_penalty(
    method, record, tiny_options, tmp_path
):
    script = importlib.import_module(method)
    generator_calls = record(script, "generator_loss")
    penalties = record(script, "ewc_penalty")
    options = [*tiny_options(method, tmp_path), "--num-tasks", 2, "--lambda-ewc", 50]
    assert call_main(script, *options) is None
    values = [value for _, value in penalties]
    # Nothing is held in the first task, and nothing has moved at the first step of the second
    assert values[:5] == [0] * 5
    assert min(values[5:]) > 0
    lines = losses(tmp_path)
    assert [line["ewc"] for line in lines] == values
    expected = [loss + 50 * value for (_, loss), value in zip(generator_calls, values)]
    assert [line["generator"] for line in lines] == pytest.approx(expected)

    # The penalty at the third step of the second task, from what was saved
    star = load(tmp_path / "task_1.pt")
    weights = load(tmp_path / "snapshots/task_2_step_000002.pt")["generator"]
    kept = load(tmp_path / "checkpoint.pt")["networks"]
    generator = make_generator(**star["config"])
    distances = []
    for name, _ in generator.named_parameters():
        distances.append((weights[name] - star["generator"][name]).double())
    if method == "rewc":
        rotations = rewc.Rotations(generator)
        rotations.load_state_dict(kept["rotations"])
        distances = brute_force_rotations(generator, rotations.double())(distances)
    fisher = kept["fisher"].values()
    total = sum((f * d.square()).sum() for f, d in zip(fisher, distances, strict=True))
    assert values[4 + 2] == pytest.approx(total.item() / 2, rel=1e-4)


@both
def test_without_the_penalty_they_are_fine_tuning_bit_for_bit(
    method, tiny_options, finished, tmp_path
):
    script = importlib.import_module(method)
    assert call_main(script, *tiny_options(method, tmp_path), "--lambda-ewc", 0) is None
    assert_same_weights(tmp_path, finished("sft"))


def test_fewer_samples_than_categories_are_one_of_each(tiny_options, tmp_path):
    """Of the second measurement, with two categories."""
    few = ["--covariance-samples", 1, "--iters", 1]
    assert call_main(rewc, *tiny_options("rewc", tmp_path), *few) is None
