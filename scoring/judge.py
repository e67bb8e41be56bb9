"""Classifiers of images: the judge by which generated images are scored, and how one is trained.

That of a data set with a table is shipped, so that scores from different machines compare; the
judge of other data is trained where it is needed.
"""

import contextlib
import hashlib
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torchvision import transforms

from common import Judge, normalise
from scoring.store import ROOT, digest
from support.files import CannotWrite, reading, write
from support.progress import progress

FOLDER = ROOT / "judges"
CODE = digest(ROOT / "common.py", Path(__file__).resolve())  # that makes a judge
# SHA-256 of FOLDER/<data set>.pt: a Judge trained on all training images for 8 epochs
SHIPPED = {
    "mnist": "1767fb4b39ea8ac4e99396cc48f36463b792810489a1fbed6346060639c72e1e",
    "fashion": "b24cbe9c6e84dc3eb96cef015398e1ffcb8eb3f80ffcd52560e0d4c3f342079e",
}
EPOCHS = 4
LEAST_STEPS = 800  # of training on colour images, of which there may be few
BATCH = 128


def train_classifier(images, labels, num_categories, device, title, epochs=EPOCHS, seed=0):
    """A Judge trained on given images: Adam, one cycle of the learning rate, last epoch, eval mode.

    images: uint8 [N, C, H, W]; labels: int64 [N]; title: of the progress on standard error. Colour
    images are learned for at least LEAST_STEPS steps, each batch shifted at random.
    """
    torch.manual_seed(seed)
    judge = Judge(num_categories, *images.shape[1:3])
    judge = judge.to(device, memory_format=torch.channels_last)
    images, labels = images.to(device), labels.to(device)
    batches = math.ceil(len(images) / BATCH)
    colour = images.shape[1] == 3
    if colour:
        epochs = max(epochs, math.ceil(LEAST_STEPS / batches))
    size = images.shape[3]
    shift = transforms.RandomCrop(size, padding=size // 8, padding_mode="reflect")
    optimizer = torch.optim.Adam(judge.parameters(), fused=True)
    steps = epochs * batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in progress(range(steps), title):
        if step % batches == 0:
            epoch = torch.randperm(len(images), device=device).chunk(batches)
        index = epoch[step % batches]
        batch = normalise(images[index])
        if colour:
            batch = shift(batch)  # all by the same random number of pixels
        loss = F.cross_entropy(judge(batch), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


@torch.no_grad()
def embed(judge, images):
    """The judge's features, float32 [N, 128], of images [N, C, H, W], uint8 or in [−1, 1]."""
    device = next(judge.parameters()).device
    parts = []
    for chunk in images.split(64):  # on a CPU faster than more at once
        chunk = chunk.to(device)
        parts.append(judge.body(normalise(chunk) if chunk.dtype == torch.uint8 else chunk))
    return torch.cat(parts)


@torch.no_grad()
def answers(judge, features):
    """The category that the judge names for each of features [N, 128]: int64 [N], on the CPU."""
    return judge.head(features).argmax(1).cpu()


def percent_right(judge, features, labels):
    """Percent of features [N, 128] that the judge gives their labels, int64 [N] or one int."""
    return 100 * (answers(judge, features) == labels).double().mean().item()


def shipped_judge(dataset, names):
    """The shipped judge of a data set for the categories of these names, and what to call it.

    Its answers are restricted to these categories, in their order; its features stay the same.
    Returns (Judge on the CPU in eval mode, str), or None where none is shipped.
    """
    if dataset not in SHIPPED:
        return None
    path = FOLDER / f"{dataset}.pt"
    called = f"judges/{path.name}"
    repair = f"restore it with: git checkout {called}"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        sys.exit(f"error: {path} cannot be read ({error.strerror}); {repair}")
    if found != SHIPPED[dataset]:
        sys.exit(f"error: {path} has SHA-256 {found}, expected {SHIPPED[dataset]}; {repair}")
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if not set(names) <= set(saved["categories"]):
        return None
    rows = [saved["categories"].index(name) for name in names]
    weights = saved["judge"]
    for part in ("head.weight", "head.bias"):
        weights[part] = weights[part][rows]
    judge = Judge(len(names), saved["channels"], saved["image_size"])
    judge.load_state_dict(weights)
    return judge.eval(), f"{called} (SHA-256 {found[:8]})"


def trained_judge(dataset, images, labels, num_categories, folder, device):
    """The judge trained on these images, kept in a file of the folder; and the file's name."""
    path = folder / f"judge-{dataset}-{digest(images, labels, CODE)[:8]}.pt"
    judge = Judge(num_categories, *images.shape[1:3]).eval()
    with contextlib.suppress(FileNotFoundError), reading(path, "delete it to train a new judge"):
        judge.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return judge, path.name
    judge = train_classifier(images, labels, num_categories, device, "training the judge")
    try:
        write(path, lambda file: torch.save(judge.state_dict(), file))
    except CannotWrite as error:
        lost = "so the judge is not kept for the next time"
        advice = "make room, or choose another --cache-dir"
        print(f"warning: {error}, {lost}; {advice}", file=sys.stderr)
    return judge, path.name
