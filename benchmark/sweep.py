"""λ of EWC and R-EWC on a logarithmic grid, for both kinds of Fisher information and of adding up tasks, on MNIST.

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
    ("ewc", "pixels", "online"): [5, 20, 80],
    ("ewc", "critic", "online"): [3e3, 1e4, 3e4],
    ("rewc", "pixels", "online"): [5, 20, 80],
    ("rewc", "critic", "online"): [1e3, 3e3, 1e4],
    ("ewc", "pixels", "mean"): [20, 80],
    ("ewc", "critic", "mean"): [3e3, 1e4],
    ("rewc", "pixels", "mean"): [20, 80],
    ("rewc", "critic", "mean"): [3e3, 1e4],
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
    runs = [(*key, value) for key, values in GRID.items() for value in values]
    folder = ROOT / "sweep"
    (ROOT / "results").mkdir(exist_ok=True)

    def train(run):
        method, fisher, mode, value = run
        run_dir = folder / f"{method}__{fisher}__{mode}__{value:g}"
        options = ["--num-tasks", args.num_tasks, "--iters", args.iters, "--learning-rate", args.learning_rate]
        options += ["--fisher", fisher, "--ewc-mode", mode, "--lambda-ewc", value]
        options += ["--seed", args.seed, "--data-dir", args.data_dir]
        command = [sys.executable, f"{method}.py", *map(str, options), "--run-dir", str(run_dir)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        print(f"trained {run_dir.name}", flush=True)
        return run_dir

    with ThreadPoolExecutor(args.jobs) as pool:
        run_dirs = list(pool.map(train, runs))

    settings = argparse.Namespace(device="cpu", statistics="batch", fid_features="judge", fid_samples=10000)
    reference, rows = scoring.Reference({"dataset": "mnist", "data_dir": args.data_dir}, settings), []
    for (method, fisher, mode, value), run_dir in zip(runs, run_dirs):
        row = {"method": method, "fisher": fisher, "mode": mode, "lambda": value}
        for tasks in (2, args.num_tasks):
            generator, _ = scoring.load_generator(run_dir / f"task_{tasks}.pt", settings)
            features = [scoring.embed(reference.judge, scoring.draw(generator, c, 1280)) for c in range(tasks)]
            *old, new = (scoring.percent_right(reference.judge, f, c) for c, f in enumerate(features))
            row[f"after_{tasks}"] = dict(mean=statistics.fmean([*old, new]), old=statistics.fmean(old), new=new)
        rows.append(row)
    rows.sort(key=lambda row: list(row.values())[:4])
    options = {k: v for k, v in vars(args).items() if k not in ("jobs", "data_dir")}
    path = ROOT / "results" / "sweep_ewc.json"
    path.write_text(json.dumps({"arguments": options, "rows": rows}, indent=1) + "\n")
    last = f"after_{args.num_tasks}"
    best = {key: max((r for r in rows if tuple(r.values())[:3] == key), key=lambda r: r[last]["mean"]) for key in GRID}
    lines = [
        ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in options.items()) + "; accuracy in percent",
        "",
    ]
    columns = [f"{n} after {t}" for t in (2, args.num_tasks) for n in ("mean", "old", "new")]
    lines += ["| method | Fisher | mode | λ | " + " | ".join(columns) + " |", "|" + " --- |" * 10]
    for row in rows:
        cells = [f"{row[f'after_{t}'][n]:.1f}" for t in (2, args.num_tasks) for n in ("mean", "old", "new")]
        *key, value = list(row.values())[:4]
        mark = " (best)" if row is best[tuple(key)] else ""
        lines += ["| " + " | ".join([*key, f"{value:g}{mark}", *cells]) + " |"]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
