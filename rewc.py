"""Rotated EWC (R-EWC): EWC in coordinates in which the Fisher information is closer to diagonal.

Rotate your Networks (Liu et al., ICPR 2018, arXiv 1802.02950, "R-EWC"), applied to the generator of
Memory Replay GANs (Wu et al., NeurIPS 2018, arXiv 1809.02058, "MeRGAN"). An AC-GAN with a
Wasserstein critic and gradient penalty learns one category after another.
A stopped run continues when its command is given again, without --overwrite.

    python rewc.py --dataset mnist                                                       # on a GPU
    python rewc.py --width 16 --critic-steps 2 --iters 1600 --learning-rate 5e-4         # on a CPU
    python eval.py runs                                                                  # scores
"""

import argparse
import contextlib
import io
import json
import math
import os
import shlex
import signal
import sqlite3
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils import parametrize
from torchvision.utils import make_grid, save_image

import common

METHOD = Path(__file__).stem
TORCHRUN = "LOCAL_RANK" in os.environ
RANK = int(os.environ["RANK"]) if TORCHRUN else 0  # the number of this process
PROCESSES = int(os.environ["WORLD_SIZE"]) if TORCHRUN else 1

# --------------------------------------------------------------------------------------------------
# Options


def positive_int(text):
    """The type of an option that counts."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number of at least 1")
    return int(text)


def non_negative(text):
    """The type of an option that weighs."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"found {text}, expected a number of at least 0")


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    common.add_data_options(parser)
    # Training; defaults are the paper's or, where it is silent, those of the authors' code
    add("--num-tasks", type=int, default=0, help="categories to learn; 0: all [%(default)s]")
    add("--iters", type=positive_int, help="generator steps per task [8000; lsun: 20000]")
    add("--batch-size", type=positive_int, default=64, help="images per process [%(default)s]")
    add("--learning-rate", type=non_negative, default=1e-4, help="Adam's [%(default)s]")
    add("--critic-steps", type=positive_int, default=5, help="per generator step [%(default)s]")
    add("--lambda-gp", type=non_negative, default=10.0, help="gradient penalty [%(default)s]")
    add("--lambda-cls", type=non_negative, default=1.0, help="class terms [%(default)s]")
    # Networks
    add("--latent-dim", type=positive_int, default=128, help="dimension of z [%(default)s]")
    add("--width", type=positive_int, help="channels next to the image [32; 64×64: 64]")
    add("--conditioning", choices=("cbn", "concat"), help="of G on c [cbn; 64×64: concat]")
    # Machine
    add("--seed", type=int, default=1, help="of weights, noise, batches [%(default)s]")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="[%(default)s]")
    add("--amp", choices=("auto", "off", "bf16"), default="auto", help="auto: bf16 on fit CPUs")
    add("--cuda-graph", choices=("auto", "off"), default="auto", help="on one GPU [%(default)s]")
    # Run directory
    add("--run-dir", help="where results go [runs/<dataset>__<method>__<seed>]")
    add("--snapshots", choices=("log", "tasks"), default="log", help="log: at steps 1, 2, 4, … too")
    add("--log-every", type=positive_int, default=25, help="in steps [%(default)s]")
    add("--checkpoint-every", type=positive_int, default=500, help="in steps [%(default)s]")
    add("--overwrite", action="store_true", help="delete the run in --run-dir and start anew")
    # The method's own; how the default λ were chosen: docs/ewc_needs_steps.md
    add("--lambda-ewc", type=non_negative, help="penalty's weight [5; --fisher critic: 1000]")
    add("--fisher", choices=("critic", "pixels"), default="pixels", help="likelihood [%(default)s]")
    add("--fisher-samples", type=positive_int, default=1024, help="z per category [%(default)s]")
    add("--covariance-samples", type=positive_int, default=8192, help="z for L, M [%(default)s]")
    modes = ("fresh", "online", "mean")
    add("--ewc-mode", choices=modes, default="fresh", help="F of several tasks [%(default)s]")
    args = parser.parse_args()

    # Defaults that depend on the data set
    args.image_size = args.image_size or common.DATASETS[args.dataset]
    if args.iters is None:
        args.iters = 20000 if args.dataset == "lsun" else 8000
    if args.width is None:
        args.width = 32 if args.image_size == 32 else 64
    if args.conditioning is None:
        args.conditioning = "cbn" if args.image_size == 32 else "concat"
    if args.lambda_ewc is None:
        args.lambda_ewc = 1000.0 if args.fisher == "critic" else 5.0
    # Defaults that depend on the machine
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.amp == "auto":
        native = args.device == "cpu" and torch.cpu._is_avx512_bf16_supported()
        args.amp = "bf16" if native else "off"
    args.run_dir = args.run_dir or f"runs/{args.dataset}__{METHOD}__{args.seed}"
    return args


