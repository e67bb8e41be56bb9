"""The log of a run as TensorBoard's event files, beside the run; also while it trains."""

import sys
import time

from pictures.canvas import INSTALL
from pictures.losses import NO_LOSS, read_log
from scoring.runs import SavedRun, find_runs, no_run
from support.files import reading

PAUSE = 5  # seconds between two looks at a log that is followed


def write(paths, follow):
    """Write the event files of all runs at or below paths, in the folder tensorboard/ of each.

    follow: go on while they train, and take in runs that begin, until all are finished or Ctrl-C.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        sys.exit(f"error: figures.py tensorboard needs tensorboard; {INSTALL}")
    writers, written = {}, {}  # by the path of a run: its writer, and the lines that it has written
    try:
        while True:
            runs = []
            for path in find_runs(paths):
                with reading(path):
                    runs.append(SavedRun(path))
            if not runs:
                sys.exit(no_run(paths))
            finished = all(run.finished() for run in runs)  # asked first: no line comes between
            for run in runs:
                log, path = read_log(run), run.path
                # Begin anew where a run has gone back to a checkpoint and repeats steps
                if path not in writers or log[: len(written[path])] != written[path]:
                    if path in writers:
                        writers[path].close()
                    writers[path] = begin(path / "tensorboard", SummaryWriter)
                    written[path] = []
                add(writers[path], run, log[len(written[path]) :])
                written[path] = log
            if finished or not follow:
                break
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        pass
    print(f"look at them with: tensorboard --logdir {paths[0]}")


def begin(folder, writer):
    """A writer of new event files, which lets a TensorBoard forget those from before."""
    for path in folder.glob("events.out.tfevents.*"):
        path.unlink()
    return writer(folder, purge_step=0)


def add(writer, run, lines):
    """Add lines of a run's log to its event files."""
    begun = (run.path / "args.json").stat().st_mtime
    for line in lines:
        # Wall times without the pauses between two starts of the run
        at = {"global_step": line["at"], "walltime": begun + line["elapsed"]}
        for name in line.keys() - NO_LOSS:
            writer.add_scalar(f"loss/{name}", line[name], **at)
        writer.add_scalar("training/task", line["task"], **at)
        writer.add_scalar("training/steps_per_second", line["it_per_s"], **at)
    writer.flush()
    if lines:
        print(f"wrote {len(lines)} lines of the log to {run.path / 'tensorboard'}", flush=True)
