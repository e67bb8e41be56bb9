"""What reverse accuracy depends on: the classifier's own seed, and grey values.

    python benchmark/reverse.py runs/mnist__mergan_ra__2 runs/mnist__mergan_jtr__2

Measures it with several classifiers, of images as they are painted and in black and white; real
test images are then black and white too. Prints each value, and writes all into reverse.json.
"""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import common  # noqa: E402
from scoring.reference import Reference  # noqa: E402
from scoring.runs import SavedRun, compare_data  # noqa: E402
from scoring.scores import draw_as_training_set  # noqa: E402
from support.files import write_json  # noqa: E402


def as_painted(images):
    return images


def black_and_white(images):
    """uint8 0 … 255 → 0 or 255."""
    return (images > 127).to(torch.uint8) * 255


def main():
    common.use_any_encoding()
    torch.set_num_threads(1)  # a sum that several threads share is rounded otherwise
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("runs", type=Path, nargs="+", metavar="RUN")
    add("--seeds", type=int, default=2, help="classifiers for each value [%(default)s]")
    add("--output", type=Path, default=ROOT / "results", help="folder of the file [results]")
    args = parser.parse_args()
    found = {}
    for run in map(SavedRun, args.runs):
        reference = Reference(run.data())
        compare_data(run, reference)
        images, labels, seen = draw_as_training_set(run.ends()[-1], reference)
        real = reference.test_images
        rows = found[run.path.name] = {}
        for convert in (as_painted, black_and_white):
            reference.test_images = convert(real)
            values = rows[convert.__name__] = []
            for seed in range(args.seeds):
                text = f"{run.path.name}, {convert.__name__}, classifier {seed}"
                drawn = convert(images)
                values.append(reference.reverse_accuracy(drawn, labels, seen, text, seed))
                print(f"{text}: {values[-1]:.2f} %", flush=True)
        write_json(args.output / "reverse.json", {"seeds": args.seeds, "rows": found})


if __name__ == "__main__":
    main()
