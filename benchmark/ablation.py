"""Choices that the papers leave open, changed one at a time in MeRGAN-RA, on five digits of MNIST.

    python benchmark/ablation.py          # runs in results/ablation, scores in results/ablation_cpu and ablation_cpu.md

A variant is a copy of mergan_ra.py with a few other lines. --jobs runs go side by side, one CPU thread each; an
ablation that was stopped continues. EWC's choices are in benchmark/sweep.py.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sweep import small_runs

ROOT = Path(__file__).resolve().parent.parent
SOURCE = (ROOT / "mergan_ra.py").read_text(encoding="utf-8")


def between(first, last):
    """The piece of mergan_ra.py from one text up to another, each found once."""
    assert SOURCE.count(first) == SOURCE.count(last) == 1, (first, last)
    return SOURCE[SOURCE.index(first) : SOURCE.index(last)]


CRITIC = between(
    "        for _ in range(args.critic_steps):",
    "        with autocast:\n            loss_generator",
)
GENERATOR = between(
    "        with autocast:\n            loss_generator", '        return {"critic": loss_critic'
)
RESET = """\
        if task and not first_step:
            critic.load_state_dict(make_critic(**options).state_dict())
"""
MEAN = (
    ".square().sum() / (2 * num_past)",
    ".square().sum() / len(fake)",
)  # E over z and c, as the equation is written
ADAM = "        critic_optimizer = torch.optim.Adam("
VARIANTS = {  # name: (text to replace, its replacement)
    "mergan_ra": ("", ""),
    "mergan_ra_mean_alignment": MEAN,
    "mergan_ra_critic_anew": (ADAM, RESET + ADAM),
    "mergan_ra_generator_first": (CRITIC + GENERATOR, GENERATOR + CRITIC),
}


def main():
    parser = small_runs(__doc__)
    parser.add_argument(
        "--samples", type=int, default=6400, help="images a category that are scored [6400]"
    )
    args = parser.parse_args()
    folder, kept = args.out.resolve() / "ablation", args.out / "ablation_cpu"
    for path in (folder, kept):
        path.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    common = [
        "--num-tasks",
        args.num_tasks,
        "--iters",
        args.iters,
        "--learning-rate",
        args.learning_rate,
    ]
    common = [
        *map(str, common),
        "--seed",
        str(args.seed),
        "--data-dir",
        str(args.data_dir.resolve()),
    ]

    def train(name):
        old, new = VARIANTS[name]
        script = folder / f"{name}.py"
        script.write_text(SOURCE.replace(old, new) if old else SOURCE, encoding="utf-8")
        command = [sys.executable, str(script), *common, "--run-dir", str(folder / name)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        print(f"trained {name}", flush=True)

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(train, VARIANTS))
    scoring = [sys.executable, "eval.py", "--device", "cpu"]
    subprocess.run([*scoring, str(folder), "--samples", str(args.samples)], cwd=ROOT, check=True)
    for name in VARIANTS:
        shutil.copy(folder / name / "eval.json", kept / f"{name}.json")
    files = sorted(map(str, kept.glob("*.json")))
    table = subprocess.run([*scoring, *files], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    (args.out / "ablation_cpu.md").write_bytes(table)


if __name__ == "__main__":
    main()
