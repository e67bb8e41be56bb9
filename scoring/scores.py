"""What saved generators score against real images, and how that is kept."""

import functools
import statistics

import torch

from progress import progress, tell
from scoring.cache import cached, code_version, digest
from scoring.drawing import SavedGenerator, whole_groups
from scoring.judge import embed, percent_right
from scoring.metrics import fid, mean_distance
from scoring.reference import Reference


def score_snapshot(path, reference, tasks, samples, standing=False):
    """Accuracy, FID and diversity of one saved generator, by category and over all of them.

    samples: images drawn of each category; tasks: categories that the whole run learns, which share
    FID's images. standing: draw with standing statistics. Returns lists with an entry for each
    category of the data, None where it was not seen, or where too few images are there for FID.
    """
    generator = SavedGenerator.load(path, reference.device, standing)
    columns = [None] * len(generator.categories)
    names = ("accuracy", "diversity", "fid_test", "fid_train")
    scores = {name: columns.copy() for name in names}
    drawn, real, counts = [], {"test": [], "train": []}, []
    for category in generator.seen:
        images = generator.draw(category, samples)
        judged = embed(reference.judge, images)
        right = percent_right(reference.judge, judged, category) if len(images) else 0.0
        scores["accuracy"][category] = right

        # As many generated as real images, on both sides of FID and of diversity
        n = reference.count(category, tasks, samples)
        counts.append(n)
        if n < 2:
            continue
        spread = mean_distance(judged[:n]) if len(images) > 1 else 0.0
        real_spread = reference.real_distance(category, n)
        if real_spread > 0:  # else all real images are the same
            scores["diversity"][category] = spread / real_spread
        features = judged[:n]
        if reference.kind == "inception":
            features = reference.features(images[:n])
        drawn.append(features)
        for split in real:
            real[split].append(reference.real(split, category)[:n])
            if len(images) > 1:
                scores[f"fid_{split}"][category] = fid(features, real[split][-1])

    # Over all categories, where none of them is missing
    enough = min(counts) >= 2 and sum(map(len, drawn)) > 1
    for split in real:
        over_all = fid(torch.cat(drawn), torch.cat(real[split])) if enough else None
        scores[f"fid_{split}_all"] = over_all
    seen = [value for value in scores["accuracy"] if value is not None]
    scores["average_accuracy"] = statistics.fmean(seen)
    return scores | {"fid_samples": counts, "seen": generator.seen}


def score_reverse(path, reference, standing=False):
    """Reverse accuracy of one saved generator, percent, from as many images as the real training
    set has, the same number of each category.
    """
    generator = SavedGenerator.load(path, reference.device, standing)
    seen = generator.seen
    real = torch.isin(reference.labels, torch.tensor(seen)).sum().item()
    each = real // len(seen)
    images = []
    for category in seen:
        drawn = generator.draw(category, whole_groups(each), seed=1, as_pixels=True)
        images.append(drawn[:each])
    counts = torch.tensor(list(map(len, images)))
    if counts.sum() == 0:  # by a solver that names none of them
        return 0.0
    labels = torch.tensor(seen).repeat_interleave(counts)
    return reference.reverse_accuracy(torch.cat(images), labels, seen)


def column(rows, name):
    """A score of every row, None where the row is missing. rows: score_snapshot() by task."""
    return [None if row is None else row[name] for row in rows]


def fids(rows, floor, kind):
    """The entry "fid" of an eval.json. rows: score_snapshot() after each task, or None.

    floor: what real images would get; kind: of features.
    """
    entry = {}
    for split in ("test", "train"):
        over_all = column(rows, f"fid_{split}_all")
        matrix = column(rows, f"fid_{split}")
        entry[split] = {
            "all": over_all[-1],
            "per_category": matrix[-1],
            "all_by_task": over_all,
            "matrix": matrix,
        }
    counts = column(rows, "fid_samples")[-1]
    entry["floor"] = floor
    entry["features"] = kind
    entry["samples"] = sum(counts) if counts else None
    entry["samples_per_category"] = counts
    return entry


@functools.cache
def version_of(function):
    """The version of the code that computes a score."""
    return code_version(function, methods_of=[Reference])


class CachedScores:
    """The scores of a run's saved generators, and of real images beside them; each computed once.

    What cannot be scored is None, and told in `problems`.
    """

    def __init__(self, run, reference, standing=False):
        self.run, self.reference, self.standing = run, reference, standing
        self.problems = []

    def attempt(self, path, what, key, compute):
        """The value of compute(), a score of the generator in the file at path."""

        def compute_aloud():
            tell(f"scoring {path}: {what}")
            return compute()

        try:
            name = digest(key, path, self.standing, what)
            return cached(self.run.path / "eval_cache.json", name, compute_aloud)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else ""
            self.problems.append(f"{path} ({type(error).__name__}: {reason})")
            return None

    def snapshot(self, path, samples):
        """score_snapshot() of a file."""

        def compute():
            tasks = self.run.tasks
            return score_snapshot(path, self.reference, tasks, samples, self.standing)

        key = digest(self.reference.fid_key, self.run.tasks, version_of(score_snapshot))
        return self.attempt(path, f"{samples} images a category", key, compute)

    def inside(self, log, samples):
        """Lines of scores of the generators saved inside tasks, and of those at the tasks' ends
        once more with as few samples; none if samples is 0. log: the run's.
        """
        if not samples:
            return []
        steps = {line["task"]: line["step"] for line in log}  # the last of each task
        paths = self.run.inside()
        for task in range(1, self.run.tasks + 1):
            if self.run.task(task).exists():
                paths[task, steps.get(task, self.run.iters)] = self.run.task(task)
        lines = []
        title = f"scoring {self.run.path.name}, inside tasks"
        for (task, step), path in progress(sorted(paths.items()), title):
            scores = self.snapshot(path, samples)
            if scores is not None:
                names = ("accuracy", "fid_test", "fid_train", "fid_samples")
                chosen = {name: scores[name] for name in names}
                lines.append({"task": task, "step": step, **chosen})
        return lines

    def reverse(self, path):
        """score_reverse() of a file."""

        def compute():
            return score_reverse(path, self.reference, self.standing)

        key = digest(self.reference.key, version_of(score_reverse))
        return self.attempt(path, "reverse accuracy", key, compute)

    def floor(self, seen, samples):
        """FID of real images of the seen categories: Reference.floor()."""

        def compute():
            return self.reference.floor(seen, samples)

        version = version_of(Reference.floor)
        key = digest(self.reference.fid_key, "floor", seen, samples, version)
        return cached(self.reference.cache, key, compute)

    def ceiling(self, seen):
        """Reverse accuracy of real images of the seen categories: Reference.ceiling()."""

        def compute():
            return self.reference.ceiling(seen)

        version = version_of(Reference.ceiling)
        key = digest(self.reference.key, "ceiling", seen, version)
        return cached(self.reference.cache, key, compute)
