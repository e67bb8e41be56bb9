"""What saved generators score against real images, and the scores of a whole run."""

import contextlib
import functools
import statistics

import torch

from scoring import metrics
from scoring.drawing import SavedGenerator, whole_groups
from scoring.judge import embed, percent_right
from scoring.runs import IGNORED
from scoring.store import cached, digest
from support.files import CannotWrite, reason
from support.progress import progress

SPLITS = ("test", "train")


def score_snapshot(path, reference, num_categories, samples, standing=False):
    """Accuracy, FID and diversity of one saved generator, by category and over all of them.

    Each image is drawn once for all three. samples: images drawn of each category; num_categories:
    how many the whole run learns, which share FID's images. standing: draw with standing
    statistics.
    Returns lists with an entry for each category of the data, None where it was not seen, or where
    a solver finds too few images for FID.
    """
    generator = SavedGenerator.load(path, reference.device, standing)
    names = ("accuracy", "diversity", "fid_test", "fid_train")
    scores = {name: [None] * len(generator.categories) for name in names}
    counts, drawn, real = [], [], {split: [] for split in SPLITS}
    for category in generator.seen:
        images = generator.draw(category, samples)
        judged = embed(reference.judge, images)
        right = percent_right(reference.judge, judged, category) if len(images) else 0.0
        scores["accuracy"][category] = right

        # As many generated as real images, on both sides of diversity and of FID
        n = reference.count(category, num_categories, samples)
        counts.append(n)
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

    # Over all categories
    for split in SPLITS:
        scores[f"fid_{split}_all"] = None
        if sum(map(len, drawn)) > 1:
            over_all = metrics.fid(torch.cat(drawn), torch.cat(real[split]))
            scores[f"fid_{split}_all"] = over_all
    seen = [value for value in scores["accuracy"] if value is not None]
    scores["average_accuracy"] = statistics.fmean(seen)
    return scores | {"fid_samples": counts, "seen": generator.seen}


def draw_as_training_set(path, reference, standing=False):
    """As many images by one saved generator as the real training set has, as many of each category
    that it has seen: uint8 [N, C, H, W], int64 [N], and these categories.
    """
    generator = SavedGenerator.load(path, reference.device, standing)
    seen = generator.seen
    real = torch.isin(reference.labels, torch.tensor(seen)).sum().item()
    each = real // len(seen)
    images = []
    for category in progress(seen, f"drawing {path.parent.name}, for reverse accuracy"):
        drawn = generator.draw(category, whole_groups(each), seed=1, as_pixels=True)
        images.append(drawn[:each])
    labels = torch.tensor(seen).repeat_interleave(torch.tensor(list(map(len, images))))
    return torch.cat(images), labels, seen


def score_reverse(path, reference, standing=False):
    """Reverse accuracy of one saved generator, percent."""
    images, labels, seen = draw_as_training_set(path, reference, standing)
    if len(images) == 0:  # by a solver that names none of them
        return 0.0
    whose = f"images of {path.parent.name}"
    return reference.reverse_accuracy(images, labels, seen, whose)


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


@contextlib.contextmanager
def noted(problems, place, errors=Exception):
    """Go on after an error: add it to problems, in one line, with the place where it was met."""
    try:
        yield
    except errors as error:
        text = reason(error)
        # Our own errors say what is wrong; of others the kind does
        if not isinstance(error, (SystemExit, CannotWrite, ValueError)):
            text = f"{type(error).__name__}: {text}"
        if isinstance(error, CannotWrite):
            text += "; change that, and run the same command again"
        problems.append(f"{place} ({text})")


def score_snapshots(run, paths, reference, samples, standing, problems):
    """score_snapshot() of saved generators of a run, kept in its eval_cache.json.

    Returns a list: None for those that are not there, and for those that cannot be scored, of which
    problems says why.
    """
    options = (run.categories(len(reference.names)), samples, standing)
    key = digest(reference.fid_key, "snapshot", *options)
    rows = []
    for path in progress(paths, f"scoring {run.path.name}, {samples} images a category"):
        row = None
        if path.exists():
            with noted(problems, path):
                compute = functools.partial(score_snapshot, path, reference, *options)
                row = cached(run.cache, digest(key, path), compute)
        rows.append(row)
    return rows


def score_run(
    run, reference, samples, inside=0, standing=False, reverse_accuracy=True, other_data=None
):
    """All scores of one run, as eval.json holds them, and a list of what could not be scored.

    run: a SavedRun; reference: with its judge; samples: images drawn of each category; inside: the
    same, of snapshots inside tasks, 0 for none; standing: draw with standing statistics;
    reverse_accuracy: whether to measure it, and that of real images; other_data: in what the data
    differ from those learned.
    """
    categories = run.categories(len(reference.names))
    if reference.fid_samples < 2 * categories:
        found = f"--fid-samples is {reference.fid_samples}"
        raise ValueError(f"{found}, expected at least 2 for each of the {categories} categories")
    log = run.log()
    problems = []

    # After each task; joint.py saves one generator only
    ends = run.ends()
    rows = score_snapshots(run, ends, reference, samples, standing, problems)

    # Only after the last task, and what real images would score
    last = rows[-1]
    floor = reverse = ceiling = None
    if last is not None:
        floor = reference.floor(last["seen"], samples)
    if last is not None and reverse_accuracy:
        with noted(problems, ends[-1]):
            key = digest(reference.key, "reverse accuracy", standing, ends[-1])
            compute = functools.partial(score_reverse, ends[-1], reference, standing)
            reverse = cached(run.cache, key, compute)
        ceiling = reference.ceiling(last["seen"])

    # Inside tasks, and at their ends once more with as few images
    intermediate = []
    if inside:
        moments = run.moments()
        scores = score_snapshots(run, moments.values(), reference, inside, standing, problems)
        for (task, step), row in zip(moments, scores):
            if row is not None:
                names = ("accuracy", "fid_test", "fid_train", "fid_samples")
                line = {"task": task, "step": step} | {name: row[name] for name in names}
                intermediate.append(line)

    accuracy = column(rows, "accuracy")
    tasks = metrics.by_task(accuracy, run.categories_per_task)
    options = {"hardware", "code"} | run.arguments.keys() - IGNORED
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
        "intermediate": intermediate,
        "judge": reference.judge_name,
        "judge_accuracy": reference.accuracy,
        "data": reference.real_digest[:8],
        "other_data": other_data,
        "samples": samples,
        "statistics": "standing" if standing else "batch",
        "minutes": log[-1]["elapsed"] / 60 if log else None,
        "arguments": {name: value for name, value in run.arguments.items() if name in options},
    }
    return results, problems
