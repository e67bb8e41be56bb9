"""λ of EWC and R-EWC on a logarithmic grid, for both kinds of Fisher information and of adding up tasks, on MNIST.

    python benchmark/sweep.py --out DIR        # runs in DIR/sweep, then DIR/sweep_ewc.json and DIR/sweep_ewc.md

Each run learns five digits; the table has the accuracy after two and after five tasks, split into stability (the mean
over the older categories) and plasticity (the newest one). --jobs runs go side by side, one CPU thread each. A sweep
that was stopped continues: rows that sweep_ewc.json has, with the same arguments, are not measured again.
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
from scoring.drawing import SavedGenerator
from scoring.judge import embed, percent_right
from scoring.reference import open_reference

GRID = {
    ("ewc", "pixels", "online"): [5, 20, 80, 320],
    ("ewc", "critic", "online"): [1e3, 3e3, 1e4, 3e4],
    ("rewc", "pixels", "online"): [1.25, 5, 20, 80],
    ("rewc", "critic", "online"): [300, 1e3, 3e3, 1e4],
    ("ewc", "pixels", "mean"): [20, 80],
    ("ewc", "critic", "mean"): [3e3, 1e4],
    ("rewc", "pixels", "mean"): [20, 80],
    ("rewc", "critic", "mean"): [3e3, 1e4],
}
COLUMNS = ("method", "fisher", "mode", "lambda")


def small_runs(description):
    """A parser of the options of a benchmark whose runs learn five digits on a CPU."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iters", type=int, default=400, help="generator steps per task [400]")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="of Adam [5e-4]")
    parser.add_argument("--num-tasks", type=int, default=5, help="digits learned [5]")
    parser.add_argument("--seed", type=int, default=1, help="of every run [1]")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="runs side by side [one per core]"
    )
    parser.add_argument(
        "--data-dir", type=Path, default=ROOT / "data", help="folder of MNIST [data]"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results", help="where the results go [results]"
    )
    return parser


def main():
    args = small_runs(__doc__).parse_args()
    path = args.out / "sweep_ewc.json"
    options = {
        k: v for k, v in vars(args).items() if k in ("iters", "learning_rate", "num_tasks", "seed")
    }
    sweep = json.loads(path.read_text()) if path.exists() else {"arguments": options, "rows": []}
    if sweep["arguments"] != options:
        sys.exit(
            f"error: {path} is a sweep with other arguments, {sweep['arguments']}; choose another --out"
        )
    known = {tuple(row[name] for name in COLUMNS) for row in sweep["rows"]}
    runs = [
        (*key, value)
        for key, values in GRID.items()
        for value in values
        if (*key, value) not in known
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    reference = open_reference({"dataset": "mnist", "data_dir": args.data_dir})

    def train(run):
        method, fisher, mode, value = run
        run_dir = args.out.resolve() / "sweep" / f"{method}__{fisher}__{mode}__{value:g}"
        command = [
            sys.executable,
            f"{method}.py",
            "--fisher",
            fisher,
            "--ewc-mode",
            mode,
            "--lambda-ewc",
            value,
        ]
        for name, option in {
            **options,
            "data_dir": args.data_dir.resolve(),
            "run_dir": run_dir,
        }.items():
            command += [f"--{name.replace('_', '-')}", option]
        subprocess.run(
            [*map(str, command)], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        return run_dir

    with ThreadPoolExecutor(args.jobs) as pool:
        for run, run_dir in zip(runs, pool.map(train, runs)):
            row = dict(
                zip(COLUMNS, run),
                hardware=json.loads((run_dir / "args.json").read_text())["hardware"],
            )
            for tasks in (2, args.num_tasks):
                generator = SavedGenerator.load(run_dir / f"task_{tasks}.pt")
                features = [embed(reference.judge, generator.draw(c, 1280)) for c in range(tasks)]
                digits = [percent_right(reference.judge, f, c) for c, f in enumerate(features)]
                old = statistics.fmean(digits[:-1])
                row[f"after_{tasks}"] = dict(
                    mean=statistics.fmean(digits), old=old, new=digits[-1], digits=digits
                )
            sweep["rows"] = sorted(
                [*sweep["rows"], row], key=lambda row: [row[name] for name in COLUMNS]
            )
            args.out.mkdir(exist_ok=True)
            path.write_text(json.dumps(sweep, indent=1) + "\n")
            path.with_suffix(".md").write_text(table(sweep), encoding="utf-8")
            print(f"measured {run_dir.name}", flush=True)
    print(table(sweep))


def table(sweep):
    """A Markdown table; the best λ tried for each method, Fisher information and mode is marked once all are in."""
    after = [f"after_{tasks}" for tasks in (2, sweep["arguments"]["num_tasks"])]
    best = {}
    for row in sorted(sweep["rows"], key=lambda row: row[after[1]]["mean"]):
        best[tuple(row[name] for name in COLUMNS[:3])] = row
    measured = {tuple(row[name] for name in COLUMNS) for row in sweep["rows"]}
    lines = [
        ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in sweep["arguments"].items())
        + "; accuracy in percent",
        "",
    ]
    header = [
        *COLUMNS[:3],
        "λ",
        *(f"{n} {a.replace('_', ' ')}" for a in after for n in ("mean", "old", "new")),
    ]
    lines += ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for row in sweep["rows"]:
        *key, value = (row[name] for name in COLUMNS)
        cells = [f"{row[a][n]:.1f}" for a in after for n in ("mean", "old", "new")]
        complete = measured >= {(*key, other) for other in GRID[tuple(key)]}
        mark = " (best)" if complete and row is best[tuple(key)] else ""
        lines += ["| " + " | ".join([*key, f"{value:g}{mark}", *cells]) + " |"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
