"""Score every saved generator of every run as the papers do, and print a table over runs.

    python eval.py runs                                # every run under runs/
    python eval.py runs/mnist__mergan_ra__1 --quick    # one run, a first look
    python eval.py results/mnist/*.json                # the table of copies of eval.json

Writes eval.json into each run. Lists have one entry a category, matrices one row a task; null:
not seen, no file, or not measured.
    categories
        their names, in the order of these lists
    accuracy, average_accuracy
        percent of generated images that the judge, a classifier trained on real images, takes for
        the category asked for: a matrix, and its mean over the seen categories after each task; a
        generator that cannot be asked (dgr.py) is scored on the images that its solver takes for
        the category, 0 if there are none
    learned, forgetting, backward_transfer
        of tasks' accuracies: their mean when just learned, and what became of it, in percentage
        points (definitions: scoring/metrics.py)
    fid
        "test", "train": against real images of these splits, each {"all", "per_category": after
        the last task, "all_by_task", "matrix", "afq", "aiq", "fr": CLoG's scores of tasks'
        FIDs (scoring/metrics.py)}; "floor": what real training images would get for "all",
        {"test", "train"}; "features": their kind; "samples", "samples_per_category": images a
        side (of dgr.py fewer, where its solver finds fewer)
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
    samples, statistics
        images drawn of each category; "batch" or "standing"
    minutes, arguments
        of training; the run's options
Beside it film.npz holds the run's own samples, and what the judge sees in them (scoring/film.py).

On a CPU scoring has one thread. Only the table goes to standard output.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import torch

from common import use_any_encoding
from scoring.film import write_film
from scoring.reference import Reference
from scoring.runs import SavedRun, compare_data, find_runs, no_run
from scoring.scores import noted, score_run
from scoring.store import check_writable
from scoring.tables import as_csv, markdown, read_scores
from support.files import write_json

ERRORS = (Exception, SystemExit)  # what is wrong with one run does not stop the others


def parse_args():
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=about)
    add = parser.add_argument
    add("paths", nargs="+", metavar="RUN_OR_DIR", help="runs, folders of some, eval.json files")
    add("--data-dir", help="folder of the real data [where the run found it]")
    add("--cache-dir", help="place of the judge and scores of real images [the run's]")
    other_help = "score against other images than were learned, of categories with the same names"
    add("--other-data", action="store_true", help=other_help)
    add("--quick", action="store_true", help="fewer images, and no reverse accuracy: a first look")
    add("--samples", type=int, help="images per category, a multiple of 64 [6400; quick: 640]")
    inside_help = "the same for snapshots inside tasks; 0: not scored [%(default)s]"
    add("--intermediate-samples", type=int, default=0, help=inside_help)
    statistics_help = "of batch norm: of each batch, or stored [%(default)s]"
    add("--statistics", choices=("batch", "standing"), default="batch", help=statistics_help)
    features_help = "128 of the judge, or 2048 of Inception [%(default)s]"
    add("--fid-features", choices=("judge", "inception"), default="judge", help=features_help)
    count_help = "at most, a side, over all categories [10000; quick: 2000]"
    add("--fid-samples", type=int, help=count_help)
    add("--inception-weights", help="their file [downloaded by torch-fidelity]")
    device_help = "auto: cuda where there is one [%(default)s]"
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help=device_help)
    add("--csv", action="store_true", help="print one row a run, and no table")
    args = parser.parse_args()
    if args.samples is None:
        args.samples = 640 if args.quick else 6400
    if args.fid_samples is None:
        args.fid_samples = 2000 if args.quick else 10000
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


def look_over(folders, args, problems):
    """[(run, Reference, how the data differ from those learned)] of the runs that can be scored.

    Nothing here takes long. What is wrong with a run, or not finished, is added to problems.
    """
    references, found = {}, []
    for folder in folders:
        with noted(problems, folder, ERRORS):
            run = SavedRun(folder)
            check_writable(folder)

            # Runs on the same data share a Reference
            data = run.data(data_dir=args.data_dir, cache_dir=args.cache_dir)
            source = json.dumps(data, sort_keys=True)
            if source not in references:
                references[source] = Reference(
                    data,
                    device=args.device,
                    features=args.fid_features,
                    fid_samples=args.fid_samples,
                    inception_weights=args.inception_weights,
                )
            differing = compare_data(run, references[source], args.other_data)
            found.append((run, references[source], differing))

            problems += [f"{path} (missing)" for path in run.missing()]
            if not run.finished():
                reached = f"{folder} is not finished ({run.reached()})"
                problems.append(f"{reached}; run its command again to continue it")
    return found


def score(run, reference, differing, args, problems):
    """The scores of a run, written to its eval.json, and its film.

    differing: how the data differ from those learned. What could not be scored is added to
    problems.
    """
    reference.open_judge()
    result, unscored = score_run(
        run,
        reference,
        samples=args.samples,
        inside=args.intermediate_samples,
        standing=args.statistics == "standing",
        reverse_accuracy=not args.quick,
        other_data=differing,
    )
    problems += unscored
    with noted(problems, run.path):
        write_json(run.path / "eval.json", result)
        with noted(problems, run.path / "samples"):
            write_film(run, reference)
    return result


def print_scores(args):
    """Score all runs, and print the table."""
    files = [Path(path) for path in args.paths if path.endswith(".json")]
    folders = find_runs([path for path in args.paths if not path.endswith(".json")])
    if not folders + files:
        sys.exit(no_run(args.paths))
    results, problems = [], []
    for path in files:
        with noted(problems, path):
            results.append(read_scores(path))

    # What is wrong is told before long work, and once more at the end
    jobs = look_over(folders, args, problems)
    if jobs:
        for problem in problems:
            print(f"warning: {problem}", file=sys.stderr, flush=True)
    for run, reference, differing in jobs:
        with noted(problems, run.path, ERRORS):
            result = score(run, reference, differing, args, problems)
            if result["accuracy"][-1] is not None:  # only finished runs stand in a table
                results.append(result)

    if results and args.csv:
        print(as_csv(results), end="", flush=True)
    elif results:
        try:
            print(markdown(results), flush=True)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        sys.exit("error: not scored: " + "; ".join(problems))


def main():
    torch.set_num_threads(1)  # a sum that several threads share is rounded otherwise
    use_any_encoding()
    args = parse_args()
    torch.backends.cudnn.allow_tf32 = False  # a GPU scores with as many bits as a CPU
    try:
        print_scores(args)
    except BrokenPipeError:  # its reader has seen enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit("stopped; the same command continues")


if __name__ == "__main__":
    main()
