"""Downloads that end, are verified, and appear whole; and checksums of what is already there."""

import contextlib
import gzip
import hashlib
import os
import socket
import sys
import tempfile
from pathlib import Path

from torchvision.datasets.utils import download_url

from support.files import reading, reason

TIMEOUT = 20  # seconds, so that a firewall that drops packets does not hang a run
AGAIN = "delete it to have it fetched again"


def unpacked(path):
    """The bytes of a file, decompressed if they are gzip's, whatever its name."""
    with reading(path, AGAIN):
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def check_md5(what, data, expected):
    """Exit with one line unless data has this MD5. what: names the file that it is from."""
    found = hashlib.md5(data).hexdigest()
    if found != expected:
        sys.exit(f"error: {what} has MD5 {found}, expected {expected}; {AGAIN}")


@contextlib.contextmanager
def arriving(folder):
    """A temporary folder whose files move into a folder if the block ends without an error."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        yield Path(temporary)
        for path in Path(temporary).iterdir():
            if path.is_file():
                os.replace(path, folder / path.name)


def download(folder, files):
    """Fetch files into a folder, each verified before it appears there.

    files: (addresses, name, MD5), the addresses being tried in order. Raises OSError.
    """
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        for addresses, name, expected in files:
            with arriving(folder) as temporary:
                download_one(addresses, temporary, name, expected)
    finally:
        socket.setdefaulttimeout(patience)


def download_one(addresses, folder, name, expected):
    """Fetch a file from the first address that has it, with this MD5. Raises OSError."""
    failures = []
    for address in addresses:
        try:
            download_url(address, folder, name, expected)
            return
        except Exception as error:  # torchvision and the network have many
            failures.append(f"{address}: {reason(error)}")
    raise OSError("; ".join(failures))
