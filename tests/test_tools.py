"""Pictures by saved generators, and the speed benchmark."""

import errno
import importlib.util
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from conftest import METHODS, ROOT, run_script
from made_up import failure
from PIL import Image

from pictures import paint, tsne
from pictures.groups import find_groups
from pictures.paint import newest
from scoring.drawing import SavedGenerator

sys.path.insert(0, str(ROOT / "benchmark"))


def figure(*options):
    done = run_script("figures", *options)
    assert done.returncode == 0, done.stderr
    return done


def picture(path):
    return np.asarray(Image.open(path).convert("L")).astype(float)


def test_tsne_shows_real_and_generated_images_and_how_far_it_is(
    finished, tmp_path, capsys, monkeypatch
):
    told, save, plotted = [], tsne.save, []
    monkeypatch.setattr(
        tsne, "save", lambda figure, path: plotted.append(figure) or save(figure, path)
    )
    monkeypatch.setattr(
        tsne, "progress", lambda items, title, **_: told.append((len(items), title)) or items
    )
    problems = []
    groups = find_groups([finished("sft"), finished("mergan_ra")], problems)
    tsne.draw(groups, tmp_path, "1", [1, 2, 3], 20, problems, None, None)
    assert problems == [] and told == [(6, "drawing t-SNE")]
    drawn = [len(ax.collections) for ax in plotted[0].axes]
    assert drawn == [0, 2, 2, 0, 2, 2]  # from the second task on
    assert picture(tmp_path / "tsne.png").std() > 10
    first = [ax.get_ylabel() for ax in plotted[0].axes[::3]]
    assert first == ["Fine-tuning", "MeRGAN-RA"]


def test_tsne_of_other_data_than_was_learned_ends_in_one_line(
    finished, tiny_data, tmp_path, capsys
):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    path = data / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:16] + bytes(len(path.read_bytes()) - 16))
    options = (finished("sft"), "-o", tmp_path / "new", "--data-dir", data)
    (line,) = failure(capsys, "tsne", *options)
    assert "other data than was learned: training images" in line
    assert not list((tmp_path / "new").iterdir())


def test_tsne_of_a_task_that_is_not_there_ends_in_one_line(finished, tmp_path, capsys):
    (line,) = failure(capsys, "tsne", finished("sft"), "-o", tmp_path, "--tasks", 1, 4)
    assert "--tasks 4: no run has such a task; they count from 1" in line


def test_tsne_before_a_generator_is_saved_ends_in_one_line(finished, tmp_path, capsys, monkeypatch):
    run = shutil.copytree(finished("sft"), tmp_path / "run")
    for path in [*run.glob("task_*.pt"), *run.glob("snapshots/*")]:
        path.unlink()
    rooms = types.SimpleNamespace(names=["bedroom", "kitchen"], fingerprint=None)
    monkeypatch.setattr(tsne, "Reference", lambda data: rooms)
    monkeypatch.setattr(tsne, "compare_data", lambda run, real: None)
    (line,) = failure(capsys, "tsne", run, "-o", tmp_path / "new")
    assert line.endswith("no run has saved a generator yet; the categories are bedroom, kitchen")


def test_a_damaged_generator_is_named_and_the_rest_is_drawn(finished, tmp_path, capsys):
    run = shutil.copytree(finished("sft"), tmp_path / "run")
    (run / "task_2.pt").write_bytes(b"broken")
    options = ("-o", tmp_path / "new", "--points", 20)
    (line,) = failure(capsys, "tsne", run, *options)
    assert line.startswith(f"error: {run / 'task_2.pt'} is not readable as ours (")
    assert (tmp_path / "new" / "tsne.png").exists()


