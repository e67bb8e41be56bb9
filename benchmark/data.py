"""How fast images are decoded, and what it costs to draw batches from a large memory map.

    python benchmark/data.py    # a table, and results/data_cpu.json; takes 5 GB of disk for a while

Decoding: JPEGs of 341×256 pixels made here, in one thread and on all cores. Drawing: 400 000 images
of 64×64 in four categories, as LSUN in the paper, task by task and all categories at once, by a
process of its own. "waiting" is the share of time that draw() waits for the reader, while every
batch is followed by --work milliseconds of something else.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from common import RealImages  # noqa: E402
from datafiles.decode import decode  # noqa: E402


def decoding(threads):
    """Images per second."""
    random = np.random.default_rng(0)
    # A JPEG with coarse shapes and some noise, as a photograph has
    coarse = Image.fromarray(random.integers(0, 256, (16, 21, 3), np.uint8))
    smooth = np.asarray(coarse.resize((341, 256))).astype(int)
    noisy = smooth + random.integers(-8, 9, smooth.shape)
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG")
    data = buffer.getvalue()

    def decode_it(_):
        decode(io.BytesIO(data), 64, False)

    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        list(pool.map(decode_it, range(2000)))
        return 2000 / (time.perf_counter() - started), len(data)


def draw(path, joint, work):
    """Prints JSON: share of time waiting, peak resident memory in GB, imports included. Linux."""
    images = np.memmap(path, np.uint8, "c", shape=(400_000, 3, 64, 64))
    real_images = RealImages(
        images, torch.arange(4).repeat_interleave(100_000), torch.device("cpu")
    )
    waited = total = 0.0
    for y in [torch.arange(4)] if joint else torch.arange(4).split(1):
        real_images.begin(y, 64 // len(y))
        for _ in range(500):
            started = time.perf_counter()
            real_images.pending.result()  # what draw() begins with
            waited += time.perf_counter() - started
            real_images.draw(y, 64 // len(y))
            time.sleep(work / 1000)
            total += time.perf_counter() - started
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1e6  # getrusage would count what the parent took
    print(json.dumps({"waiting_percent": 100 * waited / total, "peak_gb": peak}))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=float, default=20.0, help="milliseconds between batches [20]"
    )
    parser.add_argument("--draw", nargs=2, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.draw:
        return draw(args.draw[0], args.draw[1] == "joint", args.work)
    report = {
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "work_ms": args.work,
    }
    for threads in (1, os.cpu_count()):
        report[f"decoded_per_second_{threads}_threads"], report["jpeg_bytes"] = decoding(threads)
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        path = Path(folder) / "images.u8"
        block = np.random.default_rng(0).integers(0, 256, (10_000, 3, 64, 64), np.uint8).tobytes()
        with open(path, "wb") as file:
            for _ in range(40):
                file.write(block)
        for kind in ("tasks", "joint"):
            command = [
                sys.executable,
                __file__,
                "--draw",
                str(path),
                kind,
                "--work",
                str(args.work),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            report[kind] = json.loads(done.stdout.splitlines()[-1])
    (ROOT / "results" / "data_cpu.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
