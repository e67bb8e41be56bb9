"""The critics' layers with a cheap second derivative: value and both derivatives as PyTorch's."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import sft
from common import DownBlock, make_critic
from support import layers
from support.layers import Convolution, LayerNorm, ReLU, convolve

GEOMETRIES = [(3, 1, 1), (1, 1, 0), (4, 2, 1), (5, 2, 2)]  # kernel, stride, padding
VIEWS = "alias detach expand permute squeeze t transpose unsqueeze view _unsafe_view".split()


class Operations(TorchDispatchMode):
    """Counts operations, views apart, and the bytes that they read and write."""

    def __init__(self):
        super().__init__()
        self.count = self.bytes = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if operation.overloadpacket.__name__ not in VIEWS:
            tensors = [
                leaf for leaf in tree_leaves((args, kwargs, result)) if torch.is_tensor(leaf)
            ]
            self.count += 1
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def norms(channels=3):
    """Our layer norm and PyTorch's with the same weights, in float64."""
    torch.manual_seed(0)
    ours = LayerNorm(channels).double()
    for weight in ours.parameters():
        torch.nn.init.normal_(weight)
    theirs = torch.nn.GroupNorm(1, channels).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def some_images(*shape):
    """Float64 with a mean of 1 and a standard deviation of 2, channels last in memory."""
    x = 1 + 2 * torch.randn(*shape).double()
    return x.to(memory_format=torch.channels_last).requires_grad_()


def test_layer_norm_has_pytorchs_value_and_both_its_derivatives():
    ours, theirs = norms()
    x = some_images(3, 3, 4, 5)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)

    def norm(x, weight, bias):
        return functional_call(ours, {"weight": weight, "bias": bias}, (x,))

    inputs = (x, ours.weight, ours.bias)
    assert torch.autograd.gradcheck(norm, inputs)
    assert torch.autograd.gradgradcheck(norm, inputs)


@pytest.mark.parametrize("kernel, stride, padding", GEOMETRIES)
def test_convolution_has_pytorchs_value_and_both_its_derivatives(kernel, stride, padding):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(2, 3, kernel, stride, padding).double()
    x = some_images(2, 2, 6, 6)
    assert torch.equal(convolve(layer, x, stride=stride), layer(x))

    def convolution(x, weight, bias):
        return Convolution.apply(x, weight, bias, layer.stride, layer.padding)

    inputs = (x, layer.weight, layer.bias)
    assert torch.autograd.gradcheck(convolution, inputs)
    assert torch.autograd.gradgradcheck(convolution, inputs)


def test_a_convolution_without_bias_has_the_gradients_of_pytorchs():
    torch.manual_seed(0)
    layer, x = torch.nn.Conv2d(2, 3, 3, bias=False).double(), some_images(2, 2, 6, 6)
    inputs = [x, layer.weight]
    ours, theirs = (
        torch.autograd.grad(y.sin().sum(), inputs) for y in (convolve(layer, x), layer(x))
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_relu_is_pytorchs_to_the_bit_and_has_no_second_derivative():
    torch.manual_seed(0)
    x = torch.randn(5, 7, requires_grad=True)
    ours, theirs = ReLU.apply(x), F.relu(x)
    assert torch.equal(ours, theirs)
    first, reference = (
        torch.autograd.grad(y.sin().sum(), x, create_graph=True)[0] for y in (ours, theirs)
    )
    assert torch.equal(first, reference)
    second, reference = (torch.autograd.grad(g.sum(), x)[0] for g in (first, reference))
    assert torch.equal(second, reference)
    (slope,) = torch.autograd.grad(ReLU.apply(x).sum(), x, create_graph=True)
    assert not slope.requires_grad


def test_they_work_sample_by_sample():
    """As the Fisher information takes gradients: vmap of grad, by inputs and by weights."""
    ours, theirs = norms()
    torch.manual_seed(1)
    layer = torch.nn.Conv2d(3, 2, 3, padding=1).double()
    x = some_images(4, 3, 4, 5).detach()

    def by_input(norm, convolution):
        return vmap(grad(lambda x: convolution(norm(x[None])).sin().sum()))(x)

    def by_weight(norm, convolution):
        def loss(weights, x):
            return convolution(functional_call(norm, weights, (x[None],))).sin().sum()

        return vmap(grad(loss), in_dims=(None, 0))(dict(norm.named_parameters()), x)

    for gradients in (by_input, by_weight):
        mine = gradients(ours, lambda x: convolve(layer, ReLU.apply(x)))
        reference = gradients(theirs, lambda x: layer(F.relu(x)))
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-9)


