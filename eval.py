"""Score every saved generator of every run as the papers do, and print a table over runs.

    python eval.py runs                          # every run under runs/
    python eval.py runs/mnist__mergan_ra__1      # one run
    python eval.py results/mnist_cpu/*.json      # the table of copies of eval.json, scored before

Writes eval.json into each run. Lists have one entry a category, matrices one row a task; null:
not seen, or no file.
    categories
        their names, in the order of these lists
    accuracy, average_accuracy
        percent of generated images that the judge, a classifier trained on real images, takes for
        the category asked for: a matrix, and its mean over the seen categories after each task; a
        generator that cannot be asked (dgr.py) is scored on the images that its solver takes for
        the category, 0 if there are none
    forgetting, backward_transfer
        percentage points, after the last task (definitions: scoring/metrics.py)
    fid
        "test", "train": against real images of these splits, each {"all", "per_category": after
        the last task, "all_by_task", "matrix"}; "floor": what real training images would get for
        "all", {"test", "train"}; "features": their kind; "samples", "samples_per_category": images
        a side (of dgr.py fewer, where its solver finds fewer); null where a category has too few
        real images
    reverse_accuracy, reverse_accuracy_ceiling
        percent of real test images of the seen categories that a classifier trained only on
        generated images gets right, after the last task; the same trained on real images
    diversity
        after the last task: mean distance between two images of a category in the judge's
        features, as a share of that between two real ones; near 0 where a generator collapsed
    intermediate
        with --intermediate-samples: [{"task", "step", "accuracy", "fid_test", "fid_train",
        "fid_samples"}]
    judge, judge_accuracy
        its name: the shipped file, or the one that keeps it where it was trained; and percent of
        real test images that it gets right
    data
        a digest of real images and judge: only scores with the same compare
    other_data
        with --other-data: what was learned, and what it was scored on; null: the same
    samples, statistics, minutes, arguments
        images drawn of a category, "batch" or "standing"; of training; the run's options

The number of CPU threads changes no digit. Only the table goes to standard output.
"""

import argparse
import sys
from pathlib import Path

import torch

from common import use_any_encoding
from progress import progress
from scoring.cache import CannotWrite, try_writing, write_json
from scoring.metrics import backward_transfer, forgetting
from scoring.references import References
from scoring.runs import ELSEWHERE, Run, find_runs, no_run
from scoring.scores import CachedScores, column, fids
from scoring.tables import markdown, read_scores, write_csv


class Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The docstring as it stands, and the default of every option."""


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Help)
    add = parser.add_argument
    add("paths", nargs="+", metavar="RUN_OR_DIR", help="runs, folders of some, eval.json files")
    add("--data-dir", help="folder of the real data; None: where the run found it")
    add("--cache-dir", help="place of the judge and scores of real images; None: the run's")
    other_help = "score on purpose on images other than those learned, of categories named the same"
    add("--other-data", action="store_true", help=other_help)
    add("--samples", type=int, default=6400, help="images per category, a multiple of 64")
    inside_help = "the same for snapshots inside tasks; 0: not scored"
    add("--intermediate-samples", type=int, default=0, help=inside_help)
    add("--statistics", choices=("batch", "standing"), default="batch", help="when drawing")
    judge_help = "auto: MNIST's is shipped, those of other data are trained on it"
    add("--judge", choices=("auto", "trained"), default="auto", help=judge_help)
    add("--fid-features", choices=("judge", "inception"), default="judge", help="128 or 2048")
    add("--fid-samples", type=int, default=10000, help="at most, a side, over all categories")
    add("--inception-weights", help="their file; None: torch-fidelity downloads it")
    device_help = "auto: cuda where there is one"
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help=device_help)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print tables, as without options")
    form.add_argument("--csv", action="store_true", help="print one row a run")
    args = parser.parse_args()
    for name, least in [("samples", 64), ("intermediate_samples", 0)]:
        value = getattr(args, name)
        if value < least or value % 64:
            option = name.replace("_", "-")
            parser.error(f"--{option} is {value}, expected a multiple of 64")
    weights = args.inception_weights
    if weights and not Path(weights).is_file():
        parser.error(f"--inception-weights is {weights}, expected torch-fidelity's file")
    if args.device == "cuda" and not torch.cuda.is_available():
        expected = "use --device cpu, or install a CUDA build"
        parser.error(f"--device is cuda, but PyTorch sees no CUDA GPU; {expected}")
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    return args


def score(run, reference, samples, intermediate_samples=0, standing=False, other_data=None):
    """All scores of one run, as eval.json holds them, and a list of what could not be scored.

    run: a Run; samples: images drawn of each category; standing: draw with standing statistics.
    """
    if reference.fid_samples < 2 * run.tasks:
        found = f"--fid-samples is {reference.fid_samples}"
        raise ValueError(f"{found}, expected at least 2 for each of the {run.tasks} tasks")
    log = run.log()
    scores = CachedScores(run, reference, standing)

    # After each task; joint.py saves one generator only
    paths = [run.task(task) for task in range(1, run.tasks + 1)]
    saved = [task for task, path in enumerate(paths, start=1) if path.exists()]
    rows = []
    for path in progress(paths, f"scoring {run.path.name}, ends of tasks"):
        rows.append(scores.snapshot(path, samples) if path.exists() else None)
    missing = []
    if len(saved) > 1:
        missing = [f"{path} (missing)" for path in paths[: saved[-1]] if not path.exists()]

    # Only after the last task, and what real images would score
    last = rows[-1]
    reverse = None
    floor = None
    ceiling = None
    if last is not None:
        reverse = scores.reverse(paths[-1])
        floor = scores.floor(last["seen"], samples)
        ceiling = scores.ceiling(last["seen"])

    accuracy = column(rows, "accuracy")
    kept = {"hardware"} | run.arguments.keys() - set(ELSEWHERE)
    results = {
        "categories": reference.names,
        "average_accuracy": column(rows, "average_accuracy"),
        "accuracy": accuracy,
        "forgetting": forgetting(accuracy),
        "backward_transfer": backward_transfer(accuracy),
        "fid": fids(rows, floor, reference.kind),
        "reverse_accuracy": reverse,
        "reverse_accuracy_ceiling": ceiling,
        "diversity": column(rows, "diversity")[-1],
        "intermediate": scores.inside(log, intermediate_samples),
        "judge": reference.judge_name,
        "judge_accuracy": reference.accuracy,
        "data": reference.data[:8],
        "other_data": other_data,
        "samples": samples,
        "statistics": "standing" if standing else "batch",
        "minutes": log[-1]["elapsed"] / 60 if log else None,
        "arguments": {name: value for name, value in run.arguments.items() if name in kept},
    }
    return results, missing + scores.problems


def score_and_write(run, reference, **options):
    """score() of one run, written to its eval.json, and a list of problems; None, and nothing
    written, if there are no scores. options: those of score().
    """
    try:
        results, problems = score(run, reference, **options)
    except Exception as error:
        return None, [f"{run.path} ({type(error).__name__}: {error})"]
    try:
        write_json(run.path / "eval.json", results)
    except CannotWrite as error:
        problems.append(f"{error}; make room, and run the same command again")
    return results, problems


def score_folder(folder, references, args, problems):
    """The scores of the run in a folder, or None; what is wrong is added to problems."""
    try:
        run = Run(folder)
        data = run.data(data_dir=args.data_dir, cache_dir=args.cache_dir)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problems.append(f"{folder / 'args.json'} ({type(error).__name__}: {error})")
        return None
    try:
        try_writing(run.path)  # before long work
        reference, differing = references.open(run, data, args.other_data)
    except (SystemExit, CannotWrite, ValueError, TypeError) as error:
        problems.append(f"{folder} ({error})")
        return None
    result, unscored = score_and_write(
        run,
        reference,
        samples=args.samples,
        intermediate_samples=args.intermediate_samples,
        standing=args.statistics == "standing",
        other_data=differing,
    )
    problems += unscored
    if not run.finished():
        reached = f"{folder} is not finished ({run.reached()})"
        problems.append(f"{reached}; run its command again to continue it")
        return None
    return result


def main():
    use_any_encoding()
    args = parse_args()
    files = [Path(path) for path in args.paths if path.endswith(".json")]
    folders = find_runs([path for path in args.paths if not path.endswith(".json")])
    if not folders + files:
        sys.exit(no_run(args.paths))
    results, problems = [], []
    # Scored before
    for path in files:
        try:
            results.append(read_scores(path))
        except (OSError, ValueError) as error:
            problems.append(f"{path} ({type(error).__name__}: {error})")
    # Scored now
    references = References(
        judge=args.judge,
        device=args.device,
        features=args.fid_features,
        fid_samples=args.fid_samples,
        inception_weights=args.inception_weights,
    )
    for folder in folders:
        result = score_folder(folder, references, args, problems)
        if result is not None:
            results.append(result)
    if results and args.csv:
        write_csv(results, sys.stdout)
    elif results:
        try:
            print(markdown(results))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        sys.exit("error: not scored: " + "; ".join(problems))


if __name__ == "__main__":
    main()