# --------------------------------------------------------------------------------------------------
# Losses: real and fake are images [K·n, C, H, W]; y, int64 [K], has their categories: the first n
# images are of y[0], the next n of y[1], and so on


def critic_loss(critic, real, fake, y, lambda_cls):
    """min E[D(G(z,c))] − E[D(x)] + λ_CLS · CE(C(x), c): MeRGAN's, without penalty. A scalar."""
    score, logits = critic(torch.cat([real, fake]))
    score_real, score_fake = score.chunk(2)
    labels = y.repeat_interleave(len(real) // len(y))
    classification = F.cross_entropy(logits[: len(real)], labels)
    return score_fake.mean() - score_real.mean() + lambda_cls * classification


def gradient_penalty(critic, real, fake):
    """E[(‖∇D(x̂)‖₂ − 1)²], x̂ = εx + (1 − ε)G(z,c), ε ~ U(0,1) per image (WGAN-GP). A scalar."""
    epsilon = torch.rand(len(real), 1, 1, 1, device=real.device)
    x_hat = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
    score, _ = critic(x_hat)
    # Outside autocast, so that both backward passes of the heads are float32
    with torch.autocast(real.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(score.sum(), x_hat, create_graph=True)
        norms = gradient.flatten(1).norm(dim=1)
        return (norms - 1).square().mean()


def generator_loss(critic, fake, y, lambda_cls):
    """min −E[D(G(z,c))] + λ_CLS · CE(C(G(z,c)), c): MeRGAN's. A scalar, the mean over images."""
    score, logits = critic(fake)
    labels = y.repeat_interleave(len(fake) // len(y))
    return -score.mean() + lambda_cls * F.cross_entropy(logits, labels)


# --------------------------------------------------------------------------------------------------
# The method


def log_likelihood(critic, images, v, kind):
    """The log-likelihood, up to a constant, behind the Fisher information. A scalar, summed.

    A WGAN has none, so each kind is a surrogate. critic: the score D(G(z,c)). pixels: G(z,c) is the
    mean of a Gaussian of unit variance. Its Fisher information E[JᵀJ], J = ∂G/∂θ, is that of
    v·G(z,c) with v ~ N(0, I), and its penalty is the quadratic approximation around θ* of
    MeRGAN-RA's ½‖G_t(z,c) − G_{t−1}(z,c)‖². v: like images, [N, C, H, W].
    """
    # Summed over images: each image has a z of its own, so gradients do not mix
    if kind == "critic":
        score, _ = critic(images)
        return score.sum()
    return (images * v).sum()


@torch.no_grad()
def fisher_information(generator, critic, y, z, v, kind, chunk=16):
    """F_i = E_z,c[(∂ log p / ∂θ_i)²]: means of squared per-sample gradients, a list of tensors.

    y: int64 [K], the categories; z: [N, latent_dim] and v: [N, C, H, W], the same for each of them.
    The generator has to be in evaluation mode: batch norm then applies its standing statistics as
    constants, so an image depends only on its own z.
    """
    weights = {name: weight.detach() for name, weight in generator.named_parameters()}
    total = [torch.zeros_like(weight) for weight in weights.values()]
    samples = len(y) * len(z)

    def of_sample(weights, z, v, category):
        image = functional_call(generator, weights, (z[None], category))
        return log_likelihood(critic, image, v, kind)

    # The gradient of every sample by itself; they are squared before they are averaged
    gradients_of_samples = vmap(grad(of_sample), in_dims=(None, 0, 0, None))
    chunks = list(zip(z.split(chunk), v.split(chunk)))
    for category in y.split(1):
        for some_z, some_v in chunks:
            gradients = gradients_of_samples(weights, some_z, some_v, category)
            for f, gradient in zip(total, gradients.values()):
                squares = gradient.square().sum(0)
                f += squares / samples
    return total


@torch.no_grad()
def consolidate(fisher, anchor, new, weights, mode):
    """Take a task's Fisher information, new, into that of the past; move the anchor θ*. In place.

    fresh: only the new one, which was measured at the latest weights over all past categories.
    online: the sum over past tasks, each measured when it was learned (online EWC, γ = 1).
    mean: the same, and main() divides λ by the number of past tasks.
    """
    for total, star, extra, weight in zip(fisher, anchor, new, weights):
        # θ* are always the latest weights; the modes differ in F only
        star.copy_(weight)
        if mode == "fresh":
            total.copy_(extra)
        else:
            total += extra


def ewc_penalty(weights, fisher, anchor):
    """½ Σ_i F_i (θ_i − θ*_i)², MeRGAN eq. 9 without its λ. Lists of like tensors. A scalar."""
    total = 0
    for weight, f, star in zip(weights, fisher, anchor):
        distance = (weight - star).square()
        total = total + (f * distance).sum()
    return total / 2


class Rotation(nn.Module):
    """W = U₂ W′ U₁ᵀ for a linear or (transposed) convolution weight: U₁, U₂ fixed, W′ trained.

    U₁ and U₂ are orthogonal. The paper has three layers in a row (rotation, core, rotation); here
    the product is taken on the weights. Function and gradients for W′ are the same, at a fraction
    of the cost. For convolutions U₁ and U₂ act on channels, as 1×1 rotations.
    """

    def __init__(self, weight, transposed):
        super().__init__()
        self.equation = "oi...,po,qi->pq..."
        # A transposed convolution stores its input channels first
        num_out, num_in = weight.shape[:2]
        if transposed:
            self.equation = "io...,po,qi->qp..."
            num_in, num_out = num_out, num_in
        # At first both are the identity, so the layer is what it was
        like = {"dtype": weight.dtype, "device": weight.device}
        self.register_buffer("u1", torch.eye(num_in, **like))
        self.register_buffer("u2", torch.eye(num_out, **like))
        self.register_buffer("input_covariance", torch.zeros_like(self.u1))  # L
        self.register_buffer("gradient_covariance", torch.zeros_like(self.u2))  # M

    def rotate(self, weight, out, into):
        """out · weight · intoᵀ on the channel dimensions of a weight, in any layout."""
        # Rotations are multiplied in the precision of the weight
        out = out.to(weight.dtype)
        into = into.to(weight.dtype)
        return torch.einsum(self.equation, weight, out, into)

    def forward(self, core):
        # Gradients are enabled even under no_grad: inside parametrize.cached() all of update()
        # shares one product, and the generator's loss needs its gradient
        float32 = torch.autocast(core.device.type, enabled=False)
        with torch.enable_grad(), float32:
            return self.rotate(core, self.u2, self.u1)


def add_rotations(module):
    """Put a Rotation, at first the identity, on every linear and (transposed) convolution layer."""
    layers = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    # A list, as registering adds modules to those that are walked
    for layer in list(module.modules()):
        if isinstance(layer, layers):
            transposed = isinstance(layer, nn.ConvTranspose2d)
            rotation = Rotation(layer.weight, transposed)
            parametrize.register_parametrization(layer, "weight", rotation)


def rotated_layers(module):
    """Pairs of a layer that has a Rotation, and its Rotation."""
    pairs = []
    for layer in module.modules():
        if parametrize.is_parametrized(layer, "weight"):
            rotation = layer.parametrizations.weight[0]
            pairs.append((layer, rotation))
    return pairs


def measure_covariances(generator, critic, y, z, v, kind, chunk=256):
    """Add to every layer's L = E[x xᵀ] of inputs and M = E[δ δᵀ] of δ = ∂ log p / ∂output.

    R-EWC section IV. Means over samples, sums over positions for convolutions; y: int64 [1]. The
    other arguments are as in fisher_information.
    """
    inputs = {}
    outputs = {}

    def keep(layer, arguments, output):
        inputs[layer] = arguments[0].detach()
        outputs[layer] = output

    def add_products(covariance, x):
        # A linear layer is a convolution with one position
        if x.dim() == 2:
            x = x.unsqueeze(2)
        x = x.flatten(2)  # [N, channels, positions]
        covariance += torch.einsum("ncp,ndp->cd", x, x) / len(z)

    # Hooks catch the input and the output of every layer of one forward pass
    layers = rotated_layers(generator)
    hooks = [layer.register_forward_hook(keep) for layer, _ in layers]
    chunks = zip(z.split(chunk), v.split(chunk))
    for some_z, some_v in chunks:
        likelihood = log_likelihood(critic, generator(some_z, y), some_v, kind)
        # δ of all layers from one backward pass; rows of a batch do not mix
        of_layers = [outputs[layer] for layer, _ in layers]
        deltas = torch.autograd.grad(likelihood, of_layers)
        for (layer, rotation), delta in zip(layers, deltas):
            add_products(rotation.input_covariance, inputs[layer])
            add_products(rotation.gradient_covariance, delta)
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def rotate_anew(generator, fisher):
    """Turn every layer to the eigenvectors of its L and M, and F with it, in place.

    L = U₁S₁U₁ᵀ, M = U₂S₂U₂ᵀ, W′ = U₂ᵀWU₁; the layer's function stays as it was. A change of
    coordinates R takes a diagonal F to the diagonal of RᵀFR: sums of F's entries with the squared
    entries of R. fisher: a list like generator.parameters().
    """
    position = {weight: i for i, weight in enumerate(generator.parameters())}
    for layer, rotation in rotated_layers(generator):
        core = layer.parametrizations.weight.original
        # The new basis of the layer, in float64
        _, u1 = torch.linalg.eigh(rotation.input_covariance.double())
        _, u2 = torch.linalg.eigh(rotation.gradient_covariance.double())
        u1 = u1.contiguous()
        u2 = u2.contiguous()
        # Sign and null space of eigenvectors are arbitrary: all processes take the first one's
        if PROCESSES > 1:
            torch.distributed.broadcast(u1, 0)
            torch.distributed.broadcast(u2, 0)
        # From the old coordinates to the new ones
        into = u1.T @ rotation.u1.double()
        out = u2.T @ rotation.u2.double()
        f = fisher[position[core]]
        core.copy_(rotation.rotate(core.double(), out, into))
        rotated = rotation.rotate(f.double(), out.square(), into.square())
        f.copy_(rotated)
        rotation.u1.copy_(u1)
        rotation.u2.copy_(u2)


def merged(generator):
    """The same function as an ordinary generator: every U₂ W′ U₁ᵀ is multiplied out."""
    # All that has no rotation is taken as it is
    state = {}
    for name, value in generator.state_dict().items():
        if ".parametrizations." not in name:
            state[name] = value
    for name, layer in generator.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            state[f"{name}.weight"] = layer.weight.detach()
    with torch.device("meta"):  # takes no memory and no random numbers
        ordinary = common.make_generator(**generator.config)
    ordinary.load_state_dict(state, assign=True)
    return ordinary


def main():
    common.use_any_encoding()
    args = parse_args()
    images, labels, names = common.load_dataset(split="train", **common.data_options(vars(args)))
    run = Run(args, images, labels, names)

    # Data and networks
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    layout = {"device": device, "memory_format": torch.channels_last}
    autocast = torch.autocast(args.device, torch.bfloat16, enabled=args.amp == "bf16")
    real_images = common.RealImages(images, labels, device, args.seed + 10**6 * RANK)
    sizes = {
        "num_categories": len(names),
        "channels": images.shape[1],
        "image_size": images.shape[2],
        "width": args.width,
    }
    generator = common.make_generator(
        **sizes, latent_dim=args.latent_dim, conditioning=args.conditioning
    ).to(**layout)
    critic = common.make_critic(**sizes).to(**layout)
    add_rotations(generator)
    generator_weights = list(generator.parameters())
    critic_weights = list(critic.parameters())
    adam = {
        "lr": args.learning_rate,
        "betas": (0.0, 0.9),
        "fused": True,
        "capturable": args.device == "cuda",
    }
    # What is remembered: the Fisher information, and the weights θ* around which it holds
    fisher = nn.ParameterList(map(torch.zeros_like, generator_weights)).requires_grad_(False)
    anchor = nn.ParameterList(map(torch.zeros_like, generator_weights)).requires_grad_(False)
    run.restore(generator=generator, critic=critic, fisher=fisher, anchor=anchor)

    def noise(y, n):
        """z ~ N(0, I) for n images of each category in y: [K·n, latent_dim]."""
        return torch.randn(len(y) * n, args.latent_dim, device=device)

    def fisher_samples(n, number):
        """n fixed z and v for log_likelihood; another number gives others."""
        # The same in every process, and training's own random numbers go on as in sft.py
        random = torch.Generator().manual_seed(args.seed + 1000 * number)
        z = torch.randn(n, args.latent_dim, generator=random)
        v = torch.randn(n, *images.shape[1:], generator=random)
        return z.to(device), v.to(device)

    # task counts from 0: the papers' t is task + 1
    steps = args.iters
    for task in range(run.first_task, args.num_tasks):
        # The task's categories, how many images of each a batch holds, and all categories so far
        y = torch.tensor([task], device=device)
        n = args.batch_size // len(y)
        seen = torch.arange(task + 1, device=device)
        lambda_ewc = args.lambda_ewc
        if args.ewc_mode == "mean":  # what is remembered is a sum over past tasks
            lambda_ewc /= max(task, 1)
        real_images.begin(y, n, run.first_step * args.critic_steps)

        # Adam starts afresh in every task
        critic_optimizer = torch.optim.Adam(critic_weights, **adam)
        generator_optimizer = torch.optim.Adam(generator_weights, **adam)
        run.begin_task(task, steps, critic_optimizer, generator_optimizer)

        @parametrize.cached()  # the rotated weights
        def update():
            """One generator step. Returns its losses, still on the device."""
            # Train the critic
            for _ in range(args.critic_steps):
                with autocast:
                    real = real_images.draw(y, n)
                    with torch.no_grad():
                        fake = generator(noise(y, n), y)
                    penalty = gradient_penalty(critic, real, fake)
                    loss_critic = critic_loss(critic, real, fake, y, args.lambda_cls)
                    loss_critic += args.lambda_gp * penalty
                critic_optimizer.zero_grad()
                loss_critic.backward(inputs=critic_weights)
                average([weight.grad for weight in critic_weights])
                critic_optimizer.step()

            # Train the generator
            with autocast:
                fake = generator(noise(y, n), y)
                loss_generator = generator_loss(critic, fake, y, args.lambda_cls)
                # Hold the weights that the past needs
                penalty_ewc = ewc_penalty(generator_weights, fisher, anchor)
                loss_generator += lambda_ewc * penalty_ewc
            generator_optimizer.zero_grad()
            loss_generator.backward(inputs=generator_weights)
            average([weight.grad for weight in generator_weights])
            generator_optimizer.step()
            losses = {"critic": loss_critic, "gradient_penalty": penalty}
            return losses | {"generator": loss_generator, "ewc": penalty_ewc}

        # The steps; on one GPU each of them is one launch of a CUDA graph
        graphed = args.cuda_graph == "auto" and PROCESSES == 1 and real_images.static
        iterate = common.CudaGraph(update, real_images) if graphed else update
        for step in range(run.first_step + 1, steps + 1):
            losses = iterate()
            run.log(step, losses)
            if run.is_milestone(step):
                run.save_samples(step, generator, seen)
                run.save_snapshot(step, seen, merged(generator))
            run.save_checkpoint_when_due(step)

        # End of the task: save the generator, and keep what the method needs of the past
        generator.update_standing_statistics(seen)
        run.save_generator(f"task_{task + 1}.pt", seen, merged(generator))
        if task + 1 < args.num_tasks:
            measured = seen if args.ewc_mode == "fresh" else y
            print(f"measuring the Fisher information of {len(measured)} categories", flush=True)
            generator.eval()
            # Rotate; samples of its own, as M has a null space where F of the same would be 0
            if args.ewc_mode == "fresh":
                for _, rotation in rotated_layers(generator):
                    rotation.input_covariance.zero_()
                    rotation.gradient_covariance.zero_()
            z, v = fisher_samples(args.covariance_samples, 2 * task + 1)
            for category in measured.split(1):
                measure_covariances(generator, critic, category, z, v, args.fisher)
            rotate_anew(generator, fisher)
            z, v = fisher_samples(args.fisher_samples, 2 * task)
            new = fisher_information(generator, critic, measured, z, v, args.fisher)
            generator.train()
            consolidate(fisher, anchor, new, generator.parameters(), args.ewc_mode)
        run.end_task()
    run.close()


# --------------------------------------------------------------------------------------------------
# The run directory. The rest is the same in every script; a method changes nothing here.

# What --overwrite deletes
RESULTS = (
    "args.json",
    "checkpoint.pt",
    "metrics.jsonl",
    "eval.json",
    "eval_cache.json",
    "task_[0-9]*.pt",
    "samples/task_[0-9]*_step_[0-9]*.png",
    "snapshots/task_[0-9]*_step_[0-9]*.pt",
)
# What may differ when a run continues
FREE = {"run_dir", "data_dir", "cache_dir", "overwrite", "snapshots", "cuda_graph", "hardware"}


def check(good, message):
    """End the process with one line where something is not as expected."""
    if not good:
        sys.exit(f"error: {message}")


@contextlib.contextmanager
def expect(message):
    """End the process with one line where something fails."""
    try:
        yield
    except Exception as error:
        cause = str(error).partition("\n")[0] or type(error).__name__
        sys.exit(f"error: {message} ({cause})")


def write(path, save):
    """Let save(file) write a file, then put it in place in one step: a kill leaves no half file."""
    temporary = path.with_name(path.name + ".tmp")
    with expect(f"{path} cannot be written; make room, then run the command again"):
        # Of several processes only the first one writes
        if not RANK:
            save(temporary)
            os.replace(temporary, path)


def average(tensors):
    """Replace tensors by their means over the processes of torchrun, in place."""
    if PROCESSES > 1:
        # One message for all tensors, instead of one for each
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        sizes = [tensor.numel() for tensor in tensors]
        means = (flat / PROCESSES).split(sizes)
        for tensor, mean in zip(tensors, means):
            tensor.copy_(mean.view_as(tensor))


class Run:
    """What surrounds the training: directory, lock, log, samples, generators and checkpoint.

    A run that was killed at any moment continues from its checkpoint to the same weights.
    """

    def __init__(self, args, images, labels, names):
        """Ends the process, with one line, where the run cannot begin and where it is finished."""
        self.args = args
        self.names = names
        self.directory = Path(args.run_dir)
        self.stopped = False  # by a signal
        self.printed = -math.inf  # the time of the last line of progress

        # Options that depend on the data and the machine
        args.processes = PROCESSES
        args.data = common.fingerprint(images, labels, names)
        args.num_tasks = args.num_tasks or len(names)
        found = f"--num-tasks is {args.num_tasks}, expected 1 to {len(names)}"
        check(1 <= args.num_tasks <= len(names), f"{found}, the number of categories")
        found = f"--batch-size is {args.batch_size}, expected at least 2 images for each task"
        check(args.batch_size >= 2 * args.num_tasks, found)
        check(abs(args.seed) < 2**62, f"--seed is {args.seed}, expected a number below 2^62")
        args.hardware = f"{torch.backends.cpu.get_cpu_capability()} CPU"
        args.hardware += f", threads: {torch.get_num_threads()}"
        if args.device == "cuda":
            with expect("a process sees no CUDA GPU of its own; use --device cpu"):
                local_rank = int(os.environ.get("LOCAL_RANK", 0))
                torch.cuda.set_device(local_rank)
                args.hardware = torch.cuda.get_device_name()

        # The first process holds the directory and speaks; the others learn where to begin
        if not RANK:
            self.checkpoint = self.open_directory()
        if PROCESSES > 1:
            torch.distributed.init_process_group()
            start = [None if RANK else self.checkpoint]
            torch.distributed.broadcast_object_list(start)
            (self.checkpoint,) = start
        if RANK:
            sys.stdout = open(os.devnull, "w")
        self.first_task = self.checkpoint["task"]
        self.first_step = self.checkpoint["step"]
        self.saved = "none"
        if "networks" in self.checkpoint:
            self.saved = f"task {self.first_task + 1}, step {self.first_step}"
        if self.first_task == args.num_tasks:
            path = shlex.quote(str(self.directory))
            print(f"{path} is finished; score it with: python eval.py {path}")
            sys.exit()
        print(f"{METHOD}: {args.num_tasks} tasks of {args.iters} steps, seed {args.seed}")
        print(f"device: {args.device} ({args.hardware}), processes: {PROCESSES}, amp: {args.amp}")
        print(f"data: {args.dataset}, {len(images)} images, {len(names)} categories")
        print(f"results: {self.directory}, last checkpoint: {self.saved}", flush=True)

    def open_directory(self):
        """Lock the directory and compare its arguments with ours. Returns where to begin."""
        with expect(f"--run-dir {self.directory} cannot be made; choose another"):
            # Everything that the run will write goes into this directory
            (self.directory / "samples").mkdir(parents=True, exist_ok=True)
            (self.directory / "snapshots").mkdir(exist_ok=True)
        with expect(f"{self.directory} is in use by another process; choose another --run-dir"):
            # An open transaction is the lock
            self.lock = sqlite3.connect(self.directory / "lock", timeout=0)
            self.lock.execute("PRAGMA journal_mode = MEMORY")  # needs no room on the disk
            self.lock.execute("BEGIN EXCLUSIVE")  # the system frees it when the process dies
        if self.args.overwrite:
            # What a run writes, and nothing else
            for pattern in RESULTS:
                for path in self.directory.glob(pattern):
                    path.unlink()

        # What lies there: the arguments of a run, and its last checkpoint
        given = {"method": METHOD, **vars(self.args)}
        found = None
        start = {"task": 0, "step": 0, "elapsed": 0.0, "log_bytes": 0}
        arguments = self.directory / "args.json"
        checkpoint = self.directory / "checkpoint.pt"
        if arguments.exists():
            with expect(f"{arguments} is damaged or not ours; restore it, or --overwrite"):
                found = dict(json.loads(arguments.read_text()))
        if checkpoint.exists():
            check(found, f"{checkpoint} has no args.json beside it; restore it, or --overwrite")
            with expect(f"{checkpoint} is damaged or not ours; restore it, or --overwrite"):
                state = torch.load(checkpoint, map_location="cpu", weights_only=True)
                names = [*start, "random", "networks", "optimizers"]
                start = {name: state[name] for name in names}
        if not found:
            text = json.dumps(given, indent=2) + "\n"
            write(arguments, lambda file: file.write_text(text))
        # Another run is not continued
        found = found or given
        differing = []
        for name in sorted(given.keys() | found.keys()):
            if name not in FREE and given.get(name) != found.get(name):
                differing.append(f"{name}: {found.get(name)} there, {given.get(name)} here")
        other = f"{self.directory} holds a run with other arguments ({'; '.join(differing)})"
        check(not differing, f"{other}; choose another --run-dir, or --overwrite it")
        return start

    def restore(self, **networks):
        """Names all modules that a checkpoint holds; they and random numbers continue with it."""
        self.networks = networks
        self.started = time.perf_counter() - self.checkpoint["elapsed"]
        # The log loses the lines of steps that are about to be repeated
        path = self.directory / "metrics.jsonl"
        self.log_file = io.BytesIO() if RANK else open(path, "ab", 0)
        size = min(self.checkpoint["log_bytes"], self.log_file.tell())
        self.log_file.truncate(size)
        if RANK:  # equal weights in every process, but noise of its own
            torch.manual_seed(self.args.seed + 10**6 * RANK)
        # Weights, then random numbers, as they were at the checkpoint
        if "networks" in self.checkpoint:
            for name, network in networks.items():
                network.load_state_dict(self.checkpoint["networks"][name])
            torch.set_rng_state(self.checkpoint["random"][RANK]["cpu"])
            if self.args.device == "cuda":
                torch.cuda.set_rng_state(self.checkpoint["random"][RANK]["cuda"])

    def begin_task(self, task, steps, *optimizers):
        """The optimizers continue where the checkpoint was written inside this task."""
        self.task = task
        self.steps = steps
        self.optimizers = optimizers
        self.timed = (time.perf_counter(), self.first_step)
        # A task that was interrupted goes on with its moments of Adam
        if self.first_step:
            for optimizer, state in zip(optimizers, self.checkpoint["optimizers"]):
                optimizer.load_state_dict(state)
        # Several processes would have to stop at the same step, so signals end them at once
        if PROCESSES == 1:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self.stop)

    def stop(self, number, frame):
        """Ctrl-C or a scheduler's SIGTERM: stop after a checkpoint; a second one stops at once."""
        self.stopped = True
        signal.signal(number, signal.SIG_DFL)

    def log(self, step, losses):
        """Every --log-every steps a line of metrics.jsonl; ends a run that is not finite."""
        self.due = self.stopped or step % self.args.checkpoint_every == 0
        is_logged = step % self.args.log_every == 0 or step == self.steps
        if not (self.due or is_logged):
            return
        # One read from the device for all losses, one for all weights
        values = torch.stack(list(losses.values())).tolist()
        values = dict(zip(losses, values))
        weights = [w for network in self.networks.values() for w in network.parameters()]
        norm = torch.nn.utils.get_total_norm(weights).item()
        found = f"losses or weights are not finite at task {self.task + 1}, step {step} ({values})"
        found += f"; last good checkpoint: {self.saved}, in {self.directory}"
        numbers = [norm, *values.values()]
        finite = all(map(math.isfinite, numbers))
        check(finite, f"{found}; try a lower --learning-rate in a new --run-dir")

        # A line of the log
        now = time.perf_counter()
        rate = (step - self.timed[1]) / (now - self.timed[0])
        self.timed = (now, step)
        line = {
            "task": self.task + 1,
            "step": step,
            **values,
            "it_per_s": rate,
            "elapsed": now - self.started,
        }
        path = self.directory / "metrics.jsonl"
        with expect(f"{path} cannot be written; make room, then run the command again"):
            self.log_file.write(json.dumps(line).encode() + b"\n")
        # A line of progress every three seconds
        if now - self.printed > 3 or step == self.steps:
            text = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
            where = f"task {self.task + 1}/{self.args.num_tasks}, step {step}/{self.steps}"
            steps_left = (self.args.num_tasks - self.task) * self.steps - step
            left = steps_left / rate / 60
            print(f"{where}, {rate:.1f} it/s, {text}, {left:.1f} min left", flush=True)
            # Who has no GPU learns at once what takes hours, and what is shorter
            if self.printed == -math.inf and left > 120 and self.args.device == "cpu":
                tasks = min(5, self.args.num_tasks)
                look = ["python", *sys.argv, "--num-tasks", str(tasks), "--iters", "400"]
                look += ["--learning-rate", "5e-4", "--run-dir", f"{self.directory}__look"]
                minutes = f"{tasks * 400 / rate / 60:.0f} minutes"
                print(f"this takes {left / 60:.0f} hours here; a first look takes {minutes}:")
                print(shlex.join(look), flush=True)
            self.printed = now

    def is_milestone(self, step):
        """Steps 1, 2, 4, 8, … and the last one of a task."""
        return step.bit_count() == 1 or step == self.steps

    @torch.no_grad()
    def save_samples(self, step, generator, categories):
        """A PNG: a row for each category, ten fixed z, normalised among 64 as in training."""
        # A generator of its own, so that training draws the same numbers with and without samples
        # All 64 images are painted, as batch norm needs them, and ten of them are shown
        random = torch.Generator().manual_seed(0)
        z = torch.randn(64, self.args.latent_dim, generator=random)
        z = z.to(categories.device).repeat(len(categories), 1)
        images = generator(z, categories)
        rows = images.unflatten(0, (len(categories), 64))[:, :10]
        grid = make_grid(rows.flatten(0, 1), nrow=10, normalize=True, value_range=(-1, 1))
        path = self.directory / "samples" / f"task_{self.task + 1}_step_{step:06d}.png"
        write(path, lambda file: save_image(grid, file, format="png"))

    def save_generator(self, name, seen, generator, **others):
        """A generator as eval.py loads it, with other networks that it needs."""
        # All that is needed to make the network again and to load it
        saved = {
            "method": METHOD,
            "dataset": self.args.dataset,
            "categories": self.names,
            "seen": seen.tolist(),
            "config": generator.config,
        }
        for key, network in {"generator": generator, **others}.items():
            saved[key] = network.state_dict()
        write(self.directory / name, lambda file: torch.save(saved, file))

    def save_snapshot(self, step, seen, generator, **others):
        """The generator inside a task; its standing statistics are those of the task before."""
        if self.args.snapshots == "log" and step < self.steps:
            name = f"snapshots/task_{self.task + 1}_step_{step:06d}.pt"
            self.save_generator(name, seen, generator, **others)

    def save_checkpoint(self, task, step):
        # Every process draws random numbers of its own
        random = {"cpu": torch.get_rng_state()}
        if self.args.device == "cuda":
            random["cuda"] = torch.cuda.get_rng_state()
        of_all = [random] * PROCESSES
        if PROCESSES > 1:
            torch.distributed.all_gather_object(of_all, random)
        # The whole state of training between two steps
        state = {
            "task": task,
            "step": step,
            "elapsed": time.perf_counter() - self.started,
            "log_bytes": self.log_file.tell(),
            "random": of_all,
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        write(self.directory / "checkpoint.pt", lambda file: torch.save(state, file))
        self.saved = f"task {task + 1}, step {step}"

    def save_checkpoint_when_due(self, step):
        """Every --checkpoint-every steps, and when a signal asked to stop."""
        if self.due:
            self.save_checkpoint(self.task, step)
            if self.stopped:
                sys.exit(f"stopped at {self.saved}; the same command, less --overwrite, continues")

    def end_task(self):
        """A checkpoint at the start of the next task."""
        self.first_step = 0
        self.save_checkpoint(self.task + 1, 0)

    def close(self):
        # The command can be pasted, whatever the name of the directory is
        minutes = (time.perf_counter() - self.started) / 60
        path = shlex.quote(str(self.directory))
        print(f"done in {minutes:.1f} min; score it with: python eval.py {path}")
        if PROCESSES > 1:
            torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
