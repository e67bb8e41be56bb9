"""How much of the Fisher information a diagonal holds, before and after R-EWC's rotation, on trained generators.

    python benchmark/fisher.py RUN_OF_EWC RUN_OF_REWC        # then results/fisher.json and results/fisher.md

For the generator after task 1 and its only category, by layer: the share of the squared Frobenius norm of the Fisher
information matrix (pixel likelihood, weights only) that lies on its diagonal, in plain and in rotated coordinates. And
for each run, what happened to that category in task 2: the mean squared change of an image in truth, and as the
diagonal predicted it, Σ_i F_i (θ_i − θ*_i)²: a penalty can hold only what its F sees.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch.func import functional_call, grad, vmap

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import rewc
from scoring.drawing import SavedGenerator


def diagonal_share(gradients):
    """Share of ‖E[g gᵀ]‖² on the diagonal, from independent samples g [N, P]; each pair i ≠ j is an unbiased estimate.

    ‖E[g gᵀ]‖² = E[(gᵢᵀgⱼ)²], and its diagonal part is Σ_k E[g_ik²] E[g_jk²].
    """
    n, squares = len(gradients), gradients.square()
    gram = gradients @ gradients.T
    total = gram.square().sum() - gram.diagonal().square().sum()
    diagonal = squares.sum(0).square().sum() - squares.square().sum()
    return (diagonal / total).item()


@torch.no_grad()
def rotated(gradients, rotation):
    """Per-sample gradients of a weight [N, *shape] in the coordinates of W′ = U₂ᵀWU₁."""
    return torch.stack([rotation.rotate(g, rotation.u2.T, rotation.u1.T) for g in gradients])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs=2, metavar="RUN", help="a run of ewc.py and one of rewc.py")
    parser.add_argument("--samples", type=int, default=512, help="per-sample gradients [512]")
    args = parser.parse_args()
    results = {"samples": args.samples, "layers": {}, "change": {}}
    for run in map(Path, args.runs):
        arguments = json.loads((run / "args.json").read_text())
        saved = [SavedGenerator.load(run / f"task_{task}.pt", standing=True) for task in (1, 2)]
        before, after = (some.generator for some in saved)
        y, size = torch.tensor(saved[0].seen), (before.config["channels"], *[before.image_size] * 2)

        def draw(seed, n):
            random = torch.Generator().manual_seed(seed)
            return (
                torch.randn(n, before.config["latent_dim"], generator=random),
                torch.randn(n, *size, generator=random),
            )

        weights = {name: weight.detach() for name, weight in before.named_parameters()}
        score = lambda weights, z, v: (functional_call(before, weights, (z[None], y)) * v).sum()
        parts = [
            vmap(grad(score), (None, 0, 0))(weights, *some)
            for some in chunks(draw(1, args.samples))
        ]
        gradients = {name: torch.cat([part[name] for part in parts]) for name in weights}
        turned = torch.nn.Module()
        turned.generator = SavedGenerator.load(run / "task_1.pt", standing=True).generator
        rewc.add_rotations(turned.generator)
        rewc.measure_covariances(turned.generator, None, y, *draw(2, 1024), "pixels")
        zeros = [torch.zeros_like(w) for w in turned.generator.parameters()]
        rewc.rotate_anew(turned.generator, zeros, [z.clone() for z in zeros])
        names = {m: name for name, m in turned.generator.named_modules()}
        rotations = {
            f"{names[layer]}.weight": rotation
            for layer, rotation in rewc.rotated_layers(turned.generator)
        }

        predicted = 0.0
        for name, g in gradients.items():
            change = (after.state_dict()[name] - weights[name])[None]
            if name in rotations:
                if run == Path(args.runs[0]):
                    results["layers"][name] = {
                        "plain": diagonal_share(g.flatten(1)),
                        "rotated": diagonal_share(rotated(g, rotations[name]).flatten(1)),
                    }
                if arguments["method"] == "rewc":
                    g, change = rotated(g, rotations[name]), rotated(change, rotations[name])
            predicted += (g.square().mean(0) * change[0].square()).sum().item()
        with torch.no_grad():
            z, _ = draw(3, args.samples)
            true = (after(z, y) - before(z, y)).square().flatten(1).sum(1).mean().item()
        results["change"][arguments["method"]] = {
            "lambda": arguments["lambda_ewc"],
            "predicted": predicted,
            "true": true,
        }

    lines = ["| layer | plain: share on the diagonal, % | rotated, % |", "| --- | --- | --- |"]
    lines += [
        f"| {n} | {100 * s['plain']:.2f} | {100 * s['rotated']:.2f} |"
        for n, s in results["layers"].items()
    ]
    lines += [
        "",
        "| run | λ | squared change of an image of the first category in task 2: predicted by F | true |",
    ]
    lines += ["| --- | --- | --- | --- |"]
    lines += [
        f"| {m} | {c['lambda']:g} | {c['predicted']:.3f} | {c['true']:.1f} |"
        for m, c in results["change"].items()
    ]
    (ROOT / "results" / "fisher.json").write_text(json.dumps(results, indent=1) + "\n")
    (ROOT / "results" / "fisher.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def chunks(tensors, size=32):
    return zip(*(tensor.split(size) for tensor in tensors))


if __name__ == "__main__":
    main()
