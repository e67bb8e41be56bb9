"""Imports point one way: commands, then common.py, then data files, which import none of ours."""

import ast
import graphlib
import sys

import pytest
from conftest import METHODS, ROOT


def modules():
    """Path of every module that is not a test, by its dotted name."""
    paths = [*ROOT.glob("*.py"), *ROOT.glob("*/*.py")]
    found = {}
    for path in paths:
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] not in ("tests", "benchmark"):
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imported(path, known):
    """The modules of this project that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        found.update(name for name in names if name in known)
    return found


GRAPH = {name: imported(path, modules()) for name, path in modules().items()}


def test_no_import_goes_in_a_circle():
    tuple(graphlib.TopologicalSorter(GRAPH).static_order())  # which raises CycleError


@pytest.mark.parametrize("module", [name for name in GRAPH if name.startswith("datafiles")])
def test_data_files_stand_on_files_and_progress_only(module):
    others = GRAPH[module] - {"support.files", "support.progress"}
    assert all(name.startswith("datafiles") for name in others)


def test_common_stands_on_files_and_data_and_prepare_stands_on_common():
    roots = {name.split(".")[0] for name in GRAPH["common"]}
    assert roots == {"datafiles", "support"}
    for name in ("resume", "graph"):
        assert GRAPH[f"support.{name}"] == {"support.files"}
    for name in ("files", "progress"):
        assert not GRAPH[f"support.{name}"]
    assert "common" in GRAPH["prepare"]
    assert not [name for name, others in GRAPH.items() if "prepare" in others]


@pytest.mark.parametrize("method", METHODS)
def test_of_our_modules_a_script_imports_only_common(method):
    assert GRAPH[method] == {"common"}


def test_all_but_pictures_need_the_users_packages_only():
    allowed = {"torch", "torchvision", "numpy", "scipy", "PIL"}  # torchvision brings PIL
    allowed |= {"lmdb", "torch_fidelity"}  # imported where they are used, with a line if absent
    allowed |= {name.split(".")[0] for name in GRAPH} | sys.stdlib_module_names
    for name, path in modules().items():
        if name.split(".")[0] in ("figures", "pictures"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots = {alias.name.split(".")[0] for alias in node.names}
                assert roots <= allowed, name
            elif isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] in allowed, name