def plain_forward(self, x):
    """A DownBlock written with PyTorch's own layers and nothing merged."""
    h = self.convs[0](F.relu(self.norms[0](x)))
    h = self.convs[1](F.relu(self.norms[1](h)))
    return self.shortcut(F.avg_pool2d(x, 2)) + F.avg_pool2d(h, 2)


def make_plain(critic):
    """The same critic on PyTorch's own layers."""
    for block in critic.blocks:
        block.forward = plain_forward.__get__(block)
        for i, norm in enumerate(block.norms):
            block.norms[i] = torch.nn.GroupNorm(1, norm.num_channels, dtype=norm.weight.dtype)
            block.norms[i].load_state_dict(norm.state_dict())
    critic.body = lambda x: torch.nn.Sequential(critic.conv, *critic.blocks)(x)
    return critic


def two_critics(dtype):
    """The 64×64 critic and the same on PyTorch's own layers, and images real and painted."""
    critics = []
    for _ in range(2):
        torch.manual_seed(0)
        critics.append(
            make_critic(3, 3, 64, width=2).to(dtype=dtype, memory_format=torch.channels_last)
        )
    make_plain(critics[1])
    return critics, torch.rand(4, 3, 64, 64, dtype=dtype), torch.rand(4, 3, 64, 64, dtype=dtype)


def penalty_and_gradients(critic, real, fake):
    torch.manual_seed(2)
    penalty = sft.gradient_penalty(critic, real, fake)
    return penalty, torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True)


def test_the_gradient_penalty_of_the_64x64_critic_is_that_of_pytorchs_layers():
    critics, real, fake = two_critics(torch.float64)
    assert critics[0].state_dict().keys() == critics[1].state_dict().keys()
    ours, theirs = (penalty_and_gradients(critic, real, fake) for critic in critics)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-10, atol=0)
    for mine, reference in zip(ours[1], theirs[1]):
        if mine is not None:
            torch.testing.assert_close(mine, reference, rtol=1e-7, atol=1e-12)
        else:  # PyTorch's second derivative of ReLU is a tensor of zeros
            assert reference is None or not reference.any()


def test_a_down_block_is_the_same_on_pytorchs_layers():
    block = DownBlock(4, 6, LayerNorm).double()
    x = torch.randn(5, 4, 6, 6).double()
    torch.testing.assert_close(block(x), plain_forward(block, x), rtol=1e-10, atol=1e-10)


def test_the_penalty_takes_at_most_half_of_the_operations_and_the_norm_a_third():
    counted = []
    critics, real, fake = two_critics(torch.float32)
    for critic in critics:
        with Operations() as operations:
            penalty_and_gradients(critic, real, fake)
        counted.append(operations)
    assert counted[0].count < 0.55 * counted[1].count
    assert counted[0].bytes < 0.65 * counted[1].bytes

    counted = []
    for norm in norms(8):
        x = some_images(64, 8, 16, 16)
        y, g = norm(x), torch.ones_like(x).requires_grad_()
        with Operations() as operations:
            (gradient,) = torch.autograd.grad(y, x, g, create_graph=True)
            torch.autograd.grad(gradient, [g, x, norm.weight], torch.ones_like(gradient))
        counted.append(operations)
    assert counted[0].count < counted[1].count / 3
    assert counted[0].bytes < counted[1].bytes / 2


def test_no_gradient_is_computed_that_nobody_asked_for(monkeypatch):
    asked = []

    def noted(grad, x, weight, stride, padding, wanted):
        asked.append(wanted)
        return original(grad, x, weight, stride, padding, wanted)

    original = layers.convolution_backward
    monkeypatch.setattr(layers, "convolution_backward", noted)
    layer, x = torch.nn.Conv2d(2, 3, 3, padding=1), torch.randn(2, 2, 6, 6, requires_grad=True)
    torch.autograd.grad(convolve(layer, x).sum(), x, create_graph=True)  # as the penalty does
    convolve(layer, x).sum().backward(inputs=list(layer.parameters()))  # as the critic's loss does
    convolve(layer, x * 2).sum().backward(inputs=[x])  # as the generator's loss does
    convolve(layer, x).sum().backward()
    assert asked == [
        [True, False, False],
        [False, True, True],
        [True, False, False],
        [True, True, True],
    ]


def test_under_bfloat16_moments_are_measured_in_float32():
    norm = LayerNorm(3)
    x = (1000 + torch.randn(2, 3, 8, 8)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x)
        h = convolve(torch.nn.Conv2d(3, 2, 3), y.float())
    assert y.dtype == h.dtype == torch.bfloat16
    torch.testing.assert_close(y, F.group_norm(x.float(), 1).bfloat16(), rtol=1e-2, atol=1e-2)
