"""What saved generators score against real images, and the scores of a whole run."""

import statistics

import torch

from scoring import metrics
from scoring.cache import cached, digest
from scoring.drawing import SavedGenerator, whole_groups
from scoring.judge import embed, percent_right
from scoring.runs import IGNORED
from support.progress import progress

SPLITS = ("test", "train")


def score_snapshot(path, reference, categories, samples, standing=False):
    """Accuracy, FID and diversity of one saved generator, by category and over all of them.

    Each image is drawn once for all three. samples: images drawn of each category; categories: how
    many the whole run learns, which share FID's images. standing: draw with standing statistics.
    Returns lists with an entry for each category of the data, None where it was not seen, or where
    too few images are there for FID.
    """
    generator = SavedGenerator.load(path, reference.device, standing)
    columns = [None] * len(generator.categories)
    names = ("accuracy", "diversity", "fid_test", "fid_train")
    scores = {name: columns.copy() for name in names}
    drawn, real, counts = [], {split: [] for split in SPLITS}, []
    for category in generator.seen:
        images = generator.draw(category, samples)
        judged = embed(reference.judge, images)
        right = percent_right(reference.judge, judged, category) if len(images) else 0.0
        scores["accuracy"][category] = right

        # As many generated as real images, on both sides of FID and of diversity
        n = reference.count(category, categories, samples)
        counts.append(n)
        if n < 2:
            continue
        spread = metrics.mean_distance(judged[:n]) if len(images) > 1 else 0.0
        real_spread = reference.real_distance(category, n)
        if real_spread > 0:  # else all real images are the same
            scores["diversity"][category] = spread / real_spread
        features = judged[:n]
        if reference.kind == "inception":
            features = reference.features(images[:n])
        drawn.append(features)
        for split in SPLITS:
            real[split].append(reference.real(split, category, n))
            if len(images) > 1:
                scores[f"fid_{split}"][category] = metrics.fid(features, real[split][-1])

    # Over all categories, where none of them is missing
    enough = min(counts) >= 2 and sum(map(len, drawn)) > 1
    for split in SPLITS:
        over_all = metrics.fid(torch.cat(drawn), torch.cat(real[split])) if enough else None
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
    for category in progress(seen, f"drawing {path.parent.name}, for reverse accuracy"):
        drawn = generator.draw(category, whole_groups(each), seed=1, as_pixels=True)
        images.append(drawn[:each])
    counts = torch.tensor(list(map(len, images)))
    if counts.sum() == 0:  # by a solver that names none of them
        return 0.0
    labels = torch.tensor(seen).repeat_interleave(counts)
    whose = f"images of {path.parent.name}"
    return reference.reverse_accuracy(torch.cat(images), labels, seen, whose)


def column(rows, name):
    """A score of every row, None where the row is missing. rows: score_snapshot() by task."""
    return [None if row is None else row[name] for row in rows]


def fids(rows, floor, kind, categories_per_task):
    """The entry "fid" of an eval.json. rows: score_snapshot() after each task, or None.

    floor: what real images would get; kind: of features.
    """
    entry = {}
    for split in SPLITS:
        over_all = column(rows, f"fid_{split}_all")
        matrix = column(rows, f"fid_{split}")
        entry[split] = {
            "all": over_all[-1],
            "per_category": matrix[-1],
            "all_by_task": over_all,
            "matrix": matrix,
            **metrics.qualities(metrics.by_task(matrix, categories_per_task)),
        }
    counts = column(rows, "fid_samples")[-1]
    entry["floor"] = floor
    entry["features"] = kind
    entry["samples"] = sum(counts) if counts else None
    entry["samples_per_category"] = counts
    return entry


class Scorer:
    """Scores a run's saved generators, each once: they are kept in the run's eval_cache.json.

    What cannot be scored is None, and told in `problems`.
    """

    def __init__(self, run, reference, standing=False):
        self.run, self.reference, self.standing = run, reference, standing
        self.categories = run.categories(len(reference.names))
        self.problems = []

    def attempt(self, key, compute, path, *arguments):
        """The value of compute(path, reference, *arguments, standing); key: what it depends on."""
        arguments += (self.standing,)
        cache = self.run.path / "eval_cache.json"
        try:
            name = digest(key, path, compute.__name__, arguments)
            return cached(cache, name, lambda: compute(path, self.reference, *arguments))
        except Exception as error:
            reason = str(error).partition("\n")[0]
            self.problems.append(f"{path} ({type(error).__name__}: {reason})")
            return None

    def snapshot(self, path, samples):
        """score_snapshot() of a file."""
        key = self.reference.fid_key
        return self.attempt(key, score_snapshot, path, self.categories, samples)

    def ends(self, samples):
        """The scores after each task, None where there is no file; joint.py saves one generator."""
        paths = [self.run.task(task) for task in range(1, self.run.tasks + 1)]
        rows = []
        for path in progress(paths, f"scoring {self.run.path.name}, ends of tasks"):
            rows.append(self.snapshot(path, samples) if path.exists() else None)
        return rows

    def inside(self, samples):
        """Lines of scores of the generators saved inside tasks, and of those at the tasks' ends
        once more with as few samples; none if samples is 0.
        """
        if not samples:
            return []
        steps = {line["task"]: line["step"] for line in self.run.log()}  # the last of each task
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


def score_run(
    run, reference, samples, inside=0, standing=False, reverse_accuracy=True, other_data=None
):
    """All scores of one run, as eval.json holds them, and a list of what could not be scored.

    run: a Run; samples: images drawn of each category; inside: the same, of snapshots inside tasks;
    standing: draw with standing statistics; reverse_accuracy: whether to measure it, and that of
    real images; other_data: in what the data differ from those learned.
    """
    scorer = Scorer(run, reference, standing)
    if reference.fid_samples < 2 * scorer.categories:
        found = f"--fid-samples is {reference.fid_samples}"
        expected = f"expected at least 2 for each of the {scorer.categories} categories"
        raise ValueError(f"{found}, {expected}")
    log = run.log()
    rows = scorer.ends(samples)

    # Only after the last task, and what real images would score
    last = rows[-1]
    floor = reverse = ceiling = None
    if last is not None:
        floor = reference.floor(last["seen"], samples)
        if reverse_accuracy:
            reverse = scorer.attempt(reference.key, score_reverse, run.task(run.tasks))
            ceiling = reference.ceiling(last["seen"])

    accuracy = column(rows, "accuracy")
    tasks = metrics.by_task(accuracy, run.categories_per_task)
    kept = {"hardware"} | run.arguments.keys() - set(IGNORED)
    results = {
        "categories": reference.names,
        "average_accuracy": column(rows, "average_accuracy"),
        "accuracy": accuracy,
        "learned": metrics.learned(tasks),
        "forgetting": metrics.forgetting(tasks),
        "backward_transfer": metrics.backward_transfer(tasks),
        "fid": fids(rows, floor, reference.kind, run.categories_per_task),
        "reverse_accuracy": reverse,
        "reverse_accuracy_ceiling": ceiling,
        "diversity": column(rows, "diversity")[-1],
        "intermediate": scorer.inside(inside),
        "judge": reference.judge_name,
        "judge_accuracy": reference.accuracy,
        "data": reference.data[:8],
        "other_data": other_data,
        "samples": samples,
        "statistics": "standing" if standing else "batch",
        "minutes": log[-1]["elapsed"] / 60 if log else None,
        "arguments": {name: value for name, value in run.arguments.items() if name in kept},
    }
    return results, scorer.problems
