"""Train a judge that is shipped, on all training images, for twice the epochs.

    python -m scoring.ship --dataset fashion    # ten minutes

It lies in judges/<data set>.pt, and is used when scoring/judge.py names its SHA-256.
"""

import argparse
import hashlib

import torch

from common import load_dataset
from scoring.judge import EPOCHS, FOLDER, train_classifier
from support.files import write


def write_judge(dataset, data_dir, epochs=2 * EPOCHS):
    """judges/<dataset>.pt, as shipped_judge() reads it."""
    images, labels, names = load_dataset(dataset, data_dir, "train")
    judge = train_classifier(images, labels, len(names), "cpu", "training the judge", epochs)
    saved = {"judge": judge.state_dict(), "categories": names}
    saved |= {"channels": images.shape[1], "image_size": images.shape[2]}
    path = FOLDER / f"{dataset}.pt"
    write(path, lambda file: torch.save(saved, file))
    print(f"wrote {path}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


def main():
    torch.set_num_threads(1)  # a sum that several threads share is rounded otherwise
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m scoring.ship", description=__doc__, formatter_class=about
    )
    parser.add_argument("--dataset", required=True, choices=("mnist", "fashion"))
    parser.add_argument("--data-dir", default="data", help="folder of the data [%(default)s]")
    args = parser.parse_args()
    write_judge(args.dataset, args.data_dir)


if __name__ == "__main__":
    main()
