"""What every download needs: checksums, patience that ends, and one line for an error."""

import contextlib
import gzip
import hashlib
import socket
import sys
import zlib


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


def unpacked(path):
    """The bytes of a file, decompressed if they are gzip's, whatever its name. Raises OSError."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            return gzip.decompress(data)
        except (EOFError, zlib.error) as error:
            raise OSError(f"damaged gzip: {error}") from None
    return data


def md5(data):
    """Hexadecimal MD5 of bytes."""
    return hashlib.md5(data).hexdigest()


def check_content(path, expected):
    """Exit with one line unless a file, packed by gzip or not, holds what has this MD5."""
    try:
        found = md5(unpacked(path))
    except OSError as error:
        sys.exit(f"error: {path} cannot be read ({error}); delete it to have it fetched again")
    if found != expected:
        how = " unpacked" if path.suffix == ".gz" else ""
        sys.exit(
            f"error: {path} has MD5 {found}{how}, expected {expected}; "
            "delete it to have it fetched again"
        )


def check_packed(path, expected, advice):
    """Exit with one line unless a file as it lies there has this MD5."""
    found = md5(path.read_bytes())
    if found != expected:
        sys.exit(
            f"error: {path} has MD5 {found}, expected {expected}; "
            f"delete it to have it fetched again, or {advice}"
        )
