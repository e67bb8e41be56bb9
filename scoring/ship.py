"""Write judges/mnist.json, which is shipped: what real images of MNIST score by the shipped judge.

    python -m scoring.ship --data-dir data    # ten minutes

The accuracy of the judge, and FID and reverse accuracy of real images of the first two, five and
ten digits, by the default options of eval.py, and with --quick. The data folder keeps them too, so
that a stopped command goes on.
"""

import argparse

from scoring.drawing import one_thread
from scoring.judge import FOLDER
from scoring.reference import Reference
from scoring.store import write_json

CATEGORIES = (2, 5, 10)
# Options of eval.py, as they are and with --quick: --fid-samples and --samples
OPTIONS = {10000: 6400, 2000: 640}


def write_scores(data):
    """judges/<data set>.json. data: the arguments of load_dataset, less split."""
    scores = {}
    for fid_samples, samples in OPTIONS.items():
        reference = Reference(data, fid_samples=fid_samples)
        reference.open_judge()
        reference.known = scores  # instead of what is shipped
        print(f"accuracy of the judge: {reference.accuracy:.2f} %")
        for categories in CATEGORIES:
            reference.floor(list(range(categories)), samples)
    for categories in CATEGORIES:  # which take minutes
        reference.ceiling(list(range(categories)))
    path = FOLDER / f"{data['dataset']}.json"
    write_json(path, {"data": reference.data, "scores": scores})
    print(f"wrote {path}")


@one_thread()
def main():
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m scoring.ship", description=__doc__, formatter_class=about
    )
    parser.add_argument("--data-dir", default="data", help="folder of the data [%(default)s]")
    args = parser.parse_args()
    write_scores({"dataset": "mnist", "data_dir": args.data_dir})


if __name__ == "__main__":
    main()
