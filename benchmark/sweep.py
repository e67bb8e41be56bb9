"""λ of EWC and R-EWC on a logarithmic grid, for both surrogates, on five digits of MNIST.

    python benchmark/sweep.py --out DIR    # runs in DIR/sweep, DIR/sweep_ewc.json, DIR/sweep_ewc.md

The table has the accuracy after two tasks and after all, split into stability, the mean over the
older digits, and plasticity, the newest one. A sweep that was stopped continues: what
sweep_ewc.json has is not measured again.
"""

import json
import statistics
import sys

from side_by_side import ROOT, command, make_parser, train

sys.path.insert(0, str(ROOT))
from scoring.drawing import SavedGenerator
from scoring.judge import embed, percent_right
from scoring.reference import open_reference

# The values of λ by method, surrogate (--fisher) and mode (--ewc-mode)
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
SAMPLES = 1280  # images of a digit, by which a generator is judged


def key_of(row):
    """Method, surrogate and mode of a row of results."""
    return row["method"], row["fisher"], row["mode"]


def position(row):
    """Where a row stands in the table."""
    return *key_of(row), row["lambda"]


# --------------------------------------------------------------------------------------------------
# Measuring


def open_results(path, arguments):
    """The results that are there, {"arguments", "rows"}. Exits with one line if they are others."""
    if not path.exists():
        return {"arguments": arguments, "rows": []}
    results = json.loads(path.read_text())
    if results["arguments"] != arguments:
        found = f"{path} is a sweep with other arguments, {results['arguments']}"
        sys.exit(f"error: {found}; choose another --out")
    return results


def measure(path, judge):
    """The accuracy of a saved generator, percent: mean, older digits, newest digit, all digits."""
    generator = SavedGenerator.load(path)
    digits = []
    for category in generator.seen:
        features = embed(judge, generator.draw(category, SAMPLES))
        digits.append(percent_right(judge, features, category))
    return {
        "mean": statistics.fmean(digits),
        "old": statistics.fmean(digits[:-1]),
        "new": digits[-1],
        "digits": digits,
    }


def main():
    args = make_parser(__doc__).parse_args()
    names = ("iters", "learning_rate", "num_tasks", "seed")
    path = args.out / "sweep_ewc.json"
    results = open_results(path, {name: getattr(args, name) for name in names})
    args.out.mkdir(parents=True, exist_ok=True)
    judge = open_reference({"dataset": "mnist", "data_dir": args.data_dir}).judge

    # The runs that are still to be made: what their rows begin with, and their commands
    measured = {position(row) for row in results["rows"]}
    rows, folders, commands = [], [], []
    for (method, fisher, mode), values in GRID.items():
        for value in values:
            row = {"method": method, "fisher": fisher, "mode": mode, "lambda": value}
            if position(row) in measured:
                continue
            folder = args.out / "sweep" / f"{method}__{fisher}__{mode}__{value:g}"
            options = ["--fisher", fisher, "--ewc-mode", mode, "--lambda-ewc", value]
            rows.append(row)
            folders.append(folder)
            commands.append(command(args, f"{method}.py", folder, *options))

    # Each is measured as soon as it has ended, and kept
    for row, folder, _ in zip(rows, folders, train(commands, args.jobs)):
        row["hardware"] = json.loads((folder / "args.json").read_text())["hardware"]
        for tasks in (2, args.num_tasks):
            row[f"after_{tasks}"] = measure(folder / f"task_{tasks}.pt", judge)
        results["rows"] = sorted([*results["rows"], row], key=position)
        path.write_text(json.dumps(results, indent=1) + "\n")
        path.with_suffix(".md").write_text(table(results), encoding="utf-8")
        print(f"measured {folder.name}", flush=True)
    print(table(results))


# --------------------------------------------------------------------------------------------------
# The table


def best_rows(results):
    """The row with the best mean over all digits, by key; none where values of λ are missing."""
    last = f"after_{results['arguments']['num_tasks']}"
    best = {}
    for key, values in GRID.items():
        rows = [row for row in results["rows"] if key_of(row) == key]
        if {row["lambda"] for row in rows} >= set(values):
            best[key] = max(rows, key=lambda row: row[last]["mean"])
    return best


def table(results):
    """The results in Markdown; the best λ of each method, surrogate and mode is marked."""
    arguments = results["arguments"]
    settings = [f"{name.replace('_', ' ')} {value}" for name, value in arguments.items()]
    moments = [2, arguments["num_tasks"]]
    header = ["method", "fisher", "mode", "λ"]
    for tasks in moments:
        header += [f"mean after {tasks}", f"old after {tasks}", f"new after {tasks}"]
    lines = [
        f"{', '.join(settings)}; accuracy in percent",
        "",
        f"| {' | '.join(header)} |",
        "|" + " --- |" * len(header),
    ]
    best = best_rows(results)
    for row in results["rows"]:
        mark = " (best)" if row is best.get(key_of(row)) else ""
        cells = [*key_of(row), f"{row['lambda']:g}{mark}"]
        for tasks in moments:
            accuracy = row[f"after_{tasks}"]
            cells += [f"{accuracy[name]:.1f}" for name in ("mean", "old", "new")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
