"""The promises of the scripts' form: one file per method, whose diff from sft.py is the method."""

import argparse
import ast
import difflib
import importlib

import pytest
from conftest import METHODS, ROOT

OTHERS = [method for method in METHODS if method != "sft"]
# The most lines removed from sft.py and added to it, below the docstring
BOUNDS = {
    "joint": (6, 6),
    "mergan_jtr": (4, 30),
    "mergan_ra": (4, 44),
    "ewc": (4, 80),
    "rewc": (4, 166),
    "dgr": (14, 54),
}
# Functions that a method may change; all others are the same wherever they stand
OF_THE_METHOD = ("parse_args", "categories_in_batch", "train")
# Where the part begins that is the same in every script
MARK = "# The run directory. The rest is the same in every script; a method changes nothing here."


def way_out(method):
    """What a failure says to somebody who has changed one of the scripts."""
    return (
        f"{method}.py has another form than sft.py. A method of your own: give it a file with "
        f"another name, which no test minds, and take {method}.py back with git checkout. "
        "A change of all methods: make it in all seven scripts."
    )


def source(script):
    return (ROOT / f"{script}.py").read_text(encoding="utf-8")


def definitions(script):
    """Source text of every function and class at top level, decorators included, by name."""
    lines = source(script).splitlines()
    blocks = {}
    for node in ast.parse(source(script)).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            blocks[node.name] = lines[first - 1 : node.end_lineno]
    return blocks


def below_docstring(script):
    return source(script).splitlines()[ast.parse(source(script)).body[0].end_lineno :]


@pytest.mark.parametrize("method", OTHERS)
def test_the_run_directory_is_the_same_letter_for_letter(method):
    ours = source("sft").split(MARK)
    theirs = source(method).split(MARK)
    assert len(ours) == len(theirs) == 2, way_out(method)
    assert ours[1] == theirs[1], way_out(method)


def test_functions_of_one_name_are_the_same_letter_for_letter():
    first = {}
    for method in METHODS:
        for name, lines in definitions(method).items():
            if name not in OF_THE_METHOD:
                assert first.setdefault(name, lines) == lines, way_out(method)


@pytest.mark.parametrize("method", OTHERS)
def test_difference_from_sft_is_the_method(method):
    lines = difflib.ndiff(below_docstring("sft"), below_docstring(method))
    changes = [line[0] for line in lines]
    removed, added = BOUNDS[method]
    assert changes.count("-") <= removed, way_out(method)
    assert changes.count("+") <= added, way_out(method)


def options(script, monkeypatch):
    """Default, choices and help text of every option of a script."""

    class Options(Exception):
        pass

    def stop(parser):
        actions = parser._actions
        raise Options(
            {action.dest: (action.default, action.choices, action.help) for action in actions}
        )

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(Options) as stopped:
        importlib.import_module(script).parse_args()
    return stopped.value.args[0]


@pytest.mark.parametrize("method", METHODS)
def test_every_option_of_sft_stands_everywhere_with_its_default_and_help(method, monkeypatch):
    ours = options(method, monkeypatch)
    assert options("sft", monkeypatch).items() <= ours.items(), way_out(method)
    assert all(text for _, _, text in ours.values())
