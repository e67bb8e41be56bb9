"""How much of the Fisher information a diagonal holds, before and after R-EWC's rotation.

    python benchmark/fisher.py RUN_OF_EWC RUN_OF_REWC    # results/fisher.json, results/fisher.md

The first table, by layer, is about the generator after the first task of the first run: the share
of the squared Frobenius norm of the Fisher information matrix (pixel likelihood, weights only) that
lies on its diagonal, in plain and in rotated coordinates.

The second table, by run, is about the first category while the second one is learned: the mean
squared change of its images, as the diagonal predicts it, Σ_i F_i (θ_i − θ*_i)², and as it is. A
penalty can hold only what its F sees.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch.func import functional_call, grad, vmap
from torch.nn.utils import parametrize

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import rewc
from scoring.drawing import SavedGenerator

COVARIANCE_SAMPLES = 8192  # rewc.py's default


def read_arguments(run, method):
    """The arguments of a run. Exits with one line if it is not of this method and two tasks."""
    expected = f"expected a run of {method}.py with at least two finished tasks"
    try:
        arguments = json.loads((run / "args.json").read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"error: {run} is no run ({error}); {expected}")
    if arguments.get("method") != method:
        sys.exit(f"error: {run} is a run of {arguments.get('method')}; {expected}")
    if not (run / "task_2.pt").exists():
        sys.exit(f"error: {run} has no task_2.pt; {expected}")
    return arguments


def load_generator(run, task):
    """The generator of a run after a task, in evaluation mode."""
    return SavedGenerator.load(run / f"task_{task}.pt", standing=True).generator


def draw(generator, n, seed):
    """z [n, latent_dim], and v [n, C, H, W] for rewc.log_likelihood."""
    config = generator.config
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(n, config["latent_dim"], generator=random)
    shape = (config["channels"], config["image_size"], config["image_size"])
    return z, torch.randn(n, *shape, generator=random)


def gradients_of_samples(generator, y, z, v, chunk=32):
    """Gradients of the log-likelihood for every weight, by name: [N, *shape]."""
    weights = {name: weight.detach() for name, weight in generator.named_parameters()}

    def likelihood(weights, z, v):
        image = functional_call(generator, weights, (z[None], y))
        return rewc.log_likelihood(None, image, v, "pixels")

    of_samples = vmap(grad(likelihood), in_dims=(None, 0, 0))
    parts = []
    for some_z, some_v in zip(z.split(chunk), v.split(chunk)):
        parts.append(of_samples(weights, some_z, some_v))
    return {name: torch.cat([part[name] for part in parts]) for name in weights}


def find_rotations(generator, y):
    """R-EWC's Rotation by name of weight, as measured on a generator, which it changes."""
    rewc.add_rotations(generator)
    z, v = draw(generator, COVARIANCE_SAMPLES, seed=2)
    rewc.measure_covariances(generator, None, y, z, v, "pixels")
    fisher = [torch.zeros_like(weight) for weight in generator.parameters()]
    rewc.rotate_anew(generator, fisher)
    rotations = {}
    for name, layer in generator.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            rotations[f"{name}.weight"] = layer.parametrizations.weight[0]
    return rotations


@torch.no_grad()
def rotated(gradients, rotation):
    """Gradients, or changes, of a weight W [N, *shape] in the coordinates of W′ = U₂ᵀWU₁."""
    return torch.stack([rotation.rotate(g, rotation.u2.T, rotation.u1.T) for g in gradients])


def diagonal_share(gradients):
    """The share of ‖E[g gᵀ]‖² that lies on the diagonal, from independent samples g [N, P].

    ‖E[g gᵀ]‖² = E[(gᵢᵀgⱼ)²], and its diagonal part is Σ_k E[g_ik²] E[g_jk²]; every pair i ≠ j of
    samples is an unbiased estimate of both.
    """
    squares = gradients.square()
    gram = gradients @ gradients.T
    total = gram.square().sum() - gram.diagonal().square().sum()
    diagonal = squares.sum(0).square().sum() - squares.square().sum()
    return (diagonal / total).item()


def share_by_layer(gradients, rotations):
    """diagonal_share of every layer with a rotation, in plain and in rotated coordinates."""
    shares = {}
    for name, rotation in rotations.items():
        g = gradients[name]
        shares[name] = {
            "plain": diagonal_share(g.flatten(1)),
            "rotated": diagonal_share(rotated(g, rotation).flatten(1)),
        }
    return shares


def predicted_change(before, after, gradients, rotations):
    """Σ_i F_i (θ_i − θ*_i)², F in the coordinates of the rotations, of which there may be none."""
    weights_after = dict(after.named_parameters())
    total = 0.0
    for name, weight in before.named_parameters():
        g = gradients[name]
        change = (weights_after[name] - weight).detach()[None]
        if name in rotations:
            g, change = rotated(g, rotations[name]), rotated(change, rotations[name])
        total += (g.square().mean(0) * change[0].square()).sum().item()
    return total


@torch.no_grad()
def true_change(before, after, y, z):
    """The mean over z of the squared change of an image."""
    return (after(z, y) - before(z, y)).square().flatten(1).sum(1).mean().item()


def table(results):
    """The results in Markdown."""
    lines = [
        "| layer | plain: share on the diagonal, % | rotated, % |",
        "| --- | --- | --- |",
    ]
    for name, share in results["layers"].items():
        lines.append(f"| {name} | {100 * share['plain']:.2f} | {100 * share['rotated']:.2f} |")
    change = "squared change of an image of the first category in task 2: predicted by F"
    lines += ["", f"| run | λ | {change} | true |", "| --- | --- | --- | --- |"]
    for method, run in results["change"].items():
        cells = f"{run['lambda']:g} | {run['predicted']:.3f} | {run['true']:.1f}"
        lines.append(f"| {method} | {cells} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("runs", nargs=2, type=Path, metavar="RUN", help="a run of ewc.py and one of rewc.py")
    add("--samples", type=int, default=512, help="gradients of single samples [%(default)s]")
    add("--out", type=Path, default=ROOT / "results", help="where the results go [results]")
    args = parser.parse_args()

    methods = ["ewc", "rewc"]
    arguments = [read_arguments(run, method) for run, method in zip(args.runs, methods)]
    y = torch.tensor([0])  # the only category of the first task
    results = {"samples": args.samples, "layers": {}, "change": {}}
    for run, method, options in zip(args.runs, methods, arguments):
        before, after = load_generator(run, task=1), load_generator(run, task=2)
        gradients = gradients_of_samples(before, y, *draw(before, args.samples, seed=1))
        rotations = find_rotations(load_generator(run, task=1), y)
        if method == "ewc":
            results["layers"] = share_by_layer(gradients, rotations)
            rotations = {}
        z, _ = draw(before, args.samples, seed=3)
        results["change"][method] = {
            "lambda": options["lambda_ewc"],
            "predicted": predicted_change(before, after, gradients, rotations),
            "true": true_change(before, after, y, z),
        }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "fisher.json").write_text(json.dumps(results, indent=1) + "\n")
    (args.out / "fisher.md").write_text(table(results), encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
