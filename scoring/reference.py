"""The real side of a data set's scores: its images, its judge, and what real images would score."""

import contextlib
import functools
import json
import sys
from pathlib import Path

import torch

from common import Judge, cache_folder, fingerprint, load_dataset, pixels
from scoring.cache import cached, code_version, digest, try_writing
from scoring.inception import inception
from scoring.judge import embed, percent_right, shipped_judge, shipped_scores, train_classifier
from scoring.metrics import fid, mean_distance
from scoring.runs import compare_data
from support.files import CannotWrite, write


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
        self.known = {}  # scores of the real images, by what they are

    @functools.cached_property
    def data(self):
        """A digest of the real images and the judge."""
        weights = [weight.cpu() for weight in self.judge.state_dict().values()]
        real = (self.images, self.labels, self.test_images, self.test_labels)
        return digest(*real, *weights)

    @functools.cached_property
    def key(self):
        """What every score depends on, as a part of the name under which it is cached."""
        return digest(self.data, self.device, code_version())

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

    def count(self, category, categories, samples):
        """Images of a category on a side of FID, of so many drawn and so many categories learned.

        At most the share of fid_samples, the real test images, and half the training images.
        """
        test = (self.test_labels == category).sum().item()
        train = (self.labels == category).sum().item()
        return min(samples, self.fid_samples // categories, test, train // 2)

    def chosen(self, split, category, n):
        """n real images of a category, in an order shuffled once: uint8 [n, C, H, W].

        split: "test"; "train", the first half of the training images; or "rest", the other half.
        """
        images, labels = self.images, self.labels
        if split == "test":
            images, labels = self.test_images, self.test_labels
        index = (labels == category).nonzero().squeeze(1)
        random = torch.Generator().manual_seed(0)
        index = index[torch.randperm(len(index), generator=random)]
        if split == "rest":
            index = index[len(index) // 2 :]
        return images[index[:n]]

    @functools.cache
    def real(self, split, category, n):
        """FID's features of the chosen images."""
        return self.features(self.chosen(split, category, n))

    @functools.cache
    def real_distance(self, category, n):
        """mean_distance, in the judge's features, of n real test images of a category."""
        if self.kind == "judge":
            return mean_distance(self.real("test", category, n))
        return mean_distance(embed(self.judge, self.chosen("test", category, n)))

    def of_real(self, what, key, compute):
        """The value of compute(), a score of real images, computed once: shipped or kept on disk.

        what: the score in words; key: all else that it depends on.
        """
        if what not in self.known:
            self.known[what] = cached(self.cache, digest(key, what), compute)
        return self.known[what]

    @property
    def accuracy(self):
        """Percent of the real test images that the judge gets right."""

        def compute():
            return percent_right(self.judge, embed(self.judge, self.test_images), self.test_labels)

        return self.of_real("accuracy of the judge", self.key, compute)

    def reverse_accuracy(self, images, labels, seen, whose="generated images"):
        """Percent right of the real test images of the seen categories, by a classifier trained
        only on the given images, the judge's network and schedule. whose: the images, in words.

        Also called fitting capacity, GAN-train, or classification accuracy score.
        """
        title = f"training on {whose}, for reverse accuracy"
        classifier = train_classifier(images, labels, len(self.names), self.device, title)
        asked = torch.isin(self.test_labels, torch.tensor(seen))
        features = embed(classifier, self.test_images[asked])
        return percent_right(classifier, features, self.test_labels[asked])

    def ceiling(self, seen):
        """Reverse accuracy of the real training images of the seen categories."""

        def compute():
            asked = torch.isin(self.labels, torch.tensor(seen))
            images = self.images if asked.all() else self.images[asked]  # may be too many to copy
            return self.reverse_accuracy(images, self.labels[asked], seen, "real images")

        return self.of_real(f"reverse accuracy of categories {seen}", self.key, compute)

    def floor(self, seen, samples):
        """FID of real training images passed off as generated, none of them in "train", against
        each split: {"test", "train"}; None where a category has too few images.
        """
        n = {category: self.count(category, len(seen), samples) for category in seen}
        if min(n.values()) < 2:
            return {"test": None, "train": None}

        def compute():
            rest = torch.cat([self.real("rest", c, n[c]) for c in seen])
            floors = {}
            for split in ("test", "train"):
                floors[split] = fid(rest, torch.cat([self.real(split, c, n[c]) for c in seen]))
            return floors

        images = ", ".join(f"{count} of {category}" for category, count in n.items())
        return self.of_real(f"FID of {self.kind} features, images: {images}", self.fid_key, compute)


class References:
    """The real side of every data set that the runs learned, each loaded and opened once."""

    def __init__(self, **options):
        """options: those of open_reference()."""
        self.options = options
        self.loaded = {}
        self.opened = {}

    def compare(self, run, data, other_data=False):
        """compare_data() of a run and its data, before a judge is trained.

        data: arguments of load_dataset, less split. SystemExit if they cannot be used.
        """
        source = json.dumps(data, sort_keys=True)
        if source not in self.loaded:
            make_room(data)
            self.loaded[source] = RealData(**data)
        return compare_data(run, self.loaded[source], allowed=other_data)

    def open(self, data):
        """The Reference of data that compare() has loaded."""
        source = json.dumps(data, sort_keys=True)
        if source not in self.opened:
            self.opened[source] = open_reference(data, self.loaded[source], **self.options)
        return self.opened[source]


def make_room(data):
    """The folder of judge and scores of real images; exits if it cannot be written."""
    folder = cache_folder(**data)
    try:
        try_writing(folder)
    except CannotWrite as error:
        kept = "where the judge and scores of real images are kept"
        sys.exit(f"error: {error}, {kept}; choose another place with --cache-dir")
    return folder


def open_reference(data, real=None, judge="auto", device="cpu", shipped=True, **options):
    """A Reference to a data set; tells on standard error by what it judges.

    data: the arguments of load_dataset, less split; real: RealData, if it is loaded already. judge:
    "auto", the shipped one where there is one, or "trained". shipped: whether to take scores of real
    images from those that are shipped. options: those of Reference. Exits with one line if the
    place of judge and scores cannot be written, before any long work.
    """
    real = real or RealData(**data)
    folder = make_room(data)
    found = shipped_judge(data["dataset"], real.names) if judge == "auto" else None
    if found is None:
        found = trained_judge(real, device, folder, data["dataset"])
    judge, judge_name = found
    judge = judge.to(device, memory_format=torch.channels_last)
    cache = folder / "eval_cache.json"
    reference = Reference(real, judge, judge_name, cache, device, **options)
    if shipped:
        reference.known = shipped_scores(reference.data)
    right = f"{reference.accuracy:.2f} % of {len(real.test_labels)} real test images right"
    print(f"judge: {right} ({judge_name})", file=sys.stderr)
    if reference.accuracy < 90:
        print("judge: warning: below 90 %, so the scores below mean little", file=sys.stderr)
    return reference


def trained_judge(real, device, folder, dataset):
    """The judge trained on this data, kept in a file of the folder; and the file's name."""
    version = code_version(["common.py", "support/layers.py", "scoring/judge.py"])
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
    judge = train_classifier(
        real.images, real.labels, len(real.names), device, "training the judge"
    )
    try:
        write(path, lambda file: torch.save(judge.state_dict(), file))
    except CannotWrite as error:
        print(
            f"warning: {error}, so the judge is not kept for the next time; make room, "
            "or choose another --cache-dir",
            file=sys.stderr,
        )
    return judge, path.name
