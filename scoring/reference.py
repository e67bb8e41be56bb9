"""The real side of a data set's scores: its images, its judge, and what real images would score."""

import contextlib
import functools
import sys
from pathlib import Path

import torch

from common import Judge, cache_folder, fingerprint, load_dataset
from scoring.cache import CannotWrite, cached, code_version, digest, in_one_step, try_writing
from scoring.drawing import pixels
from scoring.inception import inception
from scoring.judge import embed, percent_right, shipped_judge, train_classifier
from scoring.metrics import fid, mean_distance


class RealData:
    """A data set's images, as tensors.

    images, test_images: uint8 [N, C, H, W]; labels, test_labels: int64 [N]; names: of the
    categories.
    """

    def __init__(self, **data):
        """data: arguments of load_dataset, less split. Exits with one line if it cannot be had."""
        with contextlib.redirect_stdout(sys.stderr):  # standard output is the table's
            images, self.labels, self.names = load_dataset(split="train", **data)
            test_images, self.test_labels, _ = load_dataset(split="test", **data)
        self.images, self.test_images = torch.as_tensor(images), torch.as_tensor(test_images)
        self.fingerprint = fingerprint(images, self.labels, self.names)  # as a run keeps it


class Reference:
    """Real images and the judge, against which generated images are scored."""

    def __init__(
        self,
        real,
        judge,
        judge_name,
        cache,
        device="cpu",
        features="judge",
        fid_samples=10000,
        inception_weights=None,
    ):
        """real: RealData. judge: a Judge on the device, in eval mode; judge_name: its name in a
        table. cache: the file that keeps the scores of real images. features: "judge" or
        "inception", those of FID; inception_weights: the latter's file. fid_samples: most images a
        side of FID, over all categories.
        """
        self.images = real.images
        self.labels = real.labels
        self.names = real.names
        self.test_images = real.test_images
        self.test_labels = real.test_labels
        self.judge = judge
        self.judge_name = judge_name
        self.cache = cache
        self.device = device
        self.kind = features
        self.fid_samples = fid_samples
        self.inception_weights = inception_weights

    @functools.cached_property
    def data(self):
        """A digest of the real images and the judge."""
        weights = [weight.cpu() for weight in self.judge.state_dict().values()]
        real = (self.images, self.labels, self.test_images, self.test_labels)
        return digest(*real, *weights)

    @functools.cached_property
    def key(self):
        """What every score depends on, as a part of the name under which it is cached."""
        return digest(self.data, self.device)

    @functools.cached_property
    def fid_key(self):
        """What every FID depends on."""
        weights = ""
        if self.kind == "inception" and self.inception_weights:
            weights = Path(self.inception_weights)
        return digest(self.key, weights, self.kind, self.fid_samples)

    @functools.cached_property
    def inception(self):
        return inception(self.inception_weights, self.device)

    def features(self, images):
        """FID's features of images [N, C, H, W], uint8 or in [−1, 1]."""
        if self.kind == "judge":
            return embed(self.judge, images)
        return self.inception(images if images.dtype == torch.uint8 else pixels(images))

    def count(self, category, tasks, samples):
        """Images of a category on a side of FID, where `samples` are drawn and `tasks` are learned.

        At most the share of fid_samples, the real test images, and half the training images.
        """
        test = (self.test_labels == category).sum().item()
        train = (self.labels == category).sum().item()
        return min(samples, self.fid_samples // tasks, test, train // 2)

    @functools.cache
    def real(self, split, category):
        """FID's features of a category's real images, shuffled once.

        split: "test", "train", or "rest", training images that are not in "train".
        """
        images, labels = self.images, self.labels
        if split == "test":
            images, labels = self.test_images, self.test_labels
        index = (labels == category).nonzero().squeeze(1)
        random = torch.Generator().manual_seed(0)
        index = index[torch.randperm(len(index), generator=random)]
        limit = min(self.fid_samples, len(index) if split == "test" else len(index) // 2)
        index = index[limit : 2 * limit] if split == "rest" else index[:limit]
        return self.features(images[index])

    @functools.cache
    def real_distance(self, category, n):
        """mean_distance, in the judge's features, of n real test images of a category."""
        return mean_distance(embed(self.judge, self.test_images[self.test_labels == category][:n]))

    @functools.cached_property
    def accuracy(self):
        """judge_accuracy(), kept on disk."""
        version = code_version(Reference.judge_accuracy)
        return cached(self.cache, digest(self.key, "judge", version), self.judge_accuracy)

    def judge_accuracy(self):
        """Percent of the real test images that the judge gets right."""
        return percent_right(self.judge, embed(self.judge, self.test_images), self.test_labels)

    def reverse_accuracy(self, images, labels, seen):
        """Percent right of the real test images of the seen categories, by a classifier trained
        only on the given images: the judge's network and schedule.

        Also called fitting capacity, GAN-train, or classification accuracy score.
        """
        classifier = train_classifier(
            images, labels, len(self.names), self.device, "reverse accuracy"
        )
        asked = torch.isin(self.test_labels, torch.tensor(seen))
        features = embed(classifier, self.test_images[asked])
        return percent_right(classifier, features, self.test_labels[asked])

    def floor(self, seen, samples):
        """FID of real training images passed off as generated, none of them in "train", against
        each split: {"test", "train"}; None where a category has too few images.
        """
        n = {category: self.count(category, len(seen), samples) for category in seen}
        if min(n.values()) < 2:
            return {"test": None, "train": None}
        rest = torch.cat([self.real("rest", c)[: n[c]] for c in seen])
        floors = {}
        for split in ("test", "train"):
            floors[split] = fid(rest, torch.cat([self.real(split, c)[: n[c]] for c in seen]))
        return floors

    def ceiling(self, seen):
        """Reverse accuracy of the real training images."""
        asked = torch.isin(self.labels, torch.tensor(seen))
        images = self.images if asked.all() else self.images[asked]  # may be too many to copy
        return self.reverse_accuracy(images, self.labels[asked], seen)


def open_reference(data, real=None, judge="auto", device="cpu", **options):
    """A Reference to a data set; tells on standard error by what it judges.

    data: the arguments of load_dataset, less split; real: RealData, if it is loaded already. judge:
    "auto", the shipped one where there is one, or "trained". options: those of Reference. Exits
    with one line if the place of judge and scores cannot be written, before any long work.
    """
    real = real or RealData(**data)
    folder = cache_folder(**data)
    try:
        try_writing(folder)
    except CannotWrite as error:
        kept = "where the judge and scores of real images are kept"
        sys.exit(f"error: {error}, {kept}; choose another place with --cache-dir")
    found = shipped_judge(data["dataset"], real.names) if judge == "auto" else None
    if found is None:
        found = trained_judge(real, device, folder, data["dataset"])
    judge, judge_name = found
    judge = judge.to(device, memory_format=torch.channels_last)
    cache = folder / "eval_cache.json"
    reference = Reference(real, judge, judge_name, cache, device, **options)
    right = f"{reference.accuracy:.2f} % of {len(real.test_labels)} real test images right"
    print(f"judge: {right} ({judge_name})", file=sys.stderr)
    if reference.accuracy < 90:
        print("judge: warning: below 90 %, so the scores below mean little", file=sys.stderr)
    for category, name in enumerate(real.names):
        train = (real.labels == category).sum().item()
        test = (real.test_labels == category).sum().item()
        if test < 2 or train < 4:
            found = f"category {name} has {train} training and {test} test images"
            needed = "FID needs at least 4 and 2; its accuracy is given, FID is not"
            print(f"warning: {found}, {needed}", file=sys.stderr)
    return reference


def trained_judge(real, device, folder, dataset):
    """The judge trained on this data, kept in a file of the folder; and the file's name."""
    version = code_version(train_classifier)
    path = folder / f"judge-{dataset}-{digest(real.images, real.labels, version)[:8]}.pt"
    judge = Judge(len(real.names), *real.images.shape[1:3]).eval()
    try:
        judge.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return judge, path.name
    except FileNotFoundError:
        pass
    except Exception as error:
        sys.exit(
            f"error: {path} is damaged or not ours ({type(error).__name__}); "
            "delete it to train a new judge"
        )
    judge = train_classifier(real.images, real.labels, len(real.names), device, "judge")
    try:
        in_one_step(path, lambda file: torch.save(judge.state_dict(), file))
    except (OSError, RuntimeError) as error:  # PyTorch's own at a full disk
        reason = str(error).splitlines()[0]
        print(
            f"warning: {path} cannot be written ({reason}), so the judge is not kept for the "
            "next time; make room, or choose another --cache-dir",
            file=sys.stderr,
        )
    return judge, path.name
