"""A file that one process holds at a time, and a folder that one process writes at a time."""

import contextlib
import errno
import sys
import time

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # by someone; other errors: no locks here


def hold_lock(path):
    """The file at a path, open and locked: until it is closed, or the process dies.

    Returns None, with a line, where the file system cannot lock. Raises BlockingIOError where
    someone else holds the lock, and another OSError where the file cannot be opened.
    """
    file = open(path, "ab")
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        file.close()
        if error.errno in HELD:
            raise BlockingIOError(error.errno, "another process holds the lock", path) from None
        print(
            f"warning: {path} cannot be locked, as its file system has no locks "
            f"({error.strerror}); let no other process write there",
            flush=True,
        )
        return None
    return file


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
                print(f"data: waiting for another process to make {folder} ready", flush=True)
            waiting = True
            time.sleep(0.2)
        except OSError as error:
            sys.exit(f"error: {folder} cannot be written ({error}); choose another {option}")
    try:
        yield
    finally:
        if file:
            file.close()
