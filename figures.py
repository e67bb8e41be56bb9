"""Pictures of what is learned and forgotten, from saved generators.

Needs: pip install -r requirements-extras.txt

    python figures.py samples runs       # every category after the last task (MeRGAN figure 3)
    python figures.py evolution runs     # the same z while it learns, PNG and GIF (figures 5 and 7)
    python figures.py curves runs        # accuracy and FID over training, from eval.json (figure 6)
    python figures.py tsne runs          # real and generated images to the judge (figure 4)
    python figures.py curves results/mnist_ten_small/*__1.json        # from copies of eval.json
    python figures.py all runs           # all four; files go to figures/, or --output
    python figures.py losses runs        # from the log, also while a run trains
    python figures.py page runs          # one HTML file that plays: page.html, or --output
    python figures.py forgetting runs    # all methods while they learn: forgetting.gif, or --output
    python figures.py tensorboard runs   # event files beside each run; --follow: while it trains
    python figures.py paint runs/mnist__mergan_ra__1 --category 3 -n 64 -o threes.png

paint draws any categories with one generator. Of runs that differ only in the seed, curves shows
mean and spread, tensorboard writes all, and the others show the one with the lowest seed.
"""

import argparse
import sys
from pathlib import Path

from common import use_any_encoding
from files import CannotWrite
from pictures import curves, evolution, forgetting, losses, page, paint, samples, tensorboard, tsne
from pictures.canvas import INSTALL
from pictures.groups import all_names, find_groups, find_name

NAMES = ("samples", "evolution", "curves", "tsne")
FILES = {"page": "page.html", "forgetting": "forgetting.gif"}  # pictures that are one file


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    metavar = "{samples,evolution,curves,tsne,all,losses,page,forgetting,tensorboard,paint}"
    commands = parser.add_subparsers(dest="figure", required=True, metavar=metavar)
    for name in [*NAMES, "all", "losses"]:
        add = commands.add_parser(name).add_argument
        paths_help = "runs, or folders that hold some"
        if name == "curves":
            paths_help = "runs, folders that hold some, copies of eval.json"
        add("paths", nargs="+", metavar="RUN_OR_DIR", help=paths_help)
        add("-o", "--output", type=Path, default="figures", help="folder of the files [figures]")
        if name not in ("samples", "curves", "losses"):
            add("--category", default="0", help="name or index of the category shown [0]")
        if name in ("tsne", "all"):
            tasks_help = "after which tasks [first, middle and last]"
            add("--tasks", type=int, nargs="+", help=tasks_help)
            points_help = "real images, and as many generated [500]"
            add("--points", type=int, default=500, help=points_help)
            add("--data-dir", help="folder of the real data [where the run found it]")
            add("--cache-dir", help="place of the judge [the run's]")
    for name, file in FILES.items():
        add = commands.add_parser(name).add_argument
        add("paths", nargs="+", metavar="RUN_OR_DIR", help="runs, or folders that hold some")
        add("-o", "--output", type=Path, default=file, help="the file [%(default)s]")
    add = commands.add_parser("tensorboard").add_argument
    add("paths", nargs="+", metavar="RUN_OR_DIR", help="runs, or folders that hold some")
    add("--follow", action="store_true", help="go on until all runs are finished, or Ctrl-C")
    add = commands.add_parser("paint").add_argument
    add("run", type=Path, metavar="RUN", help="a run directory, or a snapshot in one")
    category_help = "names or indices, a row each if several [all]"
    add("--category", nargs="+", default=["all"], help=category_help)
    add("-n", type=int, default=64, help="images of each category [64]")
    add("--seed", type=int, default=0, help="of z, the same for every category [0]")
    add("--interpolate", action="store_true", help="n steps from one z to another")
    add("-o", "--output", type=Path, default="paint.png", help="the file [paint.png]")
    args = parser.parse_args()
    if args.figure == "paint":
        if abs(args.seed) >= 2**62:
            parser.error(f"--seed is {args.seed}, expected a number below 2^62")
        if args.n < 1 + args.interpolate:
            parser.error(f"-n is {args.n}, expected at least {1 + args.interpolate}")
        if args.output.suffix not in (".png", ".jpg", ".jpeg"):
            expected = "a file name that ends in .png or .jpg"
            parser.error(f"--output is {args.output}, expected {expected}")
    elif args.figure in FILES:
        suffix = Path(FILES[args.figure]).suffix
        if args.output.suffix != suffix:
            expected = f"a file name that ends in {suffix}"
            parser.error(f"--output is {args.output}, expected {expected}")
    elif args.figure == "tensorboard":
        pass  # its files lie beside the runs
    elif args.output.suffix in (".png", ".gif") or args.output.is_file():
        parser.error(f"--output is {args.output}, expected a folder")
    if "points" in args and args.points < 2:
        parser.error(f"--points is {args.points}, expected at least 2")
    return args


def draw(name, groups, category, args, skipped):
    """One picture of the groups. category: its name; skipped: a list of files not readable."""
    if name == "samples":
        samples.draw(groups, args.output, skipped)
    elif name == "evolution":
        evolution.draw(groups, args.output, category, skipped)
    elif name == "curves":
        curves.draw(groups, args.output, args.paths)
    elif name == "losses":
        losses.draw(groups, args.output, skipped)
    elif name == "page":
        page.draw(groups, args.output, skipped)
    elif name == "forgetting":
        forgetting.draw(groups, args.output, skipped)
    else:
        data = dict(data_dir=args.data_dir, cache_dir=args.cache_dir)
        tsne.draw(groups, args.output, category, args.tasks, args.points, **data, skipped=skipped)


def main():
    use_any_encoding()
    args = parse_args()
    try:
        draw_all(args)
    except CannotWrite as error:
        sys.exit(f"error: {error}; make room, or choose another --output")
    except OSError as error:
        # An error of Pillow names no file; tensorboard writes beside the runs
        place = error.filename or vars(args).get("output") or args.paths[0]
        advice = "make room"
        if "output" in args:
            advice += ", or choose another --output"
        sys.exit(f"error: {place} cannot be written ({error.strerror or error}); {advice}")


def draw_all(args):
    """What the command line asks for; exits with a line for each picture that was not drawn."""
    if args.figure == "paint":
        choice = (args.category, args.n, args.seed, args.interpolate)
        paint.draw(args.run, args.output, *choice)
        return
    skipped, failures = [], []
    if args.figure == "tensorboard":
        tensorboard.write(args.paths, args.follow, skipped, INSTALL)
        tell_failures(skipped, failures)
        return
    folder = args.output.parent if args.figure in FILES else args.output
    folder.mkdir(parents=True, exist_ok=True)
    groups = find_groups(args.paths, skipped, scores=args.figure == "curves")
    category = None
    if "category" in args:
        names = all_names(groups)
        category = find_name(args.category, names)
        if category is None:
            expected = f"expected 0 to {len(names) - 1}, or a name: {', '.join(names)}"
            sys.exit(f"error: --category is {args.category}, {expected}")
    for name in NAMES if args.figure == "all" else [args.figure]:
        try:
            draw(name, groups, category, args, skipped)
        except SystemExit as error:
            failures.append(str(error))
    tell_failures(skipped, failures)


def tell_failures(skipped, failures):
    """Exit with a line for each failure, if there is one. skipped: files not readable."""
    if skipped:
        unreadable = "; ".join(dict.fromkeys(skipped))
        failures.append(f"error: skipped, not readable as ours: {unreadable}")
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
