"""The picture and the speed benchmark."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

sys.path.insert(0, str(ROOT / "benchmark"))


def test_the_evolution_picture_shows_every_run(finished, tmp_path):
    for method in ("sft", "mergan_ra"):
        shutil.copytree(finished(method), tmp_path / "runs" / method)
    command = [sys.executable, "figures.py", "evolution", str(tmp_path / "runs"), "-o", str(tmp_path / "e.png")]
    subprocess.run(command, cwd=ROOT, check=True)
    picture = np.asarray(Image.open(tmp_path / "e.png").convert("L"))
    half = len(picture) // 2
    for row in (picture[:half], picture[half:]):  # a row of the figure for each of the two runs, neither blank
        assert row.shape[1] > 300 and row.std() > 20


def test_the_reference_of_the_speed_benchmark_computes_our_losses(monkeypatch):
    import speed

    speed.check_reference()
    monkeypatch.setattr(speed, "penalty", lambda *arguments: 0)
    with pytest.raises(AssertionError):
        speed.check_reference()
