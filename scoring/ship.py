"""Make what is shipped in judges/: MNIST's judge, and what its real images score by it.

    python -m scoring.ship judge --data-dir data     # trains another judges/mnist.pt
    python -m scoring.ship scores --data-dir data    # writes judges/mnist.json, in ten minutes

The judge that is shipped is older than the first command's code, which makes one that differs in
its last digits. A new judge has scores of its own, which do not compare with those of the old one.
"""

import argparse
import hashlib

import torch

from common import load_dataset
from scoring.cache import write_json
from scoring.judge import EPOCHS, FOLDER, embed, percent_right, train_classifier
from scoring.reference import open_reference

CATEGORIES = (2, 5, 10)
# Options of eval.py, as they are and with --quick: --fid-samples and --samples
OPTIONS = {10000: 6400, 2000: 640}


def make_judge(data):
    """judges/<data set>.pt, trained on all training images; tells its SHA-256, for SHIPPED."""
    images, labels, names = load_dataset(split="train", **data)
    test_images, test_labels, _ = load_dataset(split="test", **data)
    title = "training the judge"
    judge = train_classifier(images, labels, len(names), "cpu", title, epochs=2 * EPOCHS)
    saved = {"judge": judge.state_dict(), "categories": names}
    saved |= {"channels": images.shape[1], "image_size": images.shape[2]}
    path = FOLDER / f"{data['dataset']}.pt"
    torch.save(saved, path)
    right = percent_right(judge, embed(judge, test_images), test_labels)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path}: {right:.2f} % of {len(test_labels)} real test images right, {digest}")


def make_scores(data):
    """judges/<data set>.json: accuracy of the judge, and FID and reverse accuracy of real images.

    Those of the first two, five and ten categories, by the default options of eval.py. The file is
    written after each of them; the data folder keeps them too, so that a stopped command goes on.
    """
    scores = {}
    path = FOLDER / f"{data['dataset']}.json"

    def keep(reference):
        scores.update(reference.known)
        write_json(path, {"data": reference.data, "scores": scores})

    for fid_samples, samples in OPTIONS.items():
        reference = open_reference(data, shipped=False, fid_samples=fid_samples)
        for categories in CATEGORIES:
            reference.floor(list(range(categories)), samples)
        keep(reference)
    for categories in CATEGORIES:  # which take minutes
        reference.ceiling(list(range(categories)))
        keep(reference)
    print(f"wrote {path}")


def main():
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m scoring.ship", description=__doc__, formatter_class=about
    )
    parser.add_argument("what", choices=["judge", "scores"])
    parser.add_argument("--data-dir", default="data", help="folder of the data [%(default)s]")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the same numbers on any machine with as many instructions
    make = {"judge": make_judge, "scores": make_scores}[args.what]
    make({"dataset": "mnist", "data_dir": args.data_dir})


if __name__ == "__main__":
    main()
