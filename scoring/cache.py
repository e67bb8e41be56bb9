"""Scores kept on disk under a name that holds all they depend on: what was scored, and the code."""

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path

import torch

from support.files import CannotWrite, write, writing

ROOT = Path(__file__).resolve().parent.parent
# The files whose code computes scores: where one of them is edited, all scores are computed anew
CODE = ["common.py", "support/layers.py"]
CODE += [f"scoring/{name}.py" for name in ("drawing", "inception", "judge", "metrics")]
CODE += [f"scoring/{name}.py" for name in ("reference", "scores")]


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


def code_version(names=CODE):
    """A digest of files of this project."""
    return digest(*(ROOT / name for name in names))


def cached(path, key, compute):
    """The value of compute() (JSON), kept in the file at path; its key names all it depends on.

    A damaged file counts as none. One that cannot be written is told of; the value is returned.
    """

    def kept():
        try:
            return dict(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return {}

    cache = kept()
    if key not in cache:
        value = compute()
        cache = kept() | {key: value}  # another process may have added to it meanwhile
        try:
            write_json(path, cache)
        except CannotWrite as error:
            lost = "so what was just scored is not kept for the next time"
            print(f"warning: {error}, {lost}; make room", file=sys.stderr)
    return cache[key]


def write_json(path, value):
    """Write a value in one step. CannotWrite says why where that fails."""
    text = json.dumps(value, indent=1) + "\n"
    write(path, lambda file: file.write_text(text))


def try_writing(folder):
    """Make a folder if need be, and a file in it, before long work whose results go there."""
    probe = folder / f"eval_cache.{os.getpid()}.tmp"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_text("\n")
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()
