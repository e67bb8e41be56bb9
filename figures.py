"""Pictures of what is learned and forgotten, from saved generators. Needs: pip install -r requirements-extras.txt

python figures.py evolution runs -o docs/evolution.png      # one row a method: a category after every task
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from common import Generator
from eval import METHODS

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit("error: figures.py needs matplotlib; install it with: python -m pip install -r requirements-extras.txt")


@torch.no_grad()
def paint(path, category, n, seed=0):
    """n images [n, C, 32, 32] of one category by a saved generator, with its standing statistics, always from the same z.

    None where the generator has not seen the category yet.
    """
    snapshot = torch.load(path, map_location="cpu", weights_only=True)
    if category not in snapshot["seen"]:
        return None
    generator = Generator(**snapshot["config"])
    generator.load_state_dict(snapshot["generator"])
    z = torch.randn(n, snapshot["config"]["latent_dim"], generator=torch.Generator().manual_seed(seed))
    return generator.eval()(z, torch.tensor([category]))


def evolution(runs, category, output):
    """One row a run, one column a task: the same four z of one category, painted by the generator after that task."""
    arguments = [json.loads((run / "args.json").read_text()) for run in runs]
    tasks = max(a["num_tasks"] for a in arguments)
    figure, axes = plt.subplots(len(runs), tasks, figsize=(1.3 * tasks, 1.4 * len(runs)), squeeze=False)
    for task, ax in enumerate(axes[0], start=1):
        ax.set_title(f"after task {task}", fontsize=10)
    for row, run, a in zip(axes, runs, arguments):
        row[0].set_ylabel(a["method"])
        for task, ax in enumerate(row, start=1):
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set_visible(False)
            path = run / f"task_{task}.pt"
            images = paint(path, category, 4) if path.exists() else None
            if images is not None:
                grid = images.unflatten(0, (2, 2)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)  # [2·H, 2·W, C]
                ax.imshow((grid.squeeze(-1) + 1) / 2, cmap="gray", vmin=0, vmax=1)
    settings = {f"{a['dataset']}, {a['iters']} steps per task, seed {a['seed']}" for a in arguments}
    figure.suptitle(f"what is painted for category {category} ({'; '.join(sorted(settings))})", fontsize=10)
    figure.tight_layout()
    figure.savefig(output, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=["evolution"], help="which picture")
    parser.add_argument("paths", nargs="+", metavar="RUN_OR_DIR", help="run directories, or folders that hold some")
    parser.add_argument("--category", type=int, default=0, help="the category painted [0]")
    parser.add_argument("-o", "--output", default="evolution.png", help="where the PNG goes [evolution.png]")
    args = parser.parse_args()
    runs = {path.parent for root in args.paths for path in Path(root).rglob("args.json")}
    if not runs:
        sys.exit(f"error: no run (a folder with args.json) in {', '.join(args.paths)}; train one with: python sft.py")
    method = lambda run: json.loads((run / "args.json").read_text())["method"]
    rank = lambda run: (METHODS.index(method(run)) if method(run) in METHODS else len(METHODS), str(run))
    evolution(sorted(runs, key=rank), args.category, args.output)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