def test_paint_on_a_full_disk_ends_in_one_line(finished, tmp_path, capsys, monkeypatch):
    def fill(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")  # Pillow names no file

    monkeypatch.setattr(paint, "save_image", fill)
    (line,) = failure(capsys, "paint", finished("sft"), "-o", tmp_path / "out.png")
    assert f"error: {tmp_path / 'out.png'} cannot be written (No space left" in line


def test_event_files_that_cannot_be_written_are_not_said_to_be_in_use(finished, tmp_path, capsys):
    pytest.importorskip("tensorboard")
    run = shutil.copytree(finished("sft"), tmp_path / "run")
    (run / "tensorboard" / "lock").mkdir(parents=True)
    (line,) = failure(capsys, "tensorboard", run)
    assert f"{run / 'tensorboard'} cannot be written (unable to open database file)" in line
    assert "another process" not in line


def test_paint_exports_the_images_that_eval_scores(finished, tmp_path):
    figure("paint", finished("sft"), "-n", "70", "--category", "2", "0", "-o", f"{tmp_path}/new/")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["0", "2"]
    generator = SavedGenerator.load(finished("sft") / "task_3.pt")
    for category in (0, 2):
        files = sorted((tmp_path / "new" / str(category)).iterdir())
        assert [path.name for path in files] == [f"{i:04d}.png" for i in range(1, 71)]
        expected = generator.draw(category, 128, as_pixels=True)[:70, 0].numpy()
        found = np.stack([np.asarray(Image.open(path)) for path in files])
        assert (found == expected).all()


def test_a_picture_that_a_jpeg_cannot_hold_is_told(finished, tmp_path, capsys):
    options = ("-n", 1930, "--category", 0, 1, "-o", tmp_path / "out.jpg")
    (line,) = failure(capsys, "paint", finished("sft"), *options)
    assert "out.jpg would have 65622 pixels a side, and a JPEG holds 65500; lower -n" in line
    assert not (tmp_path / "out.jpg").exists()


@pytest.mark.parametrize(
    "options, size",
    [
        (["--category", "1", "-n", "9"], (3 * 34 + 2, 3 * 34 + 2)),
        (["--category", "0", "2", "-n", "5", "--seed", "3"], (5 * 34 + 2, 2 * 34 + 2)),
        (["-n", "7", "--interpolate"], (7 * 34 + 2, 3 * 34 + 2)),
    ],
)
def test_paint_draws_a_grid(finished, tmp_path, options, size):
    figure("paint", finished("sft"), "-o", tmp_path / "out.png", *options)
    assert Image.open(tmp_path / "out.png").size == size and picture(tmp_path / "out.png").std() > 5


def test_paint_draws_the_same_z_in_every_category_and_ends_interpolation_at_both(
    finished, tmp_path
):
    generator = SavedGenerator.load(finished("sft") / "task_3.pt", standing=True).generator
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(5))
    figure(
        "paint",
        finished("sft"),
        "-n",
        "4",
        "--seed",
        "5",
        "--interpolate",
        "-o",
        tmp_path / "out.png",
    )
    grid = picture(tmp_path / "out.png")
    for category in range(3):
        for column in (0, 3):
            with torch.no_grad():
                expected = (generator(z[[column]], torch.tensor([category]))[0, 0] + 1) * 127.5
            shown = grid[2 + 34 * category :, 2 + 34 * column :][:32, :32]
            assert shown == pytest.approx(expected.numpy(), abs=1.5)


@pytest.mark.parametrize(
    "options, message",
    [
        (["nowhere"], "error: nowhere not found; expected a run directory or a snapshot"),
        (["RUN", "--category", "7"], "--category 7 is not among those that"),
        (["RUN/args.json"], "is damaged or not ours"),
        (["RUN", "-n", "0"], "-n is 0, expected at least 1"),
        (["RUN", "--seed", str(2**62)], f"--seed is {2**62}, expected a number below 2^62"),
        (["RUN", "-o", "x"], "--output is x, expected a file name that ends in .png or .jpg, or a"),
        (["RUN", "-o", "x/", "--interpolate"], "draws one picture, but --output is the folder x"),
    ],
)
def test_paint_with_bad_input_ends_in_one_line(finished, tmp_path, options, message):
    options = [option.replace("RUN", str(finished("sft"))) for option in options]
    done = run_script("figures", "paint", "-o", tmp_path / "out.png", *options)
    assert (
        done.returncode
        and message in done.stderr.splitlines()[-1]
        and not (tmp_path / "out.png").exists()
    )


def test_paint_takes_the_newest_generator_of_the_run_and_no_other_file(finished, tmp_path):
    shutil.copytree(finished("sft"), tmp_path / "run")
    (tmp_path / "run" / "task_best.pt").write_text("not ours")
    assert newest(tmp_path / "run") == tmp_path / "run" / "task_3.pt"


@pytest.mark.parametrize("package, command", [("matplotlib", "samples"), ("sklearn", "tsne")])
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(
    finished, tmp_path, package, command
):
    argv = ["figures.py", command, str(finished("sft")), "-o", str(tmp_path)]
    hide = f"import sys, runpy; sys.modules['{package}'] = None; sys.argv = {argv}; "
    code = hide + "runpy.run_path('figures.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (
        done.returncode == 1 and "python -m pip install -r requirements-extras.txt" in done.stderr
    )
    assert len(done.stderr.splitlines()) == 1


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
