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

import torch

from common import use_any_encoding
from pictures import canvas  # noqa: F401, first: it tells how to install what all others need
from pictures import curves, evolution, forgetting, losses, page, paint, samples, tensorboard, tsne
from pictures.film import load_films
from pictures.groups import find_groups
from support.files import CannotWrite

ALL = ("samples", "evolution", "curves", "tsne")  # what the verb all draws
FILES = {"page": "page.html", "forgetting": "forgetting.gif", "paint": "paint.png"}  # not a folder
FILMS = ("samples", "evolution", "page", "forgetting")  # drawn from films


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in (*ALL, "all", "losses", *FILES, "tensorboard"):
        add = verbs.add_parser(verb).add_argument
        if verb == "paint":
            add("run", type=Path, metavar="RUN", help="a run, or a snapshot in one")
            names_help = "names or indices, a row each if several [all]"
            add("--category", nargs="+", default=["all"], help=names_help)
            add("-n", type=number(1), default=64, help="images of each category [64]")
            add("--seed", type=number(0), default=0, help="of z, the same for every category [0]")
            add("--interpolate", action="store_true", help="n steps from one z to another")
        else:
            paths_help = "runs, folders that hold some, or copies of eval.json"
            add("paths", nargs="+", metavar="RUN_OR_DIR", help=paths_help)
        if verb == "tensorboard":
            add("--follow", action="store_true", help="go on until all are finished, or Ctrl-C")
            continue
        output_help = "a folder/, or for page, forgetting and paint a file [%(default)s]"
        add("-o", "--output", default=FILES.get(verb, "figures/"), help=output_help)
        if verb in ("evolution", "tsne", "all"):
            add("--category", default="0", help="name or index of the category shown [0]")
        if verb in ("tsne", "all"):
            tasks_help = "after which tasks [first, middle and last]"
            add("--tasks", type=int, nargs="+", help=tasks_help)
            add("--data-dir", help="folder of the real data [where the run found it]")
            add("--cache-dir", help="place of the judge [the run's]")
    args = parser.parse_args()
    if "output" in args:
        check_output(parser, args)
    return args


def number(least):
    """A parser of whole numbers from least to what a seed of PyTorch may be."""

    def parse(text):
        if not text.isdecimal() or not least <= int(text) < 2**62:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} to 2^62")
        return int(text)

    return parse


def check_output(parser, args):
    """Make args.output a path, a folder in args.folder; refuse one of the other kind."""
    suffix = Path(FILES.get(args.verb, "")).suffix
    text, args.output = args.output, Path(args.output)
    args.folder = text.endswith("/") or args.output.is_dir()
    if not suffix and args.output.suffix in (".png", ".gif", ".html"):
        parser.error(f"--output is {text}, expected a folder")
    if args.verb == "paint" and args.folder:
        if args.interpolate:
            parser.error(f"--interpolate draws one picture, but --output is the folder {text}")
    elif suffix and args.output.suffix != suffix:
        folder = ", or a folder that ends in /" if args.verb == "paint" else ""
        parser.error(f"--output is {text}, expected a file name that ends in {suffix}{folder}")


class Problems(list):
    """Lines about what is left out of the pictures, each told as soon as it is found."""

    def append(self, line):
        print(f"error: {line}", file=sys.stderr, flush=True)
        super().append(line)


def draw_all(args):
    """What the command line asks for; exits with 1 if something was not drawn."""
    if args.verb == "tensorboard":
        tensorboard.write(args.paths, args.follow)
        return
    if args.verb == "paint":
        choice = (args.run, args.output, args.category, args.n, args.seed)
        if args.folder:
            paint.export(*choice)
        else:
            paint.draw(*choice, args.interpolate)
        return
    problems = Problems()
    groups = find_groups(args.paths)
    verbs = ALL if args.verb == "all" else [args.verb]
    films = load_films(groups, problems) if set(verbs) & set(FILMS) else []
    for verb in verbs:
        try:
            if films or verb not in FILMS:
                draw(verb, groups, films, args, problems)
        except SystemExit as error:
            problems.append(str(error).removeprefix("error: "))
    if problems:
        sys.exit(1)


def draw(verb, groups, films, args, problems):
    """One picture of the groups."""
    if verb == "samples":
        samples.draw(films, args.output, problems)
    elif verb == "evolution":
        evolution.draw(films, args.output, args.category)
    elif verb == "curves":
        curves.draw(groups, args.output, problems)
    elif verb == "losses":
        losses.draw(groups, args.output)
    elif verb == "page":
        page.draw(films, args.output)
    elif verb == "forgetting":
        forgetting.draw(films, args.output)
    else:
        tsne.draw(groups, args.output, args.category, args.tasks, args.data_dir, args.cache_dir)


def main():
    torch.set_num_threads(1)  # a sum that several threads share is rounded otherwise
    use_any_encoding()
    args = parse_args()
    try:
        draw_all(args)
    except OSError as error:
        found = error
        if not isinstance(error, CannotWrite):
            found = f"{error.filename} cannot be written ({error.strerror or error})"
        sys.exit(f"error: {found}; make room, or choose another --output")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command continues")


if __name__ == "__main__":
    main()
