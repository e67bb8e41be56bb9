"""Layers of the critics, whose second derivative takes a few operations where PyTorch's takes many.

The gradient penalty needs that derivative. Values and first derivatives are PyTorch's.
"""

import torch
import torch.nn.functional as F
from torch import nn


class LeakyReLU(torch.autograd.Function):
    """Leaky ReLU 0.2, to the bit PyTorch's.

    Its second derivative is zero everywhere. Its backward pass returns None there, where PyTorch's
    returns zeros, so that no convolution of the gradient penalty is computed only to add zeros.
    """

    generate_vmap_rule = True  # for the Fisher information

    @staticmethod
    def forward(x):
        return F.leaky_relu(x, 0.2)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)  # the layer above may have passed nothing on

    @staticmethod
    def backward(ctx, grad):
        if grad is None:
            return None
        return torch.ops.aten.leaky_relu_backward(grad, ctx.saved_tensors[0].detach(), 0.2, False)


class ReLU(torch.autograd.Function):
    """ReLU, to the bit PyTorch's; None where its second derivative is zero, as LeakyReLU."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return F.relu(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, grad):
        if grad is None:
            return None
        return torch.ops.aten.threshold_backward(grad, ctx.saved_tensors[0].detach(), 0)


def convolve(layer, x, weight=None, stride=1):
    """layer(x) of an nn.Conv2d, by Convolution; weight and stride may be others than its own."""
    weight = layer.weight if weight is None else weight
    bias = layer.bias
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    return Convolution.apply(x, weight, bias, [stride, stride], layer.padding)


class Convolution(torch.autograd.Function):
    """F.conv2d, to the bit, but the penalty's gradient of the weight is computed as any other is.

    PyTorch computes it as a convolution whose filters are as large as the image.
    x: [N, C, H, W]; weight: [D, C, h, w]; bias: [D] or None.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight, bias, stride, padding):
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _, ctx.stride, ctx.padding = inputs
        ctx.save_for_backward(x, weight)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, grad):
        if grad is None:
            return None, None, None, None, None
        # The penalty asks for the gradient of x only; ctx.needs_input_grad does not know that.
        wanted = [is_wanted(node) for node, _ in ctx.next_functions]
        if len(wanted) < 3:  # there is no bias
            wanted.append(False)
        arguments = *ctx.saved_tensors, ctx.stride, ctx.padding, wanted
        return *ConvolutionGradient.apply(grad, *arguments), None, None


def is_wanted(node):
    """Whether the backward pass that is running needs the gradient that goes to this node."""
    if node is None:
        return False
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # its answer for a leaf that torch.autograd.grad was asked about
        return True


class ConvolutionGradient(torch.autograd.Function):
    """Those gradients of Convolution by x, weight and bias that are wanted, to be derived again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad, x, weight, stride, padding, wanted):
        return convolution_backward(grad, x, weight, stride, padding, wanted)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])
        ctx.stride, ctx.padding = inputs[3:5]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, v, v_weight, v_bias):
        """v, v_weight, v_bias: gradients of the three outputs; None where nothing depends on it."""
        grad, x, weight = ctx.saved_tensors
        options = ctx.stride, ctx.padding
        for_grad = for_x = for_weight = None
        if v is not None:
            for_grad = F.conv2d(v, weight, None, *options)
            for_weight = convolution_backward(grad, v, weight, *options, [False, True, False])[1]
        if v_weight is not None:
            extra = F.conv2d(x, v_weight, None, *options)
            for_grad = extra if for_grad is None else for_grad + extra
            for_x = convolution_backward(grad, x, v_weight, *options, [True, False, False])[0]
        if v_bias is not None:
            extra = v_bias[:, None, None].expand_as(grad)
            for_grad = extra if for_grad is None else for_grad + extra
        return for_grad, for_x, for_weight, None, None, None


def convolution_backward(grad, x, weight, stride, padding, wanted):
    """The gradients by x, weight and bias, None if not wanted; grad is that of the output."""
    options = [len(weight)], stride, padding, (1, 1), False, (0, 0), 1
    return torch.ops.aten.convolution_backward(grad, x, weight, *options, wanted)


class RowNorm(torch.autograd.Function):
    """Every row of a matrix normalised: y = x̂ · weight + bias, x̂ = (x − mean) / √(var + eps).

    x: [N, M]; weight, bias: [M]. Returns y, [N, M], and mean and 1 / √(var + eps), [N, 1], which
    carry no gradient of their own.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight, bias, eps):
        return torch.ops.aten.native_layer_norm(x, x.shape[1:], weight, bias, eps)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _, _ = inputs
        _, mean, scale = output
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.mark_non_differentiable(mean, scale)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, grad, *_):
        if grad is None:
            return None, None, None, None
        wanted = [is_wanted(node) for node, _ in ctx.next_functions]
        return *RowNormGradient.apply(grad.contiguous(), *ctx.saved_tensors, wanted), None


