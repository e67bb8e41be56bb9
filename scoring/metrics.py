"""The measures: pure functions of features and of matrices of accuracies."""

import statistics

import torch
import torch.nn.functional as F

from scoring.threads import one_thread_each


def fid(a, b):
    """Fréchet distance ‖μ₁ − μ₂‖² + Tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) of two sets of features (Heusel 2017).

    a: [N, D]; b: [M, D]. Covariances with N − 1. With centred features X/√(N−1) = QR, Σ = RᵀR, and
    Tr((Σ₁Σ₂)^½) is the sum of the singular values of R₁R₂ᵀ: no square root of a matrix, so nothing
    turns imaginary where covariances are singular.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"FID needs at least 2 images a side, got {len(a)} and {len(b)}")
    # On the CPU, where the singular values come faster than from a GPU
    with one_thread_each():
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
    with one_thread_each():
        return F.pdist(features.float()).mean().item()


def forgetting(matrix):
    """Forgetting (Chaudhry 2018): how far accuracy fell from its best after an earlier task.

    The mean over all but the newest category.

    matrix: rows after each task, columns categories, None where not seen. Percentage points; None
    if a row is missing.
    """
    past = past_categories(matrix)
    if past is None:
        return None
    losses = []
    for category in past:
        earlier = [row[category] for row in matrix[:-1] if row[category] is not None]
        losses.append(max(earlier) - matrix[-1][category])
    return statistics.fmean(losses)


def backward_transfer(matrix):
    """Mean over all but the newest category of the final accuracy minus that when just learned
    (Lopez-Paz & Ranzato 2017).

    matrix as in forgetting(). Percentage points, negative where the category got worse; None if a
    row is missing.
    """
    past = past_categories(matrix)
    if past is None:
        return None
    gains = []
    for category in past:
        learned = next(row[category] for row in matrix if row[category] is not None)
        gains.append(matrix[-1][category] - learned)
    return statistics.fmean(gains)


def past_categories(matrix):
    """Categories seen before the last task; None where there is one task, or a row is missing."""
    if len(matrix) < 2 or None in matrix:
        return None
    return [category for category, value in enumerate(matrix[-2]) if value is not None]
