"""README and docs: links lead somewhere, code and numbers are ours, commands exist."""

import importlib
import json
import re
import shlex
import sys

import pytest
import torch
from conftest import METHODS, ROOT, call_main, same_weights

from common import make_generator, saved_generator

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Where the options of a command stand, if not in a method script
SOURCES = {
    "eval.py": ["eval.py"],
    "figures.py": ["figures.py"],
    "prepare.py": ["prepare.py", "common.py"],
    "benchmark": ["benchmark/*.py"],
}


def blocks(text, language):
    """The fenced blocks of a language ("" for none) in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def prose(text):
    """A page without its fenced blocks."""
    return re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def inline_code(text):
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(text))]


def anchors(text):
    """The names by which code hosts link to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return [
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    ]


def by_name(path):
    return path.relative_to(ROOT).as_posix()


def test_readme_is_a_front_page_that_names_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in text, page.name


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_and_pictures_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        if anchor and path.exists():
            assert anchor in anchors(path.read_text(encoding="utf-8")), target


def test_code_on_the_page_of_methods_stands_in_its_script():
    """```python in the section that links a script: whole lines of it, in one piece, as indented."""
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    for method in METHODS:
        script = (ROOT / f"{method}.py").read_text(encoding="utf-8")
        (section,) = [part for part in page.split("\n## ") if f"](../{method}.py)" in part]
        assert blocks(section, "python")
        for block in blocks(section, "python"):
            assert f"\n{block}" in script, block


def commands(text):
    """The words of every command in a page that runs a script of ours, from its name on."""
    lines = "".join(blocks(text, "")).replace("\\\n", " ").splitlines()
    lines += [code for code in inline_code(text) if code.startswith("python ")]
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # an equation
            continue
        for number, word in enumerate(words):
            started = words[number - 1] == "python" or words[0] == "torchrun"
            if started and number and word.endswith(".py"):
                rest = words[number:]
                ends = [i for i, other in enumerate(rest) if other in ("&&", "|", "<", ">", ";")]
                yield rest[: min(ends, default=len(rest))]


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_commands_have_options_that_their_scripts_know(page, monkeypatch, capsys):
    for script, *words in commands(page.read_text(encoding="utf-8")):
        assert (ROOT / script).is_file(), script
        if script.removesuffix(".py") in METHODS:
            monkeypatch.setattr(sys, "argv", [script, *words])
            try:
                importlib.import_module(script.removesuffix(".py")).parse_args()
            except SystemExit as stop:
                assert not stop.code, f"{script} {' '.join(words)}: {capsys.readouterr().err}"
            continue
        patterns = SOURCES[script if "/" not in script else script.split("/")[0]]
        paths = [path for pattern in patterns for path in ROOT.glob(pattern)]
        source = "".join(path.read_text(encoding="utf-8") for path in paths)
        for option in [word for word in words if word.startswith("-") and word != "--help"]:
            assert f'"{option}"' in source, f"{script} {option}"


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_options_and_lists_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    scripts = [path for path in ROOT.glob("**/*.py") if "tests" not in path.parts]
    sources = "".join(path.read_text(encoding="utf-8") for path in scripts)
    for code in inline_code(text):
        option = code.split("=")[0].split()[0]
        if option.startswith("--"):
            assert f'"{option}"' in sources, code
    for name in re.findall(r"(?<![\w/.])(?:benchmark|results)/\w+\.\w+", text):
        assert (ROOT / name).exists(), name


def numbers(text):
    """Numbers with decimals, as they are written."""
    return set(re.findall(r"(?<![\d.])-?\d+\.\d+(?![\d.])", text))


def rounded(value):
    """Every number in a JSON value, with one, two and three decimals."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(rounded, value))
    if isinstance(value, float):
        return {f"{value:.{digits}f}" for digits in (1, 2, 3)}
    return set()


def cells_of(line):
    """The cells of a line of Markdown that hold whole numbers, or numbers with decimals."""
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    return [cell for cell in cells if cell.isdecimal() or numbers(cell)]


def holders(path):
    """Functions that tell whether they hold the cells of a row: a line of Markdown holds one row,
    cell by cell and in order; JSON holds any number of rows.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        known = rounded(json.loads(text))
        yield from [lambda cells: numbers(" ".join(cells)) <= known] * text.count("\n")
        return
    for line in text.splitlines():

        def holds(cells, known=cells_of(line)):
            left = iter(known)
            return all(cell in left for cell in cells)

        yield holds


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_numbers_in_tables_stand_in_the_files_that_they_are_from(page):
    """Under <!-- numbers from FILE … -->: a row's numbers stand in a row of a FILE, rows in order."""
    text = page.read_text(encoding="utf-8")
    tables = re.findall(r"<!-- numbers from (.+?) -->\n((?:\|.*\n)+)", text)
    assert len(tables) == text.count("<!--")
    for files, table in tables:
        known = [holds for file in files.split() for holds in holders(ROOT / file)]
        for line in filter(numbers, table.splitlines()):
            while known and not known[0](cells_of(line)):
                del known[0]
            assert known, line
            del known[0]


def test_the_example_of_a_new_method_aligns_with_its_frozen_copy(
    tmp_path, tiny_options, monkeypatch
):
    """The diff on docs/new_method.md, applied to sft.py piece by piece, makes fa.py."""
    (diff,) = blocks((ROOT / "docs" / "new_method.md").read_text(encoding="utf-8"), "diff")
    text = (ROOT / "sft.py").read_text(encoding="utf-8")
    for piece in re.split("^@@.*\n", diff, flags=re.MULTILINE)[1:]:
        lines = piece.splitlines(keepends=True)
        old = "".join(line[1:] or line for line in lines if line[0] != "+")
        new = "".join(line[1:] or line for line in lines if line[0] != "-")
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (tmp_path / "fa.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    fa = importlib.import_module("fa")

    # In the four steps of the second task features are compared, equal ones where it begins
    compared, loss = [], fa.F.mse_loss
    monkeypatch.setattr(fa.F, "mse_loss", lambda *pair: compared.append(pair) or loss(*pair))
    assert call_main(fa, *tiny_options("sft", tmp_path / "run"), "--num-tasks", 2) is None
    first, *others = compared
    assert torch.equal(*first) and not first[1].requires_grad
    assert len(others) == 3 and not any(torch.equal(*pair) for pair in others)

    # The copy is the generator at the end of the last task
    def load(name):
        return torch.load(tmp_path / "run" / name, weights_only=True)

    assert same_weights(
        load("checkpoint.pt")["networks"]["replay_generator"], load("task_2.pt")["generator"]
    )


def test_the_lines_of_python_that_load_a_generator_run(tmp_path, monkeypatch):
    generator = make_generator(num_categories=10, channels=1, width=4)
    run = tmp_path / "runs" / "mnist__mergan_ra__1"
    run.mkdir(parents=True)
    names = list("0123456789")
    saved = saved_generator(generator, torch.arange(10), names, "mergan_ra", "mnist")
    torch.save(saved, run / "task_10.pt")
    monkeypatch.chdir(tmp_path)
    (lines,) = blocks((ROOT / "docs" / "scores.md").read_text(encoding="utf-8"), "python")
    found = {}
    exec(lines, found)
    assert found["images"].shape == (3, 1, 32, 32)
    assert found["images"].abs().max() <= 1
