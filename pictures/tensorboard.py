"""The log of a run as TensorBoard's event files, beside the run; also while it trains."""

import sqlite3
import sys
import time

from pictures.losses import is_loss, read_log
from scoring.runs import Run, find_runs, no_run

PAUSE = 5  # seconds between two looks at a log that is followed


class Events:
    """The event files of one run, in its folder tensorboard/, as far as its log is written there.

    They are always written whole from the log: a run that continued from a checkpoint has repeated
    some steps, and a second start must not write points twice.
    """

    def __init__(self, run, writer):
        """writer: the class SummaryWriter. Raises sqlite3.OperationalError where another process
        writes the files ("database is locked"), and where they cannot be written.
        """
        self.run, self.make_writer = run, writer
        self.folder = run.path / "tensorboard"
        self.folder.mkdir(exist_ok=True)
        self.lock = sqlite3.connect(self.folder / "lock", timeout=0)
        self.lock.execute("BEGIN EXCLUSIVE")  # the system frees it when the process ends
        self.writer, self.written = None, []
        self.finished = False  # the log will not grow any more

    def update(self):
        """Write what the log holds more. Returns how many lines were written."""
        finished = self.run.finished()  # asked first, so that no line comes between
        log = read_log(self.run)
        if self.writer is None or log[: len(self.written)] != self.written:
            self.start_anew()
        lines = log[len(self.written) :]
        begun = (self.run.path / "args.json").stat().st_mtime
        for line in lines:
            # Wall times without the pauses between two starts of the run
            at = {"global_step": line["at"], "walltime": begun + line["elapsed"]}
            for name, value in line.items():
                if is_loss(name):
                    self.writer.add_scalar(f"loss/{name}", value, **at)
            self.writer.add_scalar("training/task", line["task"], **at)
            self.writer.add_scalar("training/steps_per_second", line["it_per_s"], **at)
        self.writer.flush()
        self.written, self.finished = log, finished
        return len(lines)

    def start_anew(self):
        """Delete the event files, and tell a TensorBoard that has read them to forget them."""
        if self.writer is not None:
            self.writer.close()
        for path in self.folder.glob("events.out.tfevents.*"):
            path.unlink()
        self.writer, self.written = self.make_writer(self.folder, purge_step=0), []

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.lock.close()


def write(paths, follow, install):
    """Write the event files of all runs at or below paths.

    follow: go on while they train, and take in runs that begin, until all are finished or Ctrl-C.
    install: the command that installs what is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        sys.exit(f"error: figures.py tensorboard needs tensorboard; {install}")
    open_events, refused, problems = {}, set(), []
    try:
        while True:
            problems.clear()
            found = find_runs(paths)
            if not found:
                sys.exit(no_run(paths))
            for path in found:
                look(path, SummaryWriter, open_events, refused, problems)
            if not follow or all(events.finished for events in open_events.values()):
                break
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        pass
    finally:
        for events in open_events.values():
            events.close()
    if open_events:
        print(f"look at them with: tensorboard --logdir {paths[0]}")
    if refused:
        busy = ", ".join(map(str, sorted(refused)))
        problems.append(f"another process writes the event files of {busy}; wait, or end it")
    if problems:
        sys.exit("error: " + "; ".join(problems))


def look(path, writer, open_events, refused, problems):
    """Write what is new of one run. open_events: {path of a run: its Events}, added to.

    refused: paths of runs whose files another process writes, added to.
    """
    try:
        if path not in open_events:
            open_events[path] = Events(Run(path), writer)
            refused.discard(path)
        count = open_events[path].update()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            refused.add(path)
        else:
            problems.append(f"{path / 'tensorboard'} cannot be written ({error})")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problems.append(f"{path} is not readable as ours ({type(error).__name__}: {error})")
    else:
        if count:
            print(f"wrote {count} lines of the log to {path / 'tensorboard'}", flush=True)
