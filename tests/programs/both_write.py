"""Runs a method script in a process that writes its files although it may not be the first one.

    both_write.py METHOD OPTIONS    # the files of process r have rank_r_ before their names, too

So a test sees what every process holds; a script writes only the first one's files.
"""

import importlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


def main():
    script = importlib.import_module(sys.argv.pop(1))

    def write(path, save):
        save(path.with_name(f"rank_{script.RANK}_{path.name}"))
        if script.RANK == 0:
            temporary = path.with_name(path.name + ".tmp")
            save(temporary)
            os.replace(temporary, path)

    script.write = write
    script.main()


if __name__ == "__main__":
    main()
