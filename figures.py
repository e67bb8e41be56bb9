"""Pictures of what is learned and forgotten.

Needs: pip install -r requirements-extras.txt

    python figures.py samples runs       # every category after the last task (MeRGAN figure 3)
    python figures.py evolution runs     # one category after each task (figures 5 and 7)
    python figures.py curves runs        # accuracy of the past over training, from eval.json
    python figures.py tsne runs          # real and generated images to the judge (figure 4)
    python figures.py all runs           # all four; files go to figures/, or --output
    python figures.py losses runs        # from the log, also while a run trains
    python figures.py page runs          # one HTML file that plays: page.html, or --output
    python figures.py forgetting runs    # all methods while they learn: forgetting.gif, or --output
    python figures.py tensorboard runs   # event files beside each run; --follow: while it trains
    python figures.py paint runs/mnist__mergan_ra__1 --category 3 -n 64 -o threes.png
    python figures.py paint runs/mnist__mergan_ra__1 -n 1000 -o single/    # <category>/0001.png, …

samples, evolution, forgetting and page draw from film.npz, which eval.py writes beside eval.json.
So they and curves draw from copies too: python figures.py curves results/mnist/*.json (the film of
x.json is x.npz). Of runs that differ only in the seed, curves shows mean and spread, tensorboard
writes all, and the others show the one with the lowest seed.
"""

import argparse
import sys
from pathlib import Path

from common import use_any_encoding
from pictures import canvas  # first: it tells how to install what all others need
from pictures import curves, evolution, forgetting, losses, page, paint, samples, tensorboard, tsne
from pictures.film import load_films
from pictures.groups import all_names, find_groups, find_name
from support.files import CannotWrite

NAMES = ("samples", "evolution", "curves", "tsne")
FILES = {"page": "page.html", "forgetting": "forgetting.gif"}  # pictures that are one file
FILMS = ("samples", "evolution", *FILES)  # drawn from films
COPIES = ("all", "curves", *FILMS)  # drawn from copies of scores and films
PICTURES = (".png", ".jpg", ".jpeg")


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    metavar = "{samples,evolution,curves,tsne,all,losses,page,forgetting,tensorboard,paint}"
    commands = parser.add_subparsers(dest="figure", required=True, metavar=metavar)
    for name in [*NAMES, "all", "losses", *FILES, "tensorboard"]:
        add = commands.add_parser(name).add_argument
        paths_help = "runs, or folders that hold some"
        if name in COPIES:
            paths_help = "runs, folders that hold some, copies of eval.json"
        add("paths", nargs="+", metavar="RUN_OR_DIR", help=paths_help)
        if name == "tensorboard":
            add("--follow", action="store_true", help="go on until all are finished, or Ctrl-C")
        elif name in FILES:
            add("-o", "--output", type=Path, default=FILES[name], help="the file [%(default)s]")
        else:
            add("-o", "--output", type=Path, default="figures", help="folder of files [figures]")
        if name in ("evolution", "tsne", "all"):
            add("--category", default="0", help="name or index of the category shown [0]")
        if name in ("tsne", "all"):
            tasks_help = "after which tasks [first, middle and last]"
            add("--tasks", type=int, nargs="+", help=tasks_help)
            points_help = "real images, and as many generated [500]"
            add("--points", type=int, default=500, help=points_help)
            add("--data-dir", help="folder of the real data [where the run found it]")
            add("--cache-dir", help="place of the judge [the run's]")
    add = commands.add_parser("paint").add_argument
    add("run", type=Path, metavar="RUN", help="a run directory, or a snapshot in one")
    category_help = "names or indices, a row each if several [all]"
    add("--category", nargs="+", default=["all"], help=category_help)
    add("-n", type=int, default=64, help="images of each category [64]")
    add("--seed", type=int, default=0, help="of z, the same for every category [0]")
    add("--interpolate", action="store_true", help="n steps from one z to another")
    add("-o", "--output", default="paint.png", help="a file, or a folder/ [paint.png]")
    args = parser.parse_args()
    if args.figure == "paint":
        check_paint(parser, args)
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


def check_paint(parser, args):
    """Refuse what paint cannot draw. Sets args.single: whether the output is a folder."""
    if abs(args.seed) >= 2**62:
        parser.error(f"--seed is {args.seed}, expected a number below 2^62")
    if args.n < 1 + args.interpolate:
        parser.error(f"-n is {args.n}, expected at least {1 + args.interpolate}")
    args.single = args.output.endswith("/") or Path(args.output).is_dir()
    args.output = Path(args.output)
    if args.single and args.interpolate:
        parser.error(f"--interpolate draws one picture, but --output is the folder {args.output}")
    if not args.single and args.output.suffix not in PICTURES:
        expected = "a file name that ends in .png or .jpg, or a folder that ends in /"
        parser.error(f"--output is {args.output}, expected {expected}")


def main():
    use_any_encoding()
    args = parse_args()
    try:
        draw_all(args)
    except OSError as error:
        found = error
        if not isinstance(error, CannotWrite):
            found = f"{error.filename} cannot be written ({error.strerror or error})"
        sys.exit(f"error: {found}; make room, or choose another --output")


class Problems(list):
    """Lines about what cannot be read or drawn, each told as soon as it is found."""

    def append(self, line):
        if line not in self:
            print(f"error: {line}", file=sys.stderr, flush=True)
            super().append(line)


def draw_all(args):
    """What the command line asks for; exits with 1 if something was not drawn."""
    if args.figure == "paint":
        choice = (args.category, args.n, args.seed)
        if args.single:
            paint.export(args.run, args.output, *choice)
        else:
            paint.draw(args.run, args.output, *choice, args.interpolate)
        return
    if args.figure == "tensorboard":
        tensorboard.write(args.paths, args.follow, canvas.INSTALL)
        return
    problems = Problems()
    folder = args.output.parent if args.figure in FILES else args.output
    folder.mkdir(parents=True, exist_ok=True)
    groups = find_groups(args.paths, problems, copies=args.figure in COPIES)
    args.category = chosen_category(args, groups)
    names = NAMES if args.figure == "all" else [args.figure]
    films = []
    if set(names) & set(FILMS):
        films = load_films(groups, problems)
    for name in names:
        try:
            if films or name not in FILMS:
                draw(name, groups, films, args, problems)
        except SystemExit as error:
            problems.append(str(error).removeprefix("error: "))
    if problems:
        sys.exit(1)


def chosen_category(args, groups):
    """The name of the category that is asked for, None where a picture shows all."""
    if "category" not in args:
        return None
    names = all_names(groups)
    category = find_name(args.category, names)
    if category is None:
        expected = f"expected 0 to {len(names) - 1}, or a name: {', '.join(names)}"
        sys.exit(f"error: --category is {args.category}, {expected}")
    return category


def draw(name, groups, films, args, problems):
    """One picture of the groups."""
    if name == "samples":
        samples.draw(films, args.output, problems)
    elif name == "evolution":
        evolution.draw(films, args.output, args.category)
    elif name == "curves":
        curves.draw(groups, args.output)
    elif name == "losses":
        losses.draw(groups, args.output, problems)
    elif name == "page":
        page.draw(films, args.output)
    elif name == "forgetting":
        forgetting.draw(films, args.output)
    else:
        data = {"data_dir": args.data_dir, "cache_dir": args.cache_dir}
        tsne.draw(groups, args.output, args.category, args.tasks, args.points, problems, **data)


if __name__ == "__main__":
    main()
