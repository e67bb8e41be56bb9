"""Classifiers of images: the judge by which generated images are scored, and how one is trained.

    python -m scoring.judge --data-dir data --output judges/mnist.pt    # how MNIST's was made

MNIST's judge is shipped, so that scores from different machines compare; the judge of other data
is trained where it is needed. On a CPU, training gives the same bits on any number of threads.
"""

import argparse
import copy
import hashlib
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from common import Judge, load_dataset, normalise
from scoring.threads import one_thread_each

FOLDER = Path(__file__).resolve().parent.parent / "judges"
SHIPPED = {
    "mnist": "1767fb4b39ea8ac4e99396cc48f36463b792810489a1fbed6346060639c72e1e"
}  # SHA-256 of FOLDER/<data set>.pt
EPOCHS = 4
LEAST_STEPS = 800  # of training on colour images, of which there may be few
BATCH = 128
SHARDS = 4  # parts of a batch, each with a batch norm of its own; that many cores can work at once


def train_classifier(images, labels, num_categories, device, name, seed=0, epochs=EPOCHS):
    """A Judge trained on given images: Adam, one cycle of the learning rate, last epoch, eval mode.

    images: uint8 [N, C, H, W]; labels: int64 [N]; name: what the progress on standard error is of.
    Colour images are learned for at least LEAST_STEPS steps, each batch shifted at random.
    """
    torch.manual_seed(seed)
    judge = Judge(num_categories, *images.shape[1:3])
    judge = judge.to(device, memory_format=torch.channels_last)
    images, labels = images.to(device), labels.to(device)
    batches = math.ceil(len(images) / BATCH)
    colour = images.shape[1] == 3
    if colour:
        epochs = max(epochs, math.ceil(LEAST_STEPS / batches))
    weights = list(judge.parameters())
    optimizer = torch.optim.Adam(weights, fused=True)
    steps = epochs * batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    replicas = share_weights(judge, 1 if device == "cuda" else min(SHARDS, len(images)))

    def backward(replica, shard, shard_labels, count):
        """The gradients of a shard's part of the mean loss over the batch; returns that part."""
        replica.zero_grad()
        loss = F.cross_entropy(replica(shard), shard_labels, reduction="sum") / count
        loss.backward()
        return loss.detach(), [weight.grad for weight in replica.parameters()]

    with one_thread_each() as parallel:
        for epoch in range(epochs):
            for index in torch.randperm(len(images), device=device).chunk(batches):
                batch = normalise(images[index])
                if colour:
                    batch = shift(batch)
                # A last batch of very few images has fewer shards
                count = min(len(replicas), len(index))
                shards = batch.tensor_split(count)
                shard_labels = labels[index].tensor_split(count)
                sizes = [len(index)] * count
                parts = list(parallel(backward, replicas, shards, shard_labels, sizes))
                # Sum in the order of the shards, whichever was ready first
                of_shards = [gradients for _, gradients in parts]
                for weight, *shares in zip(weights, *of_shards):
                    weight.grad = sum(shares[1:], shares[0])
                optimizer.step()
                schedule.step()
            if (epoch + 1) % max(1, epochs // EPOCHS) == 0:
                loss = sum(part.item() for part, _ in parts)
                print(f"{name}: epoch {epoch + 1}/{epochs}, loss {loss:.4f}", file=sys.stderr)
    # Of batch norm, the mean of the statistics of all shards; the first replica is the judge
    of_replicas = [replica.buffers() for replica in replicas]
    for buffer, *others in zip(*of_replicas):
        if buffer.is_floating_point():
            buffer.copy_(torch.stack([buffer, *others]).mean(0))
    return judge.eval()


def share_weights(network, count):
    """The network and copies of it: the same weights, but batch norm statistics of their own."""
    replicas = [network, *(copy.deepcopy(network) for _ in range(count - 1))]
    for replica in replicas[1:]:
        for weight, original in zip(replica.parameters(), network.parameters()):
            weight.data = original.data
    return replicas


def shift(batch):
    """A batch of images [N, C, H, W], all shifted by the same random number of pixels."""
    size = batch.shape[-1]
    top, left = torch.randint(size // 4 + 1, (2,)).tolist()
    padded = F.pad(batch, [size // 8] * 4, mode="reflect")
    return padded[:, :, top : top + size, left : left + size]


def embed(judge, images):
    """The judge's features, float32 [N, 128], of images [N, C, H, W], uint8 or in [−1, 1]."""
    device = next(judge.parameters()).device

    @torch.no_grad()
    def features(chunk):
        chunk = chunk.to(device)
        return judge.body(normalise(chunk) if chunk.dtype == torch.uint8 else chunk)

    with one_thread_each() as parallel:
        return torch.cat(list(parallel(features, images.split(256))))


@torch.no_grad()
def percent_right(judge, features, labels):
    """Percent of features [N, 128] that the judge gives their labels, int64 [N] or one int."""
    with one_thread_each():
        named = judge.head(features).argmax(1).cpu()
    return 100 * (named == labels).double().mean().item()


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


def main():
    """Train the judge that is shipped for a data set, and tell its file's SHA-256."""
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m scoring.judge", description=__doc__, formatter_class=about
    )
    parser.add_argument("--dataset", choices=["mnist"], default="mnist")
    parser.add_argument("--data-dir", default="data", help="folder of the data [%(default)s]")
    parser.add_argument("--epochs", type=int, default=2 * EPOCHS, help="[%(default)s]")
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    args = parser.parse_args()
    images, labels, names = load_dataset(args.dataset, args.data_dir, "train")
    test_images, test_labels, _ = load_dataset(args.dataset, args.data_dir, "test")
    judge = train_classifier(images, labels, len(names), "cpu", "judge", epochs=args.epochs)
    saved = {"judge": judge.state_dict(), "categories": names}
    saved |= {"channels": images.shape[1], "image_size": images.shape[2]}
    torch.save(saved, args.output)
    right = percent_right(judge, embed(judge, test_images), test_labels)
    digest = hashlib.sha256(args.output.read_bytes()).hexdigest()
    print(f"{args.output}: {right:.2f} % of {len(test_labels)} real test images right, {digest}")


if __name__ == "__main__":
    main()
