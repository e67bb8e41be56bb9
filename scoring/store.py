"""Scores kept on disk under a name that holds all they depend on: what was scored, and the code."""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import torch

from support.files import CannotWrite, write_json, writing

ROOT = Path(__file__).resolve().parent.parent
# The code of scores, and what lies beside it: an edit of any of it computes all scores anew
FILES = [ROOT / "common.py", *sorted(ROOT.glob("scoring/[!.]*.py"))]


def digest(*parts):
    """SHA-256 over files (Path), tensors and values that JSON can hold."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            data = part.read_bytes()
        elif torch.is_tensor(part):
            data = part.contiguous().numpy()
        else:
            data = json.dumps(part).encode()
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()


CODE = digest(*FILES)  # of the code that runs: it may be edited meanwhile


def cached(path, key, compute):
    """The value of compute() (JSON), kept in the file at path; its key names all it depends on.

    A damaged file counts as none. One that cannot be written is told of; the value is returned.
    """
    known = read_known(path)
    if key not in known:
        value = compute()
        known = read_known(path) | {key: value}  # another process may have added to it meanwhile
        try:
            write_json(path, known)
        except CannotWrite as error:
            lost = "so what was just scored is not kept for the next time"
            print(f"warning: {error}, {lost}; make room", file=sys.stderr)
    return known[key]


def read_known(path):
    """What a file keeps: {key: value}; nothing if it is not there, or damaged."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def check_writable(folder):
    """Make a folder if need be, and a file in it, before long work whose results go there.

    CannotWrite says why where that fails.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\n")
