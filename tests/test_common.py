import argparse
import functools
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import common
from common import (
    ConditionalBatchNorm2d,
    Critic,
    DownBlock,
    Generator,
    RealImages,
    UpBlock,
    make_critic,
    make_generator,
    normalise,
)

# Models


@pytest.fixture
def norm():
    torch.manual_seed(0)
    norm = ConditionalBatchNorm2d(4, 5)
    torch.nn.init.normal_(norm.scale)
    torch.nn.init.normal_(norm.shift)
    return norm


def varied(size, channels, conditioning):
    """A small generator with different scales and shifts."""
    torch.manual_seed(0)
    generator = make_generator(3, channels, size, latent_dim=8, width=4, conditioning=conditioning)
    for module in generator.modules():
        if isinstance(module, ConditionalBatchNorm2d):
            torch.nn.init.normal_(module.scale, 1, 0.3)
            torch.nn.init.normal_(module.shift, 0, 0.3)
    return generator


@pytest.fixture
def generator():
    return varied(32, 1, "cbn")


@pytest.fixture(params=[(32, 1, "cbn"), (64, 3, "concat"), (64, 3, "cbn")], ids=str)
def either(request):
    return varied(*request.param)


def test_batch_norm_normalises_each_group_by_itself(norm):
    x = torch.randn(3 * 6, 5, 4, 4) * torch.arange(1, 19).view(-1, 1, 1, 1)
    y = torch.tensor([2, 0, 2])
    for group, out, c in zip(x.chunk(3), norm(x, y).chunk(3), y):
        mean = group.mean((0, 2, 3), keepdim=True)
        var = group.var((0, 2, 3), correction=0, keepdim=True)
        scale, shift = norm.scale[c, :, None, None], norm.shift[c, :, None, None]
        written_out = (group - mean) / (var + 1e-5).sqrt() * scale + shift
        torch.testing.assert_close(out, written_out, rtol=1e-5, atol=1e-5)


def test_one_image_per_group_is_refused_in_training_mode_only(norm):
    with pytest.raises(ValueError, match="at least 2"):
        norm(torch.randn(3, 5, 4, 4), torch.tensor([0, 1, 2]))
    assert norm.eval()(torch.randn(3, 5, 4, 4), torch.tensor([0, 1, 2])).shape == (3, 5, 4, 4)


def test_a_call_on_groups_equals_separate_calls(either):
    z, y = torch.randn(3 * 7, 8), torch.tensor([2, 0, 1])
    images = either(z, y)
    size = either.image_size
    assert images.shape == (21, either.config["channels"], size, size)
    separate = torch.cat([either(some_z, c[None]) for some_z, c in zip(z.chunk(3), y)])
    torch.testing.assert_close(images, separate, rtol=1e-3, atol=1e-4)
    same_z = either(z[:7].repeat(2, 1), torch.tensor([0, 2]))
    assert (same_z[:7] - same_z[7:]).abs().mean() > 0.01  # the category makes a difference


