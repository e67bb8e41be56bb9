"""Scores kept on disk under a name that holds all they depend on: what was scored, and the code."""

import ast
import contextlib
import functools
import hashlib
import inspect
import json
import os
import sys
from pathlib import Path
from types import FunctionType, ModuleType

import torch

ROOT = Path(__file__).resolve().parent.parent


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


class CannotWrite(Exception):
    """A file that cannot be written, and why."""


def write_json(path, value):
    """Write a value in one step, as in_one_step() does. CannotWrite says why where that fails."""
    text = json.dumps(value, indent=1) + "\n"
    try:
        in_one_step(path, lambda file: file.write_text(text))
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written ({error.strerror})") from error


def in_one_step(path, save):
    """Let save(file) write a file, then put it in place.

    A kill or a full disk leaves the old file, never half a new one. Several processes may do so.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        save(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def try_writing(folder):
    """Make a folder if need be, and a file in it, before long work whose results go there."""
    probe = folder / f"eval_cache.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("\n")
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be written ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def code_version(*functions, methods_of=()):
    """Digest of what functions compute: their source and that of all they use.

    Used is what they name: functions, classes and constants of this project, and what those use;
    and what they call on an argument, if a class in methods_of has a method of that name.
    Docstrings, comments and layout do not count.
    """
    texts, waiting, visited = [], list(functions), set()
    while waiting:
        function = unwrapped(waiting.pop())
        if function in visited:
            continue
        visited.add(function)
        module = sys.modules[function.__module__]
        tree = definitions(module)[function.__qualname__]
        texts.append(ast.unparse(tree))  # laid out anew, without comments
        for name, value in used(tree, vars(module), methods_of):
            if isinstance(value, (FunctionType, type)):
                waiting.append(value)
            else:
                texts.append(f"{name} = {value!r}")
    return digest(sorted(set(texts)))


@functools.cache
def definitions(module):
    """Syntax trees, less docstrings, of a module's classes, functions and methods, by full name."""
    found = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = node
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            found |= {f"{node.name}.{method.name}": method for method in methods}
    for tree in list(found.values()):
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
    return found


def used(tree, scope, methods_of):
    """(name, value) of all that a syntax tree uses: our functions and classes, constants.

    scope: the names of the module that it stands in.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in scope:
            found = [(node.id, scope[node.id])]
        elif isinstance(node, ast.Attribute):
            owners = [owner for owner in methods_of if node.attr in vars(owner)]
            module = scope.get(node.value.id) if isinstance(node.value, ast.Name) else None
            if isinstance(module, ModuleType) and is_ours(module):
                owners.append(module)
            found = [(node.attr, vars(owner)[node.attr]) for owner in owners]
        else:
            continue
        for name, value in found:
            value = unwrapped(value)
            if isinstance(value, (FunctionType, type)):
                if is_ours(sys.modules.get(value.__module__)):
                    yield name, value
            elif isinstance(value, (int, float, str, tuple, list, dict)):
                yield name, value


def unwrapped(value):
    """The function below decorators that keep results, or make a property of it."""
    if isinstance(value, functools.cached_property):
        return value.func
    if isinstance(value, property):
        return value.fget
    return inspect.unwrap(value) if callable(value) else value


def is_ours(module):
    """Whether a module is a file of this project, and not of a virtual environment inside it."""
    file = getattr(module, "__file__", None)
    if file is None:
        return False
    path = Path(file).resolve()
    return path.is_relative_to(ROOT) and "site-packages" not in path.relative_to(ROOT).parts