class RowNormGradient(torch.autograd.Function):
    """Those gradients of RowNorm by x, weight and bias that are wanted, to be derived again.

    With scale = 1 / √(var + eps), the derivative J of x̂ by x is symmetric:
        J t = scale · (t − mean(t) − mean(t · x̂) · x̂).
    Where g is the gradient of y and h = g · weight, the gradients by x, weight and bias are J h,
    Σ g · x̂ and Σ g, sums over rows. Where v is the gradient that comes back for J h, it gives
        g       (J v) · weight
        weight  Σ g · J v
        x       −scale · (mean(h · x̂) · J v + mean(v · x̂) · J h + mean(h · J v) · x̂).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(grad, x, weight, mean, scale, wanted):
        backward = torch.ops.aten.native_layer_norm_backward
        return backward(grad, x, x.shape[1:], mean, scale, weight, weight, wanted)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:5])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, v, v_weight, v_bias):
        """v, v_weight, v_bias: gradients of the three outputs; None where nothing depends on it."""
        grad, x, weight, mean, scale = ctx.saved_tensors
        rows, size = x.shape

        def derivative(t):
            """J t, and mean(t · x̂) of every row. Each row is a group, so one kernel has both."""
            backward = torch.ops.aten.native_group_norm_backward
            images = [tensor.view(1, rows, size) for tensor in (t, x)]
            moments = [tensor.view(1, rows) for tensor in (mean, scale)]
            options = None, 1, rows, size, rows, [True, True, False]
            product, total, _ = backward(*images, *moments, *options)
            return product.view(rows, size), total.view(rows, 1) / size

        for_grad = for_x = for_weight = None
        if v is not None:
            jv, mean_v = derivative(v.contiguous())
            jh, mean_h = derivative(grad * weight)
            product = grad * jv
            for_weight = product.sum(0)
            with torch.autocast(x.device.type, enabled=False):
                mean_hjv = torch.mv(product, weight).view(rows, 1) / size
            factor = mean_hjv * scale.square()
            for_x = torch.addcmul(factor * mean, factor, x, value=-1)
            for_x.addcmul_(scale * mean_h, jv, value=-1)
            for_x.addcmul_(scale * mean_v, jh, value=-1)
            for_grad = jv * weight
        if v_weight is not None:
            extra = (x - mean) * scale * v_weight
            for_grad = extra if for_grad is None else for_grad + extra
            extra, _ = derivative(grad * v_weight)
            for_x = extra if for_x is None else for_x + extra
        if v_bias is not None:
            extra = v_bias.expand_as(grad)
            for_grad = extra if for_grad is None else for_grad + extra
        return for_grad, for_x, for_weight, None, None, None


class LayerNorm(nn.GroupNorm):
    """GroupNorm(1, channels): over channels, height and width; a scale and a shift a channel."""

    def __init__(self, channels):
        super().__init__(1, channels)

    def forward(self, x):
        """x: [N, C, H, W], not copied if channels lie last in memory. Shape and type are kept."""
        images = x.permute(0, 2, 3, 1).to(self.weight.dtype)
        weight = self.weight.expand(images.shape[1:]).flatten()
        bias = self.bias.expand(images.shape[1:]).flatten()
        y, _, _ = RowNorm.apply(images.flatten(1), weight, bias, self.eps)
        return y.view(images.shape).permute(0, 3, 1, 2).to(x.dtype)
