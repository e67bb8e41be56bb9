"""Models and data loaders of every script.

Networks follow Memory Replay GANs (Wu et al., NeurIPS 2018, arXiv 1809.02058, "MeRGAN").
"""

import contextlib
import functools
import hashlib
import json
import platform
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from datafiles.arrays import select
from datafiles.cache import cached_images
from datafiles.checks import LEAST, constant_notes
from datafiles.idx import open_idx
from datafiles.layout import find_folders
from datafiles.lsun import find_lsun
from datafiles.names import parse_categories
from datafiles.official import open_official
from support.files import (  # noqa: F401, for the scripts
    check_path,
    say,
    use_any_encoding,
    write,
    writing,
)
from support.graph import CudaGraph, can_capture  # noqa: F401, for the scripts
from support.resume import (  # noqa: F401, for the scripts
    catch_signals,
    hold_directory,
    introduce,
    load_networks,
    parse,
    read_checkpoint,
)

# --------------------------------------------------------------------------------------------------
# Generators


class Projection(nn.Conv2d):
    """A convolution with the initial weights of a linear layer."""


@torch.no_grad()
def initialise(network):
    """The initial weights of MeRGAN's public code: uniform around 0, biases 0.

    The variance is 4 / (fan_in + fan_out) for convolutions, and 2 / (fan_in + fan_out) for linear
    layers and projections. Fans count the pixels of the kernel. A strided convolution has
    1 / stride² of its outputs, a strided transposed convolution 1 / stride² of its inputs.
    """
    for layer in network.modules():
        if not isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            continue
        # Weights are [out, in, …], those of transposed convolutions [in, out, …]: in both cases it
        # is the first dimension that a stride thins out
        pixels = layer.weight[0, 0].numel()
        first, second = layer.weight.shape[:2]
        gain = 2 if isinstance(layer, (nn.Linear, Projection)) else 4
        stride = 1 if isinstance(layer, nn.Linear) else layer.stride[0]
        variance = gain / (pixels * (first / stride**2 + second))
        bound = (3 * variance) ** 0.5
        layer.weight.uniform_(-bound, bound)
        if layer.bias is not None:
            layer.bias.zero_()


class ConditionalBatchNorm2d(nn.Module):
    """Batch normalisation, category by category, with a scale and a shift for each, or shared ones.

    In training mode each group is normalised with its own batch statistics, as in MeRGAN, also when
    it samples. In evaluation mode the standing statistics of its category are used, so that an
    image depends only on its z.
    """

    def __init__(self, num_categories, channels, shared=False, eps=1e-5):
        super().__init__()
        rows = 1 if shared else num_categories
        self.eps = eps
        self.record = False  # set while Generator.update_standing_statistics runs
        self.scale = nn.Parameter(torch.ones(rows, channels))
        self.shift = nn.Parameter(torch.zeros(rows, channels))
        self.register_buffer("standing_mean", torch.zeros(num_categories, channels))
        self.register_buffer("standing_var", torch.ones(num_categories, channels))

    def forward(self, x, y):
        """Normalise K groups of n images, x: float [K·n, C, H, W], of categories y: int64 [K]."""
        groups = x.unflatten(0, (len(y), -1))
        scale = F.embedding(y, self.scale.expand_as(self.standing_mean))
        shift = F.embedding(y, self.shift.expand_as(self.standing_mean))
        if not self.training:
            scale = scale * torch.rsqrt(self.standing_var[y] + self.eps)
            shift = shift - self.standing_mean[y] * scale
            normalised = groups * scale[:, None, :, None, None] + shift[:, None, :, None, None]
            return normalised.flatten(0, 1)

        if groups.shape[1] < 2:
            raise ValueError("one image per group: batch statistics need at least 2; call eval()")
        if self.record:
            var, mean = torch.var_mean(groups, dim=(1, 3, 4), correction=0)
            self.standing_var[y] = var
            self.standing_mean[y] = mean
        # As [n, K·C, H, W], with a channel for each group, one fused kernel normalises all groups
        x = groups.transpose(0, 1).flatten(1, 2)
        weights = scale.flatten(), shift.flatten()
        x = F.batch_norm(x, None, None, *weights, training=True, eps=self.eps)
        return x.unflatten(1, (len(y), -1)).transpose(0, 1).flatten(0, 1)


