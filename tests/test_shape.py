"""The house rules: one file per method, whose difference from sft.py is the method and nothing else."""

import argparse
import ast
import difflib
import importlib
import itertools
import sys

import pytest
from conftest import METHODS, ROOT

OTHERS = [method for method in METHODS if method != "sft"]
# Most lines in the file, and most lines removed from and added to sft.py below the docstring.
LIMITS = {
    "sft": (332, 0, 0),
    "joint": (332, 4, 4),
    "mergan_jtr": (349, 3, 20),
    "mergan_ra": (360, 5, 35),
    "ewc": (406, 5, 80),
    "rewc": (506, 5, 180),
    "dgr": (355, 16, 40),
}


def source(script):
    return (ROOT / f"{script}.py").read_text(encoding="utf-8")


def definitions(script):
    """Source text of every function and class at top level, decorators included, by name."""
    lines, blocks = source(script).splitlines(), {}
    for node in ast.parse(source(script)).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            blocks[node.name] = lines[first - 1 : node.end_lineno]
    return blocks


def imports(script):
    """Dotted name of everything imported anywhere in a script, in order."""
    names = []
    for node in ast.walk(ast.parse(source(script))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            head = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names += [head + alias.name for alias in node.names]
    return names


def below_docstring(script):
    return source(script).splitlines()[ast.parse(source(script)).body[0].end_lineno :]


@pytest.mark.parametrize("one, other", list(itertools.combinations(METHODS, 2)))
def test_functions_of_one_name_are_the_same_letter_for_letter(one, other):
    ours, theirs = definitions(one), definitions(other)
    shared = [name for name in ours if name in theirs and name not in ("parse_args", "main")]
    assert {"critic_loss", "gradient_penalty", "generator_loss", "write", "open_run", "save_samples"} <= set(shared)
    assert [name for name in theirs if name in shared] == shared
    assert all(ours[name] == theirs[name] for name in shared)


@pytest.mark.parametrize("method", OTHERS)
def test_imports_stand_in_the_same_order(method):
    ours, theirs = imports("sft"), imports(method)
    assert [name for name in theirs if name in ours] == ours


@pytest.mark.parametrize("method", METHODS)
def test_difference_from_sft_is_small(method):
    lines, removed, added = LIMITS[method]
    changes = [line[0] for line in difflib.ndiff(below_docstring("sft"), below_docstring(method))]
    assert changes.count("-") <= removed
    assert changes.count("+") <= added
    assert len(source(method).splitlines()) <= lines


def options(script, monkeypatch):
    """Default, choices and help text of every option of a script."""
    parsers, parse = [], argparse.ArgumentParser.parse_args
    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", lambda self: parsers.append(self) or parse(self, []))
        importlib.import_module(script).parse_args()
    return {action.dest: (action.default, action.choices, action.help) for action in parsers[0]._actions}


@pytest.mark.parametrize("method", METHODS)
def test_every_option_of_sft_stands_everywhere_with_its_default_and_help(method, monkeypatch):
    ours = options(method, monkeypatch)
    assert options("sft", monkeypatch).items() <= ours.items()
    assert all("%(default)s" in text for name, (_, _, text) in ours.items() if name != "help")


@pytest.mark.parametrize("script", ["common", "eval", "prepare"])
def test_the_main_job_needs_the_five_packages_alone(script):
    elsewhere = {"torch_fidelity", "lmdb"}  # where they are used, with a line if absent
    roots = {name.split(".")[0] for name in imports(script)} - elsewhere
    ours = {"common", "scoring", "prepare", "torch", "torchvision", "numpy", "scipy", "PIL"}  # torchvision brings PIL
    assert roots - sys.stdlib_module_names <= ours


@pytest.mark.parametrize("path", [*ROOT.glob("*.py"), *ROOT.glob("*/*.py")], ids=lambda path: path.name)
def test_no_line_is_wider_than_120_columns(path):
    assert max(map(len, path.read_text(encoding="utf-8").splitlines())) <= 120


def test_common_holds_models_and_data_loaders_only():
    assert not [name for name in definitions("common") if "loss" in name or "penalty" in name or "train" in name]
