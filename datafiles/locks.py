"""A folder that one process writes at a time."""

import contextlib
import sqlite3
import sys


@contextlib.contextmanager
def lock(folder, option):
    """A folder, made if need be, for this process only; others wait for it.

    The system frees the lock when the process dies. option: what to change, for the message, where
    the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(folder / "lock", timeout=0)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            print(f"data: waiting for another process to make {folder} ready", flush=True)
            connection.execute("PRAGMA busy_timeout = 1000000000")
            connection.execute("BEGIN EXCLUSIVE")
    except (OSError, sqlite3.DatabaseError) as error:
        sys.exit(f"error: {folder} cannot be written ({error}); choose another {option}")
    with contextlib.closing(connection):
        yield
