"""Runs sft.py in processes of which the second one fails in its first step."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import sft


def fail(*arguments):
    raise RuntimeError("the second process fails")


if __name__ == "__main__":
    if sft.RANK == 1:
        sft.generator_loss = fail
    sft.main()
