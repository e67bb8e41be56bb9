"""Runs a method script in a process that writes its files although it may not be the first one.

    both_write.py METHOD OPTIONS    # the files of process r have rank_r_ before their names, too

So a test sees what every process holds; a script writes only the first one's files. Beside them lie
the images and noise of its first step, rank_r_drawn.pt.
"""

import importlib
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
import common


def main():
    script = importlib.import_module(sys.argv.pop(1))
    write = script.Run.write
    load = common.RealImages.load
    drawn = []

    def also_write(run, name, save, *content):
        write(run, name, save, *content)
        path = run.directory / name
        save(*content, path.with_name(f"rank_{script.RANK}_{path.name}"))
        torch.save(drawn[:1], run.directory / f"rank_{script.RANK}_drawn.pt")

    def also_keep(real_images, step):
        load(real_images, step)
        state = torch.get_rng_state()
        drawn.append({"images": real_images.batches.clone(), "noise": torch.randn(4)})
        torch.set_rng_state(state)

    script.Run.write = also_write
    common.RealImages.load = also_keep
    script.main()


if __name__ == "__main__":
    main()
