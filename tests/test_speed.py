"""The benchmark of variants, at tiny size."""

import json
import sys

import pytest
import torch
from conftest import ROOT

from common import make_critic

sys.path.insert(0, str(ROOT / "benchmark"))
import variants  # noqa: E402

TINY = "--device cpu --width 2 --batch-size 2 --iters 1 --windows 2 --warmup 0".split()


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """A function that runs the benchmark into tmp_path, and gives its table and its report."""

    def run(*options):
        command = ["variants.py", *TINY, "--output", str(tmp_path), *options]
        monkeypatch.setattr(sys, "argv", command)
        variants.main()
        report = json.loads((tmp_path / "speed_variants_cpu.json").read_text(encoding="utf-8"))
        return capsys.readouterr().out, report

    return run


@pytest.mark.parametrize(
    "size, names",
    [("32", variants.ON_A_CPU), ("64", (variants.BASE, "PyTorch's second derivatives"))],
)
def test_variants_are_timed_and_profiled(size, names, run, tmp_path):
    table, report = run("--rounds", "1", "--sizes", size, "--variants", *names)
    assert report["torch"] == torch.__version__
    assert list(report["rows"][size]) == list(names)
    for name, rounds in report["rows"][size].items():
        assert len(rounds) == 1 and len(rounds[0]["ms"]) == 2 and min(rounds[0]["ms"]) > 0
        assert f"| {size} | {name} |" in table
    profile = (tmp_path / f"speed_profile_cpu_{size}.txt").read_text(encoding="utf-8")
    assert "aten::convolution_backward" in profile


def test_what_is_measured_is_not_measured_again_and_a_fault_is_a_row(run, monkeypatch):
    first = run("--rounds", "1", "--sizes", "32")[1]["rows"]["32"]

    def fail(*arguments):
        raise RuntimeError("out of memory\nmore lines")

    monkeypatch.setattr(variants, "make_step", fail)
    monkeypatch.setattr(variants, "profile", lambda *arguments: "")
    table, report = run("--rounds", "2", "--sizes", "32")
    for name, rounds in report["rows"]["32"].items():
        assert rounds == [first[name][0], {"error": "out of memory"}]
    monkeypatch.setattr(torch, "__version__", "another")
    with pytest.raises(SystemExit, match="of another device, PyTorch or other options"):
        run("--rounds", "2", "--sizes", "32")


def operations_behind(tensor):
    """The names of the derivatives that led to a tensor."""
    names = set()
    nodes = [tensor.grad_fn]
    while nodes:
        node = nodes.pop()
        names.add(node.name())
        nodes += [parent for parent, _ in node.next_functions if parent is not None]
    return names


@pytest.mark.parametrize(
    "size, channels, plain, replaced",
    [
        (32, 1, "LeakyReluBackward0", "LeakyReLUBackward"),
        (64, 3, "NativeGroupNormBackward0", "RowNormBackward"),
    ],
)
def test_pytorchs_layers_compute_what_those_of_layers_do(size, channels, plain, replaced):
    torch.manual_seed(0)
    images = torch.randn(3, channels, size, size)
    critic = make_critic(4, channels, size, width=2)
    found = critic(images)
    with variants.set_up(variants.VARIANTS["PyTorch's second derivatives"]):
        of_pytorch = make_critic(4, channels, size, width=2)
        of_pytorch.load_state_dict(critic.state_dict())
        expected = of_pytorch(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert replaced in operations_behind(found[0])
    assert plain in operations_behind(expected[0])
    assert replaced not in operations_behind(expected[0])


def test_speeds_need_what_they_are_against(run, capsys):
    with pytest.raises(SystemExit):
        run("--variants", "bfloat16")
    assert "expected 'as scripts run' too" in capsys.readouterr().err
    rows = {"32": {variants.BASE: [{"error": "e"}], "bfloat16": [{"ms": [2.0, 3.0]}]}}
    assert "| 32 | bfloat16 | 2.5 | 2 – 3 | – |" in variants.table(rows)
