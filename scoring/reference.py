"""The real side of a data set's scores: its images, its judge, and what real images would score."""

import contextlib
import functools
import sys
from pathlib import Path

import torch

from common import cache_folder, fingerprint, load_dataset, pixels
from scoring.inception import inception
from scoring.judge import embed, percent_right, shipped_judge, train_classifier, trained_judge
from scoring.metrics import fid, mean_distance
from scoring.store import CODE, cached, check_writable, digest
from support.files import CannotWrite


class Reference:
    """Real images and the judge, against which generated images are scored.

    images, test_images: uint8 [N, C, H, W]. labels, test_labels: int64 [N]. names: of the
    categories. fingerprint: of the training images, as a run keeps it. judge: a Judge on the
    device, in eval mode, None before open_judge(); judge_name: what tables call it.
    """

    def __init__(
        self, data, device="cpu", features="judge", fid_samples=10000, inception_weights=None
    ):
        """data: arguments of load_dataset, less split. features: "judge" or "inception", those of
        FID; inception_weights: the latter's file. fid_samples: most images a side of FID, over all
        categories.

        Exits with one line if the images cannot be had, or nothing can be kept beside them.
        """
        self.dataset = data["dataset"]
        self.folder = cache_folder(**data)
        self.device = device
        self.kind = features
        self.fid_samples = fid_samples
        self.inception_weights = inception_weights
        self.judge = self.judge_name = None
        try:
            check_writable(self.folder)
        except CannotWrite as error:
            kept = "where the judge and scores of real images are kept"
            sys.exit(f"error: {error}, {kept}; choose another place with --cache-dir")
        with contextlib.redirect_stdout(sys.stderr):  # standard output is the table's
            images, self.labels, self.names = load_dataset(split="train", **data)
            test_images, self.test_labels, _ = load_dataset(split="test", **data)
        self.images, self.test_images = torch.as_tensor(images), torch.as_tensor(test_images)
        self.fingerprint = fingerprint(images, self.labels, self.names)

    def open_judge(self):
        """Find or train the judge, if there is none yet, and tell on standard error how good it is.

        Exits with one line if its file is damaged.
        """
        if self.judge_name is not None:
            return
        found = shipped_judge(self.dataset, self.names)
        if found is None:
            learned = self.images, self.labels, len(self.names)
            found = trained_judge(self.dataset, *learned, self.folder, self.device)
        judge, self.judge_name = found
        self.judge = judge.to(self.device, memory_format=torch.channels_last)
        right = f"{self.accuracy:.2f} % of {len(self.test_labels)} real test images right"
        print(f"judge: {right} ({self.judge_name})", file=sys.stderr)
        if self.accuracy < 90:
            print("judge: warning: below 90 %, so the scores below mean little", file=sys.stderr)

    @functools.cached_property
    def real_digest(self):
        """A digest of the real images and the judge."""
        weights = [weight.cpu() for weight in self.judge.state_dict().values()]
        real = (self.images, self.labels, self.test_images, self.test_labels)
        return digest(*real, *weights)

    @functools.cached_property
    def key(self):
        """What every score depends on, as a part of the name under which it is kept."""
        return digest(self.real_digest, self.device, CODE)

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
        """The value of compute(), a score of real images, kept on disk.

        what: the score in words; key: all else that it depends on.
        """
        return cached(self.folder / "eval_cache.json", digest(key, what), compute)

    @property
    def accuracy(self):
        """Percent of the real test images that the judge gets right."""

        def compute():
            return percent_right(self.judge, embed(self.judge, self.test_images), self.test_labels)

        return self.of_real("accuracy of the judge", self.key, compute)

    def reverse_accuracy(self, images, labels, seen, whose="generated images", seed=0):
        """Percent right of the real test images of the seen categories, by a classifier trained
        only on the given images, trained like a judge. whose: the images, in words; seed: of the
        classifier.

        Also called fitting capacity, GAN-train, or classification accuracy score.
        """
        title = f"training on {whose}, for reverse accuracy"
        categories = len(self.names)
        classifier = train_classifier(images, labels, categories, self.device, title, seed=seed)
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
        each split: {"test", "train"}.
        """
        n = {category: self.count(category, len(seen), samples) for category in seen}

        def compute():
            rest = torch.cat([self.real("rest", c, n[c]) for c in seen])
            floors = {}
            for split in ("test", "train"):
                floors[split] = fid(rest, torch.cat([self.real(split, c, n[c]) for c in seen]))
            return floors

        images = ", ".join(f"{count} of {category}" for category, count in n.items())
        return self.of_real(f"FID of {self.kind} features, images: {images}", self.fid_key, compute)
