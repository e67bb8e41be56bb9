"""Paths, files that are whole or not there at all, locks, and lines that are printed."""

import contextlib
import json
import os
import sys
import unicodedata

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def reason(error):
    """The first line of what an exception says; its type if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class CannotWrite(OSError):
    """A file that cannot be written; the text names it and says why."""


@contextlib.contextmanager
def writing(path):
    """Raise CannotWrite, which names the file, where writing to it fails."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save has errors of its own
        cause = getattr(error, "strerror", None) or reason(error)
        raise CannotWrite(f"{path} cannot be written ({cause})") from error


@contextlib.contextmanager
def reading(path, advice="restore it"):
    """Exit with one line that names the file, if it is there and not what the code below expects."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {reason(error)}"
        sys.exit(f"error: {path} is damaged or not ours ({cause}); {advice}")


def write(path, save):
    """Let save(file) write a file, then put it in place.

    A kill or a full disk leaves the old file, never half a new one. Several processes may do so.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            save(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path, value):
    """Write a value as JSON, as write() does."""
    text = json.dumps(value, indent=1) + "\n"
    write(path, lambda file: file.write_text(text))


def hold_lock(path):
    """Lock a file for this process. Returns it, open: closing it or the process's end unlocks it.

    BlockingIOError if another process holds it. Where nothing can be locked, a line says so.
    """
    file = open(path, "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    except (OSError, AttributeError):  # some network disks, Windows
        say(f"warning: {path.parent} cannot be locked; let no other process write there")
    return file


def control_characters(text):
    """Whether a text holds a line end or another control character."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def check_path(option, path):
    """Exit if a control character is in a path, as at the ends of a list's lines from Windows."""
    if control_characters(str(path)):
        sys.exit(
            f"error: {option} is {str(path)!r}, expected no control characters; "
            "if it comes from a file, save that with Unix line ends"
        )


def say(line):
    """Print a line at once. A reader that is gone, or a full disk, does not end the process."""
    try:
        print(line, flush=True)
    except OSError:
        # From now on nobody reads; Python's own flush at the end must not fail either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def use_any_encoding():
    """Print escapes for what standard output cannot show, instead of an error.

    Every command calls this once, where it starts.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a stream that a notebook or a test put there may not
            stream.reconfigure(errors="backslashreplace")
