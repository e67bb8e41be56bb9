"""A folder that one process writes at a time."""

import contextlib
import sys
import time

from support.files import hold_lock, say


@contextlib.contextmanager
def lock(folder, option):
    """A folder, made if need be, for this process only; others wait for it.

    option: what to change, for the message, where the folder cannot be written.
    """
    waiting = False
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = hold_lock(folder / "lock")
            break
        except BlockingIOError:
            if not waiting:
                say(f"data: waiting for another process to make {folder} ready")
            waiting = True
            time.sleep(0.2)
        except OSError as error:
            sys.exit(f"error: {folder} cannot be written ({error}); choose another {option}")
    if file is None:
        found = f"{folder} cannot be locked, as its file system has no locks"
        say(f"warning: {found}; let no other process write there")
    try:
        yield
    finally:
        if file:
            file.close()
