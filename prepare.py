"""Puts a data set on disk ahead of training, which otherwise does it when it starts.

Fetches and verifies official files; decodes LSUN and folders of images into their cache.

    python prepare.py --dataset mnist
    python prepare.py --dataset folder --data-dir holidays
"""

import argparse
import sys

import torch

from common import add_data_options, data_options, load_dataset, use_any_encoding


def main():
    use_any_encoding()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_options(parser)
    options = data_options(vars(parser.parse_args()))
    try:
        for split in ("train", "test"):
            images, labels, names = load_dataset(split=split, **options)
            counts = torch.bincount(labels, minlength=len(names)).tolist()
            text = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts))
            print(f"{split}: {text}; {list(images.shape[1:])}")
    except OSError as error:
        sys.exit(f"error: {error}; fix that, and the same command continues")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command continues")


if __name__ == "__main__":
    main()
