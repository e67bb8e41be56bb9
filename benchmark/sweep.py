"""λ of EWC and R-EWC on a logarithmic grid, for both kinds of Fisher information, on MNIST.

    python benchmark/sweep.py                  # sweep/…, then results/sweep_ewc.json and results/sweep_ewc.md

Each run learns five digits; the table has the accuracy after two and after five tasks, split into stability (the mean
over the older categories) and plasticity (the newest one). --jobs runs go side by side, one CPU thread each; a sweep
that was stopped continues.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import eval as scoring

GRID = {
    ("ewc", "pixels"): [5, 20, 80],
    ("ewc", "critic"): [3e3, 1e4, 3e4],
    ("rewc", "pixels"): [20, 80],
    ("rewc", "critic"): [3e3, 1e4],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iters", type=int, default=400, help="generator steps per task [400]")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="of Adam [5e-4]")
    parser.add_argument("--num-tasks", type=int, default=5, help="digits learned [5]")
    parser.add_argument("--seed", type=int, default=1, help="of every run [1]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs side by side [one per core]")
    parser.add_argument(
        "--data-dir", type=lambda path: Path(path).resolve(), default=ROOT / "data", help="folder of MNIST [data]"
    )
    args = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    runs = [(method, fisher, value) for (method, fisher), values in GRID.items() for value in values]
    folder = ROOT / "sweep"
    (ROOT / "results").mkdir(exist_ok=True)

    def train(run):
        method, fisher, value = run
        run_dir = folder / f"{method}__{fisher}__{value:g}"
        options = ["--num-tasks", args.num_tasks, "--iters", args.iters, "--learning-rate", args.learning_rate]
        options += ["--fisher", fisher, "--lambda-ewc", value, "--seed", args.seed, "--data-dir", args.data_dir]
        command = [sys.executable, f"{method}.py", *map(str, options), "--run-dir", str(run_dir)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        print(f"trained {run_dir.name}", flush=True)
        return run_dir

    with ThreadPoolExecutor(args.jobs) as pool:
        run_dirs = list(pool.map(train, runs))

    settings = argparse.Namespace(device="cpu", statistics="batch", fid_features="judge", fid_samples=10000)
    reference, rows = scoring.Reference({"dataset": "mnist", "data_dir": args.data_dir}, settings), []
    for (method, fisher, value), run_dir in zip(runs, run_dirs):
        row = {"method": method, "fisher": fisher, "lambda": value}
        for tasks in (2, args.num_tasks):
            generator, _ = scoring.load_generator(run_dir / f"task_{tasks}.pt", settings)
            features = [scoring.embed(reference.judge, scoring.draw(generator, c, 1280)) for c in range(tasks)]
            *old, new = (scoring.percent_right(reference.judge, f, c) for c, f in enumerate(features))
            row[f"after_{tasks}"] = dict(mean=statistics.fmean([*old, new]), old=statistics.fmean(old), new=new)
        rows.append(row)
    rows.sort(key=lambda row: (row["method"], row["fisher"], row["lambda"]))
    options = {k: v for k, v in vars(args).items() if k not in ("jobs", "data_dir")}
    path = ROOT / "results" / "sweep_ewc.json"
    path.write_text(json.dumps({"arguments": options, "rows": rows}, indent=1) + "\n")
    last = f"after_{args.num_tasks}"
    best = {(m, f): max((r for r in rows if (r["method"], r["fisher"]) == (m, f)), key=lambda r: r[last]["mean"])
            for m, f in GRID}  # fmt: skip
    lines = [
        ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in options.items()) + "; accuracy in percent",
        "",
    ]
    columns = [f"{n} after {t}" for t in (2, args.num_tasks) for n in ("mean", "old", "new")]
    lines += ["| method | Fisher | λ | " + " | ".join(columns) + " |", "|" + " --- |" * 9]
    for row in rows:
        cells = [f"{row[f'after_{t}'][n]:.1f}" for t in (2, args.num_tasks) for n in ("mean", "old", "new")]
        mark = " (best)" if row is best[row["method"], row["fisher"]] else ""
        lines += [f"| {row['method']} | {row['fisher']} | {row['lambda']:g}{mark} | " + " | ".join(cells) + " |"]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
