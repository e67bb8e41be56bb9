"""What every download needs: patience that ends, and one line for an error."""

import contextlib
import socket


@contextlib.contextmanager
def limited_patience(seconds=20):
    """A firewall that drops packets must not hang the run: connections fail after some seconds."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)


def reason(error, last=False):
    """The first line of what an exception says, or the last; its type if it says nothing."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[-1] if last else lines[0]