class Generator(nn.Module):
    """Three-layer 32×32 DCGAN generator G(z, c) (MeRGAN section 5.1, authors' code).

    Linear latent_dim → 4·width × 4 × 4, then transposed convolutions (kernel 5, stride 2) to
    2·width, width and the image's channels; batch norm and ReLU before each; tanh.
    conditioning: "cbn", conditional batch norm; or "concat", a one-hot c behind z, and batch norms
    whose scale and shift all categories share.
    """

    image_size = 32
    num_standing = 4096  # images of which standing statistics are measured, by category

    def __init__(self, num_categories, channels, latent_dim=128, width=32, conditioning="cbn"):
        super().__init__()
        self.config = {
            "num_categories": num_categories,
            "channels": channels,
            "latent_dim": latent_dim,
            "width": width,
            "conditioning": conditioning,
            "image_size": self.image_size,
        }
        concat = conditioning == "concat"
        norm = functools.partial(ConditionalBatchNorm2d, num_categories, shared=concat)
        inputs = latent_dim + num_categories if concat else latent_dim
        self.build(inputs, channels, width, norm)
        initialise(self)

    def build(self, inputs, channels, width, norm):
        sizes = [4 * width, 2 * width, width, channels]
        self.linear = nn.Linear(inputs, sizes[0] * 4 * 4)
        self.norms = nn.ModuleList(map(norm, sizes[:3]))
        self.deconvs = nn.ModuleList(
            nn.ConvTranspose2d(n, m, 5, stride=2, padding=2, output_padding=1)
            for n, m in zip(sizes, sizes[1:])
        )

    def paint(self, x, y):
        """[N, 4·width, 4, 4] → the image before its tanh."""
        for norm, deconv in zip(self.norms, self.deconvs):
            x = deconv(F.relu(norm(x, y)))
        return x

    def forward(self, z, y):
        """Images of given categories.

        z: float [N, latent_dim]. y: int64 [K], where K divides N: the first N/K images are of
        category y[0], the next N/K of y[1], and so on. In training mode each such group is
        normalised by itself, so one call on K groups equals K calls on one group. In evaluation
        mode K = N gives every image a category of its own.
        Returns [N, channels, image_size, image_size] in [−1, 1], in the type of z.
        """
        inputs = z
        if self.config["conditioning"] == "concat":
            one_hot = F.one_hot(y, self.config["num_categories"]).to(z.dtype)
            inputs = torch.cat([z, one_hot.repeat_interleave(len(z) // len(y), 0)], 1)
        x = self.paint(self.linear(inputs).unflatten(1, (-1, 4, 4)), y)
        return torch.tanh(x.to(z.dtype))

    @torch.no_grad()
    def update_standing_statistics(self, categories):
        """Measure every layer's statistics for the given categories, for evaluation mode."""
        device = self.linear.weight.device
        random = torch.Generator().manual_seed(0)
        z = torch.randn(self.num_standing, self.config["latent_dim"], generator=random).to(device)
        norms = [module for module in self.modules() if isinstance(module, ConditionalBatchNorm2d)]
        was_training = self.training
        self.train()
        for norm in norms:
            norm.record = True
        for category in categories:
            self(z, torch.tensor([category], device=device))
        for norm in norms:
            norm.record = False
        self.train(was_training)


class ResidualBlock(nn.Module):
    """Norm, ReLU and 3×3 convolution, twice, beside a 1×1 shortcut.

    norm: makes a normalisation of so many channels.
    """

    def __init__(self, num_in, num_inner, num_out, norm):
        super().__init__()
        self.norms = nn.ModuleList([norm(num_in), norm(num_inner)])
        first = nn.Conv2d(num_in, num_inner, 3, padding=1, bias=False)
        second = nn.Conv2d(num_inner, num_out, 3, padding=1)
        self.convs = nn.ModuleList([first, second])
        self.shortcut = Projection(num_in, num_out, 1)


class UpBlock(ResidualBlock):
    """Doubles height and width. Repeating pixels after the shortcut is the same, and cheaper."""

    def __init__(self, num_in, num_out, norm):
        super().__init__(num_in, num_out, num_out, norm)

    def forward(self, x, y):
        h = self.convs[0](F.interpolate(F.relu(self.norms[0](x, y)), scale_factor=2))
        h = self.convs[1](F.relu(self.norms[1](h, y)))
        return F.interpolate(self.shortcut(x), scale_factor=2) + h


class DownBlock(ResidualBlock):
    """Halves height and width, by averaging."""

    def __init__(self, num_in, num_out, norm):
        super().__init__(num_in, num_in, num_out, norm)

    def forward(self, x):
        h = F.relu(self.norms[1](self.convs[0](F.relu(self.norms[0](x)))))
        # A 3×3 convolution and the average over 2×2 pixels are, in one, a 4×4 convolution with
        # stride 2, less than half the work. Its weight averages the 3×3 weight in four places.
        weight = F.avg_pool2d(self.convs[1].weight, 2, stride=1, padding=1)
        h = F.conv2d(h, weight, self.convs[1].bias, stride=2, padding=1)
        return self.shortcut(F.avg_pool2d(x, 2)) + h


class ResNetGenerator(Generator):
    """64×64 residual generator G(z, c) (MeRGAN section 5.3; authors' code: "concat", width 64).

    Linear → 8·width × 4 × 4, four UpBlocks to 8·width, 4·width, 2·width and width, batch norm,
    ReLU, 3×3 convolution, tanh. The paper's 18 layers from z to the image: linear, two
    normalisations and two convolutions in each of four blocks, convolution; not counted are the
    shortcuts and the last normalisation.
    """

    image_size = 64
    num_standing = 512

    def build(self, inputs, channels, width, norm):
        sizes = [8 * width, 8 * width, 4 * width, 2 * width, width]
        self.linear = nn.Linear(inputs, sizes[0] * 4 * 4)
        self.blocks = nn.ModuleList(UpBlock(n, m, norm) for n, m in zip(sizes, sizes[1:]))
        self.norm = norm(width)
        self.conv = nn.Conv2d(width, channels, 3, padding=1)

    def paint(self, x, y):
        for block in self.blocks:
            x = block(x, y)
        return self.conv(F.relu(self.norm(x, y)))


# --------------------------------------------------------------------------------------------------
# Critics


class LeakyReLU(torch.autograd.Function):
    """Leaky ReLU 0.2, to the bit PyTorch's.

    Its second derivative is zero everywhere. Its backward pass returns None there, where PyTorch's
    returns zeros, so that no convolution of the gradient penalty is computed only to add zeros.
    """

    generate_vmap_rule = True  # for gradients of single samples

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


class Critic(nn.Module):
    """32×32 critic with score head D(x) and class head C(x) (MeRGAN section 5.1, authors' code).

    Convolutions (kernel 5, stride 2) from the image's channels to width, 2·width and 4·width,
    leaky ReLU 0.2, no normalisation. The two linear heads always run in float32, as scores are
    differences of large numbers.
    """

    def __init__(self, num_categories, channels, width=32):
        super().__init__()
        features = self.build(channels, width) * 4 * 4
        self.score = nn.Linear(features, 1)
        self.category = nn.Linear(features, num_categories)
        initialise(self)

    def build(self, channels, width):
        sizes = [channels, width, 2 * width, 4 * width]
        self.convs = nn.ModuleList(
            nn.Conv2d(n, m, 5, stride=2, padding=2) for n, m in zip(sizes, sizes[1:])
        )
        return sizes[-1]

    def body(self, x):
        """Images → [N, channels, 4, 4], under autocast in bfloat16."""
        for conv in self.convs:
            x = LeakyReLU.apply(conv(x))
        return x

    def features(self, x):
        """Images → what the heads see: [N, channels, 4, 4], float32 under autocast too."""
        return self.body(x).to(self.score.weight.dtype)

    def forward(self, x):
        """Images [N, channels, H, W] → score [N], class logits [N, num_categories]; float32."""
        x = self.features(x).flatten(1)
        with torch.autocast(x.device.type, enabled=False):
            return self.score(x).squeeze(1), self.category(x)


class ResNetCritic(Critic):
    """64×64 residual critic, ResNetGenerator's mirror image with layer norm (MeRGAN section 5.3).

    3×3 convolution to width, four DownBlocks to 2·width, 4·width, 8·width and 8·width, the two
    heads. 18 layers from the image to a head: convolution, two normalisations and two convolutions
    in each of four blocks, linear.
    """

    def build(self, channels, width):
        sizes = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.conv = Projection(channels, width, 3, padding=1)
        layer_norm = functools.partial(nn.GroupNorm, 1)  # over channels, height and width
        self.blocks = nn.ModuleList(DownBlock(n, m, layer_norm) for n, m in zip(sizes, sizes[1:]))
        return sizes[-1]

    def body(self, x):
        x = self.conv(x)
        for block in self.blocks:
            x = block(x)
        return x


def make_generator(num_categories, channels, image_size=32, **options):
    """The generator of an image size, or, by make_generator(**config), that of a snapshot."""
    return {32: Generator, 64: ResNetGenerator}[image_size](num_categories, channels, **options)


def make_critic(num_categories, channels, image_size=32, **options):
    """The critic of an image size."""
    return {32: Critic, 64: ResNetCritic}[image_size](num_categories, channels, **options)


class Judge(nn.Module):
    """The classifier by which eval.py scores generated images, with a 128-d feature layer.

    32×32: two convolutional blocks. 64×64: a small residual network.
    """

    def __init__(self, num_categories, channels, image_size=32):
        super().__init__()
        layers = []
        if image_size == 32:
            for n, m in [(channels, 32), (32, 64)]:
                layers += [nn.Conv2d(n, m, 3, padding=1, bias=False), nn.BatchNorm2d(m), nn.ReLU()]
                layers += [nn.Conv2d(m, m, 3, padding=1, stride=2, bias=False)]
                layers += [nn.BatchNorm2d(m), nn.ReLU()]
            layers += [nn.Flatten(), nn.Linear(64 * 8 * 8, 128), nn.ReLU()]
        else:
            layers += [nn.Conv2d(channels, 32, 3, padding=1, stride=2)]
            for n, m in [(32, 32), (32, 64), (64, 128)]:
                layers += [DownBlock(n, m, nn.BatchNorm2d)]
            layers += [nn.BatchNorm2d(128), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            layers += [nn.Linear(128, 128), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(128, num_categories)
        for block in self.body:
            if isinstance(block, ResidualBlock):
                for conv in block.convs:
                    nn.init.kaiming_normal_(conv.weight)  # He et al. 2015, for layers behind a ReLU

    def forward(self, x):
        """x: float [N, channels, H, W] in [−1, 1] → class logits [N, num_categories]."""
        return self.head(self.body(x))


# --------------------------------------------------------------------------------------------------
# Saved generators

GROUP = 64  # images normalised together where a generator paints, as in training


def saved_generator(generator, seen, names, method, dataset, solver=None):
    """What a method script saves of a generator, and load_generator() reads: a dict.

    seen: int64, the categories learned so far. names: of all categories. solver: None, or the Judge
    that says which category an image is of, where the generator cannot be asked for one (dgr.py).
    """
    saved = {
        "method": method,
        "dataset": dataset,
        "categories": names,
        "seen": seen.tolist(),
        "config": generator.config,
        "generator": generator.state_dict(),
    }
    if solver is not None:
        saved["solver"] = solver.state_dict()
    return saved


def load_generator(path, device="cpu"):
    """A generator as a method script saved it, in training mode; its solver or None; the dict."""
    saved = torch.load(path, map_location=device, weights_only=True)
    layout = {"device": device, "memory_format": torch.channels_last}
    config = saved["config"]
    generator = make_generator(**config).to(**layout)
    generator.load_state_dict(saved["generator"])
    solver = None
    if "solver" in saved:
        shape = config["channels"], config["image_size"]
        solver = Judge(len(saved["categories"]), *shape).to(**layout).eval()
        solver.load_state_dict(saved["solver"])
    return generator, solver, saved


@torch.no_grad()
def fixed_samples(generator, seen, solver=None, n=10):
    """n images of each category in seen, from the same z in every call: uint8 [K, n, C, H, W].

    z come from random numbers of their own, so that training goes on as without samples. 64 images
    of a category are normalised together, as in training. With a solver, the n are the first that
    it takes for the category; a missing image is black.
    """
    random = torch.Generator().manual_seed(0)
    latent_dim = generator.config["latent_dim"]
    if solver is None:
        z = torch.randn(GROUP, latent_dim, generator=random).to(seen.device)
        images = generator(z.repeat(len(seen), 1), seen)
        chosen = images.unflatten(0, (len(seen), GROUP))[:, :n]
    else:
        # As many images as if each category had been asked for
        z = torch.randn(GROUP * len(seen), latent_dim, generator=random).to(seen.device)
        images = generator(z, torch.zeros_like(seen))
        categories = solver.eval()(images).argmax(1)
        solver.train()
        chosen = torch.full((len(seen), n, *images.shape[1:]), -1.0, device=seen.device)
        for row, category in zip(chosen, seen):
            found = images[categories == category][:n]
            row[: len(found)] = found
    return pixels(chosen)


def save_rows(images, path):
    """A PNG without margins, grey or in colour. images: uint8 [rows, columns, C, H, W]."""
    picture = images.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).cpu().numpy()
    Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture).save(path, "PNG")


def pixels(images):
    """Images in [−1, 1] → uint8, as a file holds them."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


# --------------------------------------------------------------------------------------------------
# Data

# The image size of each data set, where no other is asked for.
DATASETS = {
    "mnist": 32,
    "fashion": 32,
    "kmnist": 32,
    "emnist": 32,
    "svhn": 32,
    "cifar10": 32,
    "idx": 32,
    "folder": 64,
    "lsun": 64,
}


def add_data_options(parser):
    """Add the options of load_dataset to a script's command line."""
    add = parser.add_argument
    kinds_help = "emnist: its letters; folder: your images; idx: your files in MNIST's format"
    add("--dataset", choices=DATASETS, default="mnist", help=f"{kinds_help} [%(default)s]")
    data_help = "folder of the data; what has a site is fetched into it if need be [%(default)s]"
    add("--data-dir", default="data", help=data_help)
    add("--cache-dir", help="place of decoded images and of eval.py's judge [with the data]")
    order_help = "names in the order of learning, as a,b,c; '*' for folders that hold folders"
    add("--categories", default="", help=f"{order_help} [all; lsun: the paper's four]")
    limit_help = "at most, the first ones [all; lsun: the paper's 100000]"
    add("--images-per-category", type=int, help=limit_help)
    size_help = "of lsun and folder [64]; others are 32×32"
    add("--image-size", type=int, choices=(32, 64), help=size_help)
    crop_help = "lsun, folder: centre crop [squashed to a square, as in the authors' code]"
    add("--crop", action="store_true", help=crop_help)


def cache_folder(dataset, data_dir, cache_dir=None, **_):
    """Where everything goes that is computed from a data set: decoded images, the judge, scores."""
    if cache_dir:
        return Path(cache_dir)
    if dataset in ("lsun", "folder"):
        return Path(data_dir) / ".cache"
    return Path(data_dir)


def data_options(arguments):
    """The parameters of load_dataset, less split, from the arguments of a run, old or new."""
    names = ("dataset", "data_dir", "cache_dir", "categories", "images_per_category")
    names += ("image_size", "crop")
    return {name: arguments[name] for name in names if name in arguments}


def fingerprint(images, labels, names):
    """Eight digits that tell training sets apart: names, labels, images.

    Of a memory map about a thousand images count.
    """
    every = 1 if torch.is_tensor(images) else len(images) // 1000 + 1
    some = np.asarray(images[::every])
    total = hashlib.sha256(json.dumps(names).encode() + labels.numpy().tobytes() + some.tobytes())
    return total.hexdigest()[:8]


def load_dataset(
    dataset,
    data_dir,
    split,
    cache_dir=None,
    categories="",
    images_per_category=None,
    image_size=None,
    crop=False,
    check_names=None,
):
    """The images, labels and category names of one split, "train" or "test", of a data set.

    "mnist", "fashion", "kmnist", "emnist" (its letters), "cifar10": the official files in data_dir,
    in torchvision's folders, fetched if they are not there.
    "svhn": the official train_32x32.mat and test_32x32.mat in data_dir, fetched likewise.
    "idx": any data set in MNIST's four-file format, the files lying in data_dir itself.
    "lsun": the official LMDBs in data_dir. "folder": images in data_dir/<category>/,
    or in data_dir/train/<category>/ and data_dir/test/<category>/.

    Returns uint8 [N, C, H, W], int64 [N], list of str. The images are a tensor, or, for lsun and
    folder, an np.memmap sorted by category. Exits with one line if data or options are unusable.
    check_names: called with the names of the categories before an image is decoded.
    """
    check_path("--data-dir", data_dir)
    check_path("--cache-dir", cache_dir)
    data_dir = Path(data_dir)
    asked = parse_categories(categories)
    if images_per_category is not None and images_per_category < LEAST["train"]:
        found = f"--images-per-category is {images_per_category}"
        sys.exit(f"error: {found}, expected at least {LEAST['train']}")

    # Images to be decoded, which are then kept in a file
    if dataset in ("lsun", "folder"):
        find = find_lsun if dataset == "lsun" else find_folders
        limit = images_per_category
        if limit is None:
            limit = 100_000 if dataset == "lsun" else 0
        sources, official, notes = find(data_dir, asked)
        if check_names:
            check_names(list(sources))
        if split == "train":
            for note in notes:
                say(f"data: {note}")
        images, counts = cached_images(
            stem=dataset,
            where=data_dir,
            sources=sources,
            official=official,
            split=split,
            size=image_size or DATASETS[dataset],
            crop=crop,
            limit=limit,
            cache_dir=cache_folder(dataset, data_dir, cache_dir),
        )
        labels = torch.repeat_interleave(torch.tensor(list(counts.values())))
        names = list(counts)

    # Arrays of 32×32 images
    else:
        if crop or image_size not in (None, 32):
            found = "--crop and --image-size are for lsun and folder"
            sys.exit(f"error: {found}; the images of {dataset} are 32×32 as they are")
        arrays = open_idx(data_dir) if dataset == "idx" else open_official(dataset, data_dir)
        images, labels, names = select(arrays, split, asked, images_per_category)
        if check_names:
            check_names(names)

    if split == "train":
        for note in constant_notes(images, labels, names):
            say(f"data: {note}")
    return images, labels, names


def load_tasks(args, categories_in_batch):
    """load_dataset() of the training images by a method script's options, with its tasks.

    categories_in_batch(args, total): how many categories share a batch at most, of so many that the
    run learns. Sets args.num_tasks where it is 0, and args.data to a fingerprint of the images.
    Exits before images are decoded if options do not fit.
    """

    def check_names(names):
        tasks = -(-len(names) // args.categories_per_task)  # rounded up
        if not 0 <= args.num_tasks <= tasks:
            expected = f"expected 1 to {tasks}, or 0 for all"
            sys.exit(f"error: --num-tasks is {args.num_tasks}, {expected}")
        args.num_tasks = args.num_tasks or tasks
        total = min(args.num_tasks * args.categories_per_task, len(names))
        shared = categories_in_batch(args, total)
        if args.batch_size < 2 * shared:
            found = f"--batch-size is {args.batch_size}, categories in a batch: {shared}"
            sys.exit(f"error: {found}; expected at least 2 images of each: {2 * shared}")

    data = load_dataset(split="train", check_names=check_names, **data_options(vars(args)))
    args.data = fingerprint(*data)
    return data


def choose_device(args, number):
    """Use the GPU of this number if args.device is "cuda". Returns the name of the hardware."""
    if args.device == "cpu":
        kind = torch.backends.cpu.get_cpu_capability()
        return f"{processor_name()}, {kind}, threads: {torch.get_num_threads()}"
    if number >= torch.cuda.device_count():
        sys.exit(f"error: process {number} sees no CUDA GPU of its own; use --device cpu")
    torch.cuda.set_device(number)
    return torch.cuda.get_device_name()


def processor_name(path="/proc/cpuinfo"):
    """The CPU's name, as kinds of CPU round differently; where Linux has none, what Python knows."""
    with contextlib.suppress(OSError):
        for line in Path(path).read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "CPU"


def mixed_seed(*numbers):
    """One seed of up to four numbers, such as seed, process, task and step.

    Seeds of 32 bits, which PyTorch's generator on a CPU takes, and as different as the numbers.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class RealImages:
    """Training images as uint8, sorted by category, and the batches of every step.

    batches: uint8 [batches, K·n, C, H, W], those of the step that was loaded. Which images they
    hold is a function of seed, process, task and step. A tensor of images lies on the device as a
    whole; from a memory map, each step reads its own.
    """

    def __init__(self, images, labels, device, seed=0, process=0):
        """images: uint8 [N, C, H, W], a tensor or a sorted np.memmap; labels: int64 [N]."""
        self.device = device
        self.seed = seed
        self.process = process
        # Where each category begins, and how many images it has
        self.counts = torch.bincount(labels).numpy()
        self.starts = self.counts.cumsum() - self.counts
        self.images = images
        if torch.is_tensor(images):
            self.images = images[labels.argsort(stable=True)].to(device)

    def begin(self, task, y, n, batches):
        """Get ready for a task: in each step so many batches, of n images of each category in y."""
        self.task = task
        self.categories = y.cpu().numpy()
        self.shape = (batches, len(y), n)
        # Those of every step lie in the same tensor, as a CUDA graph demands
        shape = (batches, len(y) * n, *self.images.shape[1:])
        self.batches = torch.empty(shape, dtype=torch.uint8, device=self.device)

    def numbers(self, step):
        """Which images the batches of a step hold, with replacement: int64 [batches, K·n]."""
        random = np.random.default_rng([self.seed, self.process, self.task, step])
        counts = self.counts[self.categories, None]
        numbers = random.integers(counts, size=self.shape) + self.starts[self.categories, None]
        return numbers.reshape(len(numbers), -1)

    def load(self, step):
        """Put the batches of a step into self.batches. Call it before each step."""
        numbers = self.numbers(step)
        if torch.is_tensor(self.images):
            batches = self.images[torch.from_numpy(numbers).to(self.device, non_blocking=True)]
        else:
            # Opened afresh: what has been read of a map counts as memory until it is closed
            images = np.memmap(self.images.filename, np.uint8, "r", shape=self.images.shape)
            batches = torch.from_numpy(images[numbers])
        self.batches.copy_(batches, non_blocking=True)


def normalise(images):
    """uint8 pixels 0 … 255 → float32 in [−1, 1]."""
    return images.float() / 127.5 - 1
