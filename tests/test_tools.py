"""Pictures by saved generators, and the benchmarks."""

import errno
import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import METHODS, ROOT, call_main
from made_up import failure, figures_main
from PIL import Image

from pictures import paint, tsne
from pictures.groups import find_groups
from pictures.paint import newest
from scoring.drawing import SavedGenerator

sys.path.insert(0, str(ROOT / "benchmark"))


def test_tsne_shows_real_and_generated_images_and_how_far_it_is(finished, tmp_path, monkeypatch):
    told, plotted = [], []
    monkeypatch.setattr(tsne, "save_figure", lambda figure, path: plotted.append(figure))
    monkeypatch.setattr(
        tsne, "progress", lambda items, title: told.append((len(items), title)) or items
    )
    groups = find_groups([finished("sft"), finished("mergan_ra")])
    tsne.draw(groups, tmp_path, "1", [1, 2, 3], None, None)
    assert told == [(6, "drawing t-SNE")]
    axes = plotted[0].axes
    # From the second task on, as many generated images as real ones
    drawn = [
        [len(part.get_offsets()) for part in ax.collections if len(part.get_offsets())]
        for ax in axes
    ]
    assert drawn == [[], [20, 20], [20, 20]] * 2
    assert [ax.get_ylabel() for ax in axes[::3]] == ["Fine-tuning", "MeRGAN-RA"]
    tsne.draw(groups[:1], tmp_path, "1", None, None, None)
    assert [ax.get_title() for ax in plotted[1].axes] == ["after task 2", "after task 3"]


def test_what_tsne_cannot_show_ends_in_one_line(finished, tiny_data, tmp_path, capsys):
    run = shutil.copytree(finished("sft"), tmp_path / "run")
    (line,) = failure(capsys, "tsne", run, "-o", tmp_path, "--tasks", 1, 4)
    assert "--tasks 4: no run has such a task; they count from 1" in line
    (line,) = failure(capsys, "tsne", run, "-o", tmp_path, "--category", "x")
    assert "--category is x, expected 0 to 2, or a name: 0, 1, 2" in line
    (run / "task_2.pt").write_bytes(b"broken")
    (line,) = failure(capsys, "tsne", run, "-o", tmp_path)
    assert line.startswith(f"error: {run / 'task_2.pt'} is damaged or not ours (")
    data = shutil.copytree(tiny_data, tmp_path / "data")
    path = data / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:16] + bytes(len(path.read_bytes()) - 16))
    (line,) = failure(capsys, "tsne", run, "-o", tmp_path, "--data-dir", data)
    assert "other data than was learned: training images" in line
    assert not (tmp_path / "tsne.png").exists()


def test_paint_on_a_full_disk_ends_in_one_line(finished, tmp_path, capsys, monkeypatch):
    def fill(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")  # Pillow names no file

    monkeypatch.setattr(paint, "save_image", fill)
    (line,) = failure(capsys, "paint", finished("sft"), "-o", tmp_path / "out.png")
    assert f"error: {tmp_path / 'out.png'} cannot be written (No space left" in line


def test_paint_draws_the_images_that_eval_scores_one_by_one_and_in_rows(finished, tmp_path, capsys):
    options = ["paint", finished("sft"), "-n", 70, "--category", 2, 0, "-o"]
    assert figures_main(*options, f"{tmp_path}/new/") is None
    assert figures_main(*options, tmp_path / "rows.png") is None
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["0", "2"]
    rows = np.asarray(Image.open(tmp_path / "rows.png").convert("L")).astype(float)
    assert rows.shape == (2 * 34 + 2, 70 * 34 + 2)
    generator = SavedGenerator.load(finished("sft") / "task_3.pt")
    for row, category in enumerate((2, 0)):
        files = sorted((tmp_path / "new" / str(category)).iterdir())
        assert [path.name for path in files] == [f"{i:04d}.png" for i in range(1, 71)]
        expected = generator.draw(category, 128, as_pixels=True)[:70, 0].numpy()
        assert (np.stack([np.asarray(Image.open(path)) for path in files]) == expected).all()
        for column in (0, 1, 69):
            shown = rows[2 + 34 * row :, 2 + 34 * column :][:32, :32]
            assert shown == pytest.approx(expected[column].astype(float), abs=1)
    # Those of another run would be mixed with them
    (line,) = failure(capsys, *options, f"{tmp_path}/new/")
    assert (
        line
        == f"error: {tmp_path / 'new' / '2'} holds files; choose another --output, or delete them"
    )


def test_figures_draw_with_one_thread_as_eval_does(finished, tmp_path, monkeypatch):
    """In a network of full width, several round some pixels otherwise."""
    seen, threads = [], torch.get_num_threads()
    monkeypatch.setattr(paint, "export", lambda *choice: seen.append(torch.get_num_threads()))
    torch.set_num_threads(3)
    try:
        assert figures_main("paint", finished("sft"), "-o", f"{tmp_path}/") is None
        assert seen == [1]
    finally:
        torch.set_num_threads(threads)


def test_interpolation_goes_from_one_z_to_another_in_every_category(finished, tmp_path):
    generator = SavedGenerator.load(finished("sft") / "task_3.pt", standing=True).generator
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(5))
    options = ["-n", 4, "--seed", 5, "--interpolate", "-o", tmp_path / "out.png"]
    assert figures_main("paint", finished("sft"), *options) is None
    rows = np.asarray(Image.open(tmp_path / "out.png").convert("L")).astype(float)
    for category in range(3):
        for end, column in [(0, 0), (1, 3)]:
            with torch.no_grad():
                expected = (generator(z[[end]], torch.tensor([category]))[0, 0] + 1) * 127.5
            shown = rows[2 + 34 * category :, 2 + 34 * column :][:32, :32]
            assert shown == pytest.approx(expected.numpy(), abs=1.5)


