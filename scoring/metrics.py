"""The measures: pure functions of features, and of matrices of scores."""

import statistics

import torch
import torch.nn.functional as F


def fid(a, b):
    """Fréchet distance ‖μ₁ − μ₂‖² + Tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) of two sets of features (Heusel 2017).

    a: [N, D]; b: [M, D]. Covariances with N − 1. With centred features X/√(N−1) = QR, Σ = RᵀR, and
    Tr((Σ₁Σ₂)^½) is the sum of the singular values of R₁R₂ᵀ: no square root of a matrix, so nothing
    turns imaginary where covariances are singular.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"FID needs at least 2 images a side, got {len(a)} and {len(b)}")
    # On the CPU, where the singular values come faster than from a GPU
    mean_a, r_a = mean_and_root(a.double().cpu())
    mean_b, r_b = mean_and_root(b.double().cpu())
    cross = torch.linalg.svdvals(r_a @ r_b.T).sum()
    trace = r_a.square().sum() + r_b.square().sum() - 2 * cross
    return max(0.0, ((mean_a - mean_b).square().sum() + trace).item())


def mean_and_root(x):
    """The mean [D] of features [N, D], and R with RᵀR their covariance."""
    mean = x.mean(0)
    return mean, torch.linalg.qr((x - mean) / (len(x) - 1) ** 0.5, mode="r").R


def mean_distance(features):
    """Mean Euclidean distance over all pairs of features [N, D]."""
    return F.pdist(features.float()).mean().item()


# Matrices have a row after each task: None where there is no generator, else an entry for each
# category, or each task, None where it was not learned yet


def by_task(matrix, categories_per_task):
    """From a matrix by category to one by task, whose entries are means over a task's categories.

    The last task may have fewer categories. A task of which a value is missing is None.
    """
    tasks = []
    for row in matrix:
        parts = []
        for first in range(0, len(row or []), categories_per_task):
            values = row[first : first + categories_per_task]
            parts.append(None if None in values else statistics.fmean(values))
        tasks.append(parts[: len(matrix)] or None)
    return tasks


def whole(matrix):
    """Whether a matrix by task has, in every row, all tasks learned by then."""
    rows = enumerate(matrix, start=1)
    return all(row is not None and None not in row[:learned] for learned, row in rows)


def forgetting(matrix):
    """Forgetting (Chaudhry 2018): how far accuracy fell from its best after an earlier task.

    The mean over all but the newest task. matrix: by task. Percentage points; None where there is
    one task, or a value is missing.
    """
    if len(matrix) < 2 or not whole(matrix):
        return None
    losses = []
    for task in range(len(matrix) - 1):
        best = max(row[task] for row in matrix[task:-1])
        losses.append(best - matrix[-1][task])
    return statistics.fmean(losses)


def backward_transfer(matrix):
    """Backward transfer (Lopez-Paz & Ranzato 2017): the final value minus that when just learned.

    The mean over all but the newest task: a sum of T − 1 differences, divided by T − 1. matrix: by
    task, of accuracies: negative where tasks were forgotten; or of FIDs, of which it is CLoG's
    forgetting rate: positive where they were. None as for forgetting().
    """
    if len(matrix) < 2 or not whole(matrix):
        return None
    return statistics.fmean(
        matrix[-1][task] - matrix[task][task] for task in range(len(matrix) - 1)
    )


def learned(matrix):
    """Learning accuracy (Riemer 2019): the mean over tasks of the accuracy when just learned.

    matrix: by task. None where a value is missing.
    """
    if not whole(matrix):
        return None
    return statistics.fmean(matrix[task][task] for task in range(len(matrix)))


def qualities(matrix):
    """CLoG's scores (Zhang et al. 2024, arXiv 2406.04584) of a matrix of FIDs, by task.

    With Q(t, i) of task i after task t, of T tasks: {"afq": mean of Q(T, i) over i, "aiq": mean of
    all Q(t, i) with i ≤ t, "fr": mean of Q(T, i) − Q(i, i) over i < T}; lower is better. None where
    a value is missing.
    """
    last = (matrix[-1] or [None])[: len(matrix)]
    entries = [value for task, row in enumerate(matrix) for value in (row or [])[: task + 1]]
    return {
        "afq": None if None in last else statistics.fmean(last),
        "aiq": statistics.fmean(entries) if whole(matrix) else None,
        "fr": backward_transfer(matrix),
    }