def test_evaluation_mode_draws_any_mix_as_each_image_alone_also_when_rebuilt(either):
    either.update_standing_statistics([0, 1, 2])
    rebuilt = make_generator(**either.config)
    rebuilt.load_state_dict(either.state_dict())
    z, y = torch.randn(6, 8), torch.tensor([2, 0, 0, 1, 2, 1])
    alone = torch.cat([either.eval()(z[i : i + 1], y[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(rebuilt.eval()(z, y), alone, rtol=1e-4, atol=1e-5)
    by_category = rebuilt(torch.cat([z[y == c] for c in range(3)]), torch.arange(3))
    expected = torch.cat([alone[y == c] for c in range(3)])
    torch.testing.assert_close(by_category, expected, rtol=1e-4, atol=1e-5)


def test_standing_statistics_are_the_batch_statistics_of_their_own_z(generator):
    z = torch.randn(4096, 8, generator=torch.Generator().manual_seed(0))
    before = generator.norms[0].standing_mean[1].clone()
    generator.update_standing_statistics([0, 2])
    for category in (0, 2):
        y = torch.tensor([category])
        batch, standing = generator.train()(z, y), generator.eval()(z, y)
        torch.testing.assert_close(standing, batch, rtol=1e-4, atol=1e-5)
    assert torch.equal(generator.norms[0].standing_mean[1], before)


@pytest.mark.parametrize("training", [True, False])
def test_update_of_standing_statistics_keeps_the_mode_and_ends_recording(generator, training):
    generator.train(training)
    generator.update_standing_statistics([0])
    means = [norm.standing_mean.clone() for norm in generator.norms]
    assert generator.training == training
    generator.train()(torch.randn(4, 8), torch.tensor([0]))
    assert all(torch.equal(norm.standing_mean, mean) for norm, mean in zip(generator.norms, means))


def shapes(module):
    return {
        name: tuple(weight.shape)
        for name, weight in module.named_parameters()
        if "bias" not in name
    }


def test_generator_has_the_papers_layers():
    expected = {"linear.weight": (4 * 4 * 128, 128), "deconvs.0.weight": (128, 64, 5, 5)}
    expected |= {"deconvs.1.weight": (64, 32, 5, 5), "deconvs.2.weight": (32, 1, 5, 5)}
    for i, channels in enumerate((128, 64, 32)):
        expected |= {f"norms.{i}.scale": (10, channels), f"norms.{i}.shift": (10, channels)}
    assert shapes(Generator(10, 1)) == expected


def test_critic_has_the_papers_layers():
    expected = {
        "convs.0.weight": (32, 3, 5, 5),
        "convs.1.weight": (64, 32, 5, 5),
        "convs.2.weight": (128, 64, 5, 5),
    }
    expected |= {"score.weight": (1, 128 * 4 * 4), "category.weight": (10, 128 * 4 * 4)}
    assert shapes(Critic(10, 3)) == expected


def test_generator_paints_32_by_32_images_between_minus_1_and_1(generator):
    images = generator(100 * torch.randn(6, 8), torch.tensor([0, 2]))
    assert images.shape == (6, 1, 32, 32) and images.dtype == torch.float32
    assert images.abs().max() <= 1


@pytest.mark.parametrize("size", [32, 64])
def test_features_score_and_class_logits_of_a_critic_are_float32_under_bfloat16_too(size):
    critic = make_critic(3, 1, size, width=4)
    images = torch.randn(5, 1, size, size)
    with torch.autocast("cpu", torch.bfloat16):
        assert critic.body(images).dtype == torch.bfloat16
        features = critic.features(images)
        score, logits = critic(images)
    assert score.shape == (5,) and logits.shape == (5, 3)
    assert features.dtype == score.dtype == logits.dtype == torch.float32


class Convolutions(TorchDispatchMode):
    """Counts the convolutions of a block, those of backward passes included."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function == torch.ops.aten.convolution_backward.default:
            self.count += sum(args[-1][:2])  # for the input, for the weights
        self.count += function == torch.ops.aten.convolution.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "dtype, bf16", [(torch.float64, False), (torch.float32, False), (torch.float32, True)]
)
def test_critics_leaky_relu_is_pytorchs_to_the_bit_and_its_second_derivative_is_cheaper(
    dtype, bf16, monkeypatch
):
    """Score, its gradient for the image, and the penalty's for the weights; also under bfloat16."""
    torch.manual_seed(0)
    critic = Critic(3, 1, width=4).to(dtype)
    x = torch.randn(6, 1, 32, 32, dtype=dtype).requires_grad_()

    def derivatives():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16), Convolutions() as counted:
            score, _ = critic(x)
            (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
            penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
            weights = [*(conv.weight for conv in critic.convs), critic.score.weight]
            of_penalty = torch.autograd.grad(penalty, weights)
        return [score, gradient, *of_penalty], counted.count

    ours, our_count = derivatives()
    monkeypatch.setattr(common.LeakyReLU, "apply", lambda h: F.leaky_relu(h, 0.2))
    theirs, their_count = derivatives()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs))
    assert all(gradient.abs().sum() > 0 for gradient in ours)
    # Spared: every layer's for its weights, all but the first's for its input
    assert our_count == their_count - 5


# Batches


@pytest.fixture
def numbered_images():
    """Thirty images, the pixels of image i all i, and their shuffled labels 0, 1, 2."""
    labels = torch.arange(30)[torch.randperm(30, generator=torch.Generator().manual_seed(0))] % 3
    pixels = torch.arange(30, dtype=torch.uint8).view(30, 1, 1, 1)
    return pixels.expand(30, 1, 32, 32).contiguous(), labels


def drawn(images, labels, n, seed=1, process=0, task=0, step=1):
    """The numbers of the images of both batches of a step, each n of category 2 and n of 0."""
    real_images = RealImages(images, labels, torch.device("cpu"), seed, process)
    real_images.begin(task, torch.tensor([2, 0]), n, batches=2)
    real_images.load(step)
    batches = real_images.batches
    assert batches.shape == (2, 2 * n, 1, 32, 32) and batches.dtype == torch.uint8
    return batches[:, :, 0, 0, 0].long()


def test_a_batch_has_n_images_of_each_asked_category_in_order(numbered_images):
    images, labels = numbered_images
    found = drawn(images, labels, 50)
    expected = torch.tensor([2, 0]).repeat_interleave(50)
    assert torch.equal(labels[found], expected.expand(2, 100))


def test_batches_hold_every_image_about_equally_often(numbered_images):
    images, labels = numbered_images
    counts = drawn(images, labels, 5000).flatten().bincount(minlength=30)
    assert (counts[labels == 1] == 0).all()
    others = counts[labels != 1]
    assert 850 < others.min() and others.max() < 1150  # expected: 1000


def test_batches_are_a_function_of_seed_process_task_and_step_only(numbered_images):
    first = drawn(*numbered_images, 20)
    torch.manual_seed(99)
    assert torch.equal(drawn(*numbered_images, 20), first)
    assert not torch.equal(first[0], first[1])
    for changed in ({"seed": 2}, {"process": 1}, {"task": 1}, {"step": 2}):
        assert not torch.equal(drawn(*numbered_images, 20, **changed), first)


def test_batches_are_the_same_from_a_memory_map(numbered_images, tmp_path):
    images, labels = numbered_images
    by_category = labels.argsort(stable=True)
    images[by_category].numpy().tofile(tmp_path / "images.u8")
    memory_map = np.memmap(tmp_path / "images.u8", np.uint8, "r", shape=images.shape)
    for step in (1, 2):
        expected = drawn(images, labels, 20, step=step)
        assert torch.equal(drawn(memory_map, labels[by_category], 20, step=step), expected)


def test_a_run_names_its_processor_where_linux_does(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel\t\t: 17\nmodel name\t: A CPU: fast\n")
    assert common.processor_name(file) == "A CPU: fast"
    file.write_text("processor\t: 0\n")
    assert common.processor_name(file)
    assert common.processor_name(tmp_path / "none")
    args = argparse.Namespace(device="cpu")
    assert common.choose_device(args, 0).startswith(common.processor_name())


def test_mixed_seeds_of_neighbours_differ():
    some = {common.mixed_seed(*numbers) for numbers in itertools.product(range(6), repeat=4)}
    assert len(some) == 6**4
    assert max(some) < 2**32


def test_normalise_maps_pixels_to_minus_1_to_1():
    pixels = normalise(torch.tensor([0, 51, 255], dtype=torch.uint8))
    torch.testing.assert_close(pixels, torch.tensor([-1.0, -0.6, 1.0]))


# 64×64


def layers(module, *kinds):
    return [tuple(m.weight.shape) for m in module.modules() if isinstance(m, kinds)]


def test_resnet_generator_has_the_papers_layers():
    generator = make_generator(4, 3, 64, latent_dim=128, width=64, conditioning="concat")
    assert layers(generator, torch.nn.Linear) == [(4 * 4 * 512, 128 + 4)]
    sizes = [512, 512, 256, 128, 64]
    expected = []
    for n, m in zip(sizes, sizes[1:]):
        expected += [(m, n, 3, 3), (m, m, 3, 3), (m, n, 1, 1)]
    assert layers(generator, torch.nn.Conv2d) == [*expected, (3, 64, 3, 3)]
    norms = [
        tuple(m.scale.shape) for m in generator.modules() if isinstance(m, ConditionalBatchNorm2d)
    ]
    assert norms == [(1, n) for pair in zip(sizes, sizes[1:]) for n in pair] + [(1, 64)]


def test_resnet_critic_has_the_papers_layers():
    critic = make_critic(4, 3, 64, width=64)
    sizes, expected = [64, 128, 256, 512, 512], [(64, 3, 3, 3)]
    for n, m in zip(sizes, sizes[1:]):
        expected += [(n, n, 3, 3), (m, n, 3, 3), (m, n, 1, 1)]
    assert layers(critic, torch.nn.Conv2d) == expected
    assert layers(critic, torch.nn.GroupNorm) == [(n,) for n in sizes[:-1] for _ in range(2)]
    assert layers(critic, torch.nn.Linear) == [(1, 512 * 4 * 4), (4, 512 * 4 * 4)]


def test_up_block_is_the_textbook_formula():
    torch.manual_seed(0)
    block = UpBlock(4, 6, functools.partial(ConditionalBatchNorm2d, 2))
    x = torch.randn(5, 4, 3, 3)

    def up(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def normalised(x):
        return F.relu(F.batch_norm(x, None, None, training=True))

    h = block.convs[1](normalised(block.convs[0](up(normalised(x)))))
    expected = block.shortcut(up(x)) + h
    torch.testing.assert_close(block(x, torch.tensor([1])), expected, rtol=1e-4, atol=1e-5)


def test_down_block_is_the_textbook_formula():
    torch.manual_seed(0)
    block = DownBlock(4, 6, functools.partial(torch.nn.GroupNorm, 1))
    x = torch.randn(5, 4, 6, 6)
    for norm in block.norms:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)

    def normalised(x, norm):
        mean = x.mean((1, 2, 3), keepdim=True)
        var = x.var((1, 2, 3), correction=0, keepdim=True)
        x = (x - mean) / (var + 1e-5).sqrt()
        return F.relu(x * norm.weight[:, None, None] + norm.bias[:, None, None])

    def pool(x):
        return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))

    h = block.convs[1](normalised(block.convs[0](normalised(x, block.norms[0])), block.norms[1]))
    torch.testing.assert_close(block(x), pool(block.shortcut(x)) + pool(h), rtol=1e-4, atol=1e-5)


def test_a_digit_generator_can_be_told_its_category_by_a_one_hot_too():
    generator = make_generator(3, 1, 32, latent_dim=8, width=4, conditioning="concat")
    assert generator.linear.weight.shape == (4 * 4 * 16, 11)
    assert generator.norms[0].scale.shape == (1, 16)
    assert generator(torch.randn(6, 8), torch.tensor([0, 2])).shape == (6, 1, 32, 32)


# Initial weights


def spread(layer):
    """The authors' standard deviation of a layer's initial weights (MeRGAN's public code)."""
    if isinstance(layer, nn.Linear):
        return math.sqrt(2 / (layer.in_features + layer.out_features))
    pixels, stride = layer.kernel_size[0] ** 2, layer.stride[0]
    fan_in, fan_out = layer.in_channels * pixels, layer.out_channels * pixels
    if isinstance(layer, nn.ConvTranspose2d):
        fan_in /= stride**2
    else:
        fan_out /= stride**2
    return math.sqrt(4 / (fan_in + fan_out))


@pytest.mark.parametrize("size", [32, 64])
def test_initial_weights_have_the_authors_spread(size):
    torch.manual_seed(0)
    width = 32 if size == 32 else 16
    for network in (
        make_generator(10, 3, size, width=width),
        make_critic(10, 3, size, width=width),
    ):
        for name, layer in network.named_modules():
            if not isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                continue
            expected = spread(layer)
            if name.endswith("shortcut") or (
                size == 64 and isinstance(network, Critic) and name == "conv"
            ):
                expected /= math.sqrt(2)
            weight = layer.weight.detach()
            assert weight.std().item() == pytest.approx(expected, rel=0.1), name
            assert weight.abs().max() <= math.sqrt(3) * expected  # uniform
            assert weight.abs().max() > 0.95 * math.sqrt(3) * expected
            assert layer.bias is None or not layer.bias.any()
    assert size == 32 or all(block.convs[0].bias is None for block in network.blocks)