@pytest.mark.parametrize(
    "options, message",
    [
        (["nowhere"], "error: nowhere not found; expected a run, or a snapshot"),
        (["RUN", "--category", "7"], "--category is 7, expected 0 to 2, or a name: 0, 1, 2"),
        (["RUN/args.json"], "is damaged or not ours"),
        (["RUN", "-n", "0"], "argument -n: 0 is not a whole number from 1 to 2^62"),
        (["RUN", "--seed", str(2**62)], "is not a whole number from 0 to 2^62"),
        (["RUN", "-o", "x"], "--output is x, expected a file name that ends in .png, or a folder"),
        (["RUN", "-o", "x/", "--interpolate"], "draws one picture, but --output is the folder x"),
    ],
)
def test_paint_with_bad_input_ends_in_one_line(finished, tmp_path, capsys, options, message):
    options = [option.replace("RUN", str(finished("sft"))) for option in options]
    *_, line = failure(capsys, "paint", "-o", tmp_path / "out.png", *options)
    assert message in line and not (tmp_path / "out.png").exists()


def test_paint_takes_the_newest_generator_of_the_run_and_no_other_file(finished, tmp_path):
    shutil.copytree(finished("sft"), tmp_path / "run")
    (tmp_path / "run" / "task_best.pt").write_text("not ours")
    assert newest(tmp_path / "run") == tmp_path / "run" / "task_3.pt"


INSTALL = "python -m pip install -r requirements-extras.txt"


def test_without_matplotlib_figures_says_how_to_install_it():
    hide = "import sys, runpy; sys.modules['matplotlib'] = None; sys.argv = ['figures.py']; "
    code = hide + "runpy.run_path('figures.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and INSTALL in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "package, command",
    [("sklearn.manifold", "tsne"), ("torch.utils.tensorboard", "tensorboard")],
)
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(
    finished, capsys, monkeypatch, package, command
):
    monkeypatch.setitem(sys.modules, package, None)
    (line,) = failure(capsys, command, finished("sft"))
    assert INSTALL in line


def test_the_loop_of_the_speed_benchmark_computes_our_losses(monkeypatch):
    import speed

    speed.check_loop()
    monkeypatch.setattr(speed, "penalty", lambda *arguments: 0)
    with pytest.raises(AssertionError):
        speed.check_loop()


def test_the_speed_benchmark_reads_what_a_command_prints(tmp_path):
    from speed import child

    script = tmp_path / "script.py"
    script.write_text("import os, sys; print(os.environ['MARK'], *sys.argv[1:])", encoding="utf-8")
    assert child([script, "--iters", 3], {"MARK": "here"}) == "here --iters 3\n"
    script.write_text("import sys; sys.exit('it broke')", encoding="utf-8")
    with pytest.raises(SystemExit, match="script.py failed: it broke"):
        child([script], {})
    script.write_text("import sys; print('warning: no CUDA graph', file=sys.stderr)")
    with pytest.raises(SystemExit, match="script.py failed: warning: no CUDA graph"):
        child([script], {})


def test_every_line_of_a_list_is_a_command_and_no_two_write_to_the_same_place(monkeypatch):
    run_dirs = []
    for path in (ROOT / "benchmark").glob("*.txt"):
        listed = set()
        for line in path.read_text().splitlines():
            python, script, *options = line.split()
            monkeypatch.setattr(sys, "argv", [script, *options])
            method = script.removesuffix(".py")
            run_dirs.append(importlib.import_module(method).parse_args().run_dir)
            listed.add(method)
            assert python == "python"
        assert listed == set(METHODS)
    assert len(set(run_dirs)) == len(run_dirs)


def test_the_reverse_benchmark_varies_the_classifier_and_the_grey_values(
    finished, tmp_path, monkeypatch
):
    import reverse

    calls = []

    def record(self, images, labels, seen, whose, seed):
        calls.append((images, self.test_images, seed))
        assert len(images) == len(labels) and seen == [0, 1, 2]
        return float(seed)

    monkeypatch.setattr(reverse.Reference, "reverse_accuracy", record)
    assert call_main(reverse, finished("sft"), "--output", tmp_path) is None
    assert [seed for *_, seed in calls] == [0, 1, 0, 1]
    painted, white = calls[0], calls[2]
    for before, after in zip(painted[:2], white[:2]):
        assert len(before.unique()) > 2 and torch.equal(after, (before > 127) * after.max())
        assert after.unique().tolist() == [0, 255]
    rows = json.loads((tmp_path / "reverse.json").read_text())["rows"][finished("sft").name]
    assert rows == {"as_painted": [0.0, 1.0], "black_and_white": [0.0, 1.0]}
