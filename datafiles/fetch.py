"""What every download needs: patience that ends, checksums, and one line for an error."""

import contextlib
import hashlib
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


def md5(path):
    """Hexadecimal MD5 of a file."""
    return hashlib.md5(path.read_bytes()).hexdigest()


def reason(error):
    """The first line of what an exception says, or its type if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
