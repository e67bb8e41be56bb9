"""The pictures and the speed benchmark."""

import errno
import importlib.util
import itertools
import json
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from conftest import METHODS, ROOT, run_script
from PIL import Image, ImageSequence

import figures
from pictures import curves, paint, samples, tsne
from pictures.groups import all_names, find_groups, find_name
from pictures.paint import newest
from scoring.drawing import SavedGenerator

sys.path.insert(0, str(ROOT / "benchmark"))


@pytest.fixture(scope="module")
def runs(finished, tiny_data, tmp_path_factory):
    """Three scored runs: sft.py with two seeds, the first with inner snapshots; mergan_ra.py."""
    folder = tmp_path_factory.mktemp("figures") / "runs"
    for name, run in [
        ("a", finished("sft")),
        ("b", finished("sft", seed=2)),
        ("c", finished("mergan_ra")),
    ]:
        shutil.copytree(run, folder / name)
    done = run_script(
        "eval", folder, "--samples", "64", "--intermediate-samples", "64", "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    return folder


def figure(*options):
    done = run_script("figures", *options)
    assert done.returncode == 0, done.stderr
    return done


def picture(path):
    return np.asarray(Image.open(path).convert("L")).astype(float)


def assert_drawn(part, least=20):
    assert part.shape[1] > 250 and part.std() > least


def test_all_draws_every_figure(runs, tmp_path):
    figure("all", runs, "-o", tmp_path / "new", "--points", "20")
    names = [
        "curves.png",
        "evolution.gif",
        "evolution.png",
        "evolution_steps.png",
        "samples.png",
        "tsne.png",
    ]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
    for name in names:
        assert_drawn(picture(tmp_path / "new" / name), least=10)


def test_samples_and_evolution_show_every_method_once(runs, tmp_path):
    for name in ("samples", "evolution"):
        figure(name, runs, "-o", tmp_path)
    rows = picture(tmp_path / "evolution.png")
    for row in (
        rows[: len(rows) // 2],
        rows[len(rows) // 2 :],
    ):  # a row for each of the two methods, neither blank
        assert_drawn(row)
    columns = picture(tmp_path / "samples.png").T
    for column in (columns[: len(columns) // 2], columns[len(columns) // 2 :]):
        assert column.std() > 20


def test_evolution_shows_another_category_only_from_its_task_on(runs, tmp_path):
    figure("evolution", runs, "-o", tmp_path, "--category", "2")
    columns = np.split(
        picture(tmp_path / "evolution.png")[60:, 40:-40].T, [160, 320]
    )  # tasks 1, 2 and 3
    assert columns[0].std() < 10 < 30 < columns[2].std()


def test_evolution_of_a_category_that_joint_training_alone_learned_ends_in_one_line(
    train, finished, tmp_path
):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "joint").symlink_to(finished("joint"))
    train("sft", tmp_path / "runs" / "sft", "--num-tasks", 2)
    done = run_script("figures", "evolution", tmp_path / "runs", "-o", tmp_path, "--category", "2")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: no run has learned category 2 yet")


def test_two_copies_of_a_run_are_not_drawn_as_two_seeds(finished, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        shutil.copy(finished("sft") / "args.json", tmp_path / "runs" / name)
    with pytest.raises(SystemExit, match="one and .*two have the same options and seed"):
        find_groups([tmp_path / "runs"], [])


def test_the_gif_has_a_frame_for_every_saved_generator_and_they_differ(runs, tmp_path):
    figure("evolution", runs, "-o", tmp_path)
    gif = Image.open(tmp_path / "evolution.gif")
    assert gif.n_frames == 9  # three tasks, steps 1, 2 and 4
    frames = [np.asarray(frame.convert("L")).astype(float) for frame in ImageSequence.Iterator(gif)]
    assert all(np.abs(frame - other).mean() > 0.1 for frame, other in itertools.pairwise(frames))
    assert all(frame.std() > 20 for frame in frames)


def test_without_snapshots_inside_tasks_evolution_says_so(runs, tmp_path):
    shutil.copytree(runs / "a", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "snapshots")
    assert (
        "--snapshots log stores them"
        in figure("evolution", tmp_path / "run", "-o", tmp_path / "new").stdout
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["evolution.png"]


def test_curves_hold_the_mean_over_seeds_and_every_scored_moment(runs, tmp_path, monkeypatch):
    plotted, save = [], curves.save
    monkeypatch.setattr(
        curves, "save", lambda figure, path: plotted.append(figure) or save(figure, path)
    )
    curves.draw(find_groups([runs], []), tmp_path, [runs])
    results = [json.loads((runs / name / "eval.json").read_text()) for name in "ab"]
    accuracies, fids = plotted[0].axes[0], plotted[0].axes[3]  # of category 0
    for ax, last in [
        (accuracies, [r["accuracy"][2][0] for r in results]),
        (fids, [r["fid"]["test"]["matrix"][2][0] for r in results]),
    ]:
        sft, ra = ax.get_lines()
        assert (sft.get_label(), ra.get_label()) == ("sft", "mergan_ra")
        assert sft.get_xdata() == pytest.approx([0.25, 0.5, 1, 1.25, 1.5, 2, 2.25, 2.5, 3])
        assert sft.get_ydata()[-1] == pytest.approx(sum(last) / 2)


def test_curves_from_copies_of_scores_are_those_of_the_runs(runs, tmp_path, monkeypatch):
    plotted = []
    monkeypatch.setattr(curves, "save", lambda figure, path: plotted.append(figure))
    copies = [
        shutil.copy(runs / name / "eval.json", tmp_path / f"{name}.json") for name in ("a", "b")
    ]
    paths = [*copies, str(runs / "c")]  # copies beside a run
    curves.draw(find_groups([runs], []), tmp_path, [runs])
    curves.draw(find_groups(paths, [], scores=True), tmp_path, paths)
    of_runs, of_copies = (
        [[line.get_xydata().tolist() for line in ax.get_lines()] for ax in drawn.axes]
        for drawn in plotted
    )
    assert of_copies == of_runs


@pytest.mark.parametrize(
    "command, text, message",
    [
        ("samples", None, "scores.json holds no generators, expected runs"),
        ("curves", "{}", "skipped, not readable as ours: "),
        ("curves", "no fid", "scores.json is no eval.json that eval.py wrote"),
    ],
)
def test_what_cannot_be_drawn_from_a_copy_of_scores_is_told(runs, tmp_path, command, text, message):
    path = tmp_path / "scores.json"
    results = json.loads((runs / "a" / "eval.json").read_text())
    if text == "no fid":
        del results["fid"]
    path.write_text("{}" if text == "{}" else json.dumps(results))
    paths = [path, runs / "c"] if text == "{}" else [path]
    done = run_script("figures", command, *paths, "-o", tmp_path / "new")
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_legend_of_many_long_labels_stays_in_the_picture(runs, tmp_path, monkeypatch):
    plotted = []
    monkeypatch.setattr(curves, "save", lambda figure, path: plotted.append(figure))
    results = json.loads((runs / "c" / "eval.json").read_text())
    for weight in range(7):
        copy = json.loads(json.dumps(results))
        copy["arguments"]["lambda_ra"] = 0.001 + weight
        (tmp_path / f"{weight}.json").write_text(json.dumps(copy))
    paths = [str(path) for path in sorted(tmp_path.glob("*.json"))]
    curves.draw(find_groups(paths, [], scores=True), tmp_path, paths)
    (drawn,) = plotted
    drawn.canvas.draw()
    box = drawn.legends[0].get_window_extent()
    assert len(drawn.legends[0].get_texts()) == 7
    assert 0 <= box.x0 and box.x1 <= drawn.bbox.width


def test_curves_refuse_runs_scored_differently(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    path = tmp_path / "runs" / "b" / "eval.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"samples": 128}))
    done = run_script("figures", "curves", tmp_path / "runs", "-o", tmp_path / "new")
    assert (
        done.returncode == 1
        and "runs scored differently (samples: 128 or 64); score them alike" in done.stderr
        and len(done.stderr.splitlines()) == 1
    )


def test_curves_take_the_mean_where_every_seed_was_scored_and_leave_unfinished_runs_out(
    runs, tmp_path, monkeypatch
):
    shutil.copytree(runs, tmp_path / "runs")
    path = tmp_path / "runs" / "b" / "eval.json"
    results = json.loads(path.read_text())
    results["intermediate"] = [
        line for line in results["intermediate"] if line["step"] == 4
    ]  # after tasks alone
    path.write_text(json.dumps(results))
    plotted = []
    monkeypatch.setattr(curves, "save", lambda figure, path: plotted.append(figure))
    draw_curves = lambda: curves.draw(find_groups([tmp_path], []), tmp_path, [""])
    draw_curves()
    own, mean, _ = plotted[0].axes[0].get_lines()
    assert len(own.get_xdata()) == 9 and list(mean.get_xdata()) == [1, 2, 3]
    results["accuracy"][2] = None
    path.write_text(json.dumps(results))
    with pytest.raises(SystemExit, match="is not finished"):
        draw_curves()


def test_joints_level_in_curves_is_its_final_score(finished, tmp_path, monkeypatch):
    for method in ("joint", "sft"):
        shutil.copytree(finished(method), tmp_path / "runs" / method)
    run_script(
        "eval",
        tmp_path / "runs",
        "--samples",
        "64",
        "--intermediate-samples",
        "64",
        "--device",
        "cpu",
    )
    (tmp_path / "runs" / "sft" / "task_1.pt").unlink()  # the scores are enough
    plotted = []
    monkeypatch.setattr(curves, "save", lambda figure, path: plotted.append(figure))
    curves.draw(find_groups([tmp_path], []), tmp_path, [""])
    joint, sft = plotted[0].axes[0].get_lines()
    assert list(sft.get_xdata()) == [0.25, 0.5, 1, 1.25, 1.5, 2, 2.25, 2.5, 3]
    expected = json.loads((tmp_path / "runs" / "joint" / "eval.json").read_text())["accuracy"][2][0]
    assert joint.get_label() == "joint" and list(joint.get_ydata()) == [expected, expected]


def rename(run, names):
    """Give the categories of every saved generator of a run other names, in other order."""
    for path in run.rglob("task_*.pt"):
        snapshot = torch.load(path, weights_only=True)
        torch.save(snapshot | {"categories": names}, path)


def test_a_category_is_found_by_its_name_in_every_run(finished, tmp_path, monkeypatch):
    """Two runs whose third and first category is "c": the picture is of "c" in both."""
    shown = []
    monkeypatch.setattr(samples, "tile", lambda ax, images, columns: shown.append(images))
    monkeypatch.setattr(samples, "save", lambda figure, path: None)
    for folder, method, names in [("a", "sft", ["a", "b", "c"]), ("b", "joint", ["c", "a", "b"])]:
        rename(shutil.copytree(finished(method), tmp_path / folder), names)
    groups = find_groups([tmp_path], [])
    assert [group.label for group in groups] == ["joint", "sft"]
    assert all_names(groups) == ["c", "a", "b"]
    samples.draw(groups, tmp_path, [])
    joint, sft = (SavedGenerator.load(tmp_path / run / "task_3.pt") for run in "ba")
    expected = [joint.draw(0, 64), sft.draw(2, 64), joint.draw(1, 64), sft.draw(0, 64)]
    assert len(shown) == 6
    for images, drawn in zip(shown, expected):
        assert torch.equal(images, drawn[:4])


@pytest.mark.parametrize(
    "text, expected", [("3", "3"), ("7", "7"), ("0", "7"), ("1", "3"), ("5", None), ("x", None)]
)
def test_a_category_is_given_by_its_name_or_else_by_its_index(text, expected):
    assert find_name(text, ["7", "3", "2"]) == expected


def test_curves_of_many_categories_go_on_below_on_the_same_scales(runs, tmp_path, monkeypatch):
    plotted = []
    monkeypatch.setattr(curves, "save", lambda figure, path: plotted.append(figure))
    monkeypatch.setattr(curves, "COLUMNS", 2)
    curves.draw(find_groups([runs], []), tmp_path, [runs])
    results = [json.loads((runs / name / "eval.json").read_text()) for name in "ab"]
    accuracies, empty, fids, _ = plotted[0].axes[4:]  # a second band, of category 2 alone
    assert accuracies.get_title() == "category 2" and not empty.axison
    ends = [result["accuracy"][2][2] for result in results]
    assert accuracies.get_lines()[0].get_ydata()[-1] == pytest.approx(sum(ends) / 2)
    ends = [result["fid"]["test"]["matrix"][2][2] for result in results]
    assert fids.get_lines()[0].get_ydata()[-1] == pytest.approx(sum(ends) / 2)
    assert fids.get_ylim() == plotted[0].axes[2].get_ylim()
    assert accuracies.get_ylim() == plotted[0].axes[0].get_ylim()


def test_curves_take_the_categories_of_different_runs_by_name(runs, tmp_path, monkeypatch):
    plotted = []
    monkeypatch.setattr(curves, "save", lambda figure, path: plotted.append(figure))
    for name, categories in [("a", ["x", "y", "z"]), ("c", ["z", "x", "y"])]:
        run = shutil.copytree(runs / name, tmp_path / name)
        rename(run, categories)
        result = json.loads((run / "eval.json").read_text()) | {"categories": categories}
        (run / "eval.json").write_text(json.dumps(result))
    groups = find_groups([tmp_path], [])
    curves.draw(groups, tmp_path, [tmp_path])
    results = [json.loads((tmp_path / name / "eval.json").read_text()) for name in "ac"]
    assert [ax.get_title() for ax in plotted[0].axes[:3]] == [f"category {n}" for n in "xyz"]
    for column, index in [(0, (0, 1)), (1, (1, 2)), (2, (2, 0))]:
        lines = plotted[0].axes[column].get_lines()
        ends = {line.get_label(): line.get_ydata()[-1] for line in lines}
        sft, ra = (result["accuracy"][2][i] for result, i in zip(results, index))
        assert ends == pytest.approx({"sft": sft, "mergan_ra": ra})


def test_tsne_of_other_data_than_was_learned_ends_in_one_line(runs, tiny_data, tmp_path, call_main):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    path = data / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:16] + bytes(len(path.read_bytes()) - 16))
    message = call_main(figures, "tsne", runs, "-o", tmp_path / "new", "--data-dir", data)
    assert "other data than was learned: training images" in message and "\n" not in message
    assert not list((tmp_path / "new").iterdir())


def test_pictures_that_cannot_be_written_end_in_one_line(finished, tmp_path, call_main):
    (tmp_path / "file").write_text("")
    (tmp_path / "out" / "samples.png").mkdir(parents=True)
    for output, place in [("file/new", "file/new"), ("out", "out/samples.png")]:
        message = call_main(figures, "samples", finished("sft"), "-o", tmp_path / output)
        assert f"error: {tmp_path / place} cannot be written (" in message
        assert message.endswith("choose another --output") and "\n" not in message


def test_paint_on_a_full_disk_ends_in_one_line(finished, tmp_path, call_main, monkeypatch):
    def fill(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")  # Pillow names no file

    monkeypatch.setattr(paint, "save_image", fill)
    message = call_main(figures, "paint", finished("sft"), "-o", tmp_path / "out.png")
    assert f"error: {tmp_path / 'out.png'} cannot be written (No space left" in message
    assert "\n" not in message


def test_event_files_that_cannot_be_written_are_not_said_to_be_in_use(
    finished, tmp_path, call_main
):
    pytest.importorskip("tensorboard")
    run = shutil.copytree(finished("sft"), tmp_path / "run")
    (run / "tensorboard" / "lock").mkdir(parents=True)
    message = call_main(figures, "tensorboard", run)
    assert f"{run / 'tensorboard'} (unable to open database file)" in message
    assert "another process" not in message


def test_tsne_before_a_generator_is_saved_ends_in_one_line(
    finished, tmp_path, call_main, monkeypatch
):
    run = shutil.copytree(finished("sft"), tmp_path / "run")
    for path in [*run.glob("task_*.pt"), *run.glob("snapshots/*")]:
        path.unlink()
    rooms = types.SimpleNamespace(names=["bedroom", "kitchen"], fingerprint=None)
    monkeypatch.setattr(tsne, "RealData", lambda **data: rooms)
    monkeypatch.setattr(tsne, "compare_data", lambda run, real: None)
    message = call_main(figures, "tsne", run, "-o", tmp_path / "new")
    assert message.endswith("no run has saved a generator yet; the categories are bedroom, kitchen")


def test_the_command_that_curves_asks_for_can_be_pasted(finished, tmp_path, call_main):
    run = shutil.copytree(finished("sft"), tmp_path / "my runs" / "one")
    message = call_main(figures, "curves", run, "-o", tmp_path / "new")
    assert message.endswith(f"write it with: python eval.py '{run}'")


def test_broken_files_are_named_and_the_rest_is_drawn(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    (tmp_path / "runs" / "a" / "task_2.pt").write_bytes(b"broken")
    (tmp_path / "runs" / "b" / "args.json").write_text("{")
    done = run_script("figures", "evolution", tmp_path / "runs", "-o", tmp_path / "new")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert (
        str(tmp_path / "runs" / "a" / "task_2.pt") in done.stderr
        and str(tmp_path / "runs" / "b") in done.stderr
    )
    assert (tmp_path / "new" / "evolution.gif").exists()


@pytest.mark.parametrize(
    "command, options, message",
    [
        ("evolution", ["--category", "3"], "--category is 3, expected 0 to 2"),
        ("tsne", ["--points", "1"], "--points is 1, expected at least 2"),
        ("tsne", ["--tasks", "1", "4"], "--tasks 4: no run has such a task; they count from 1"),
        ("samples", ["-o", "out.png"], "--output is out.png, expected a folder"),
    ],
)
def test_figures_with_bad_options_end_in_one_line(runs, tmp_path, command, options, message):
    done = run_script("figures", command, runs, "-o", tmp_path / "new", *options)
    assert (
        done.returncode
        and message in done.stderr.splitlines()[-1]
        and "Traceback" not in done.stderr
    )


def test_curves_without_scores_end_in_one_line(finished, tmp_path):
    done = run_script("figures", "curves", finished("sft"), "-o", tmp_path)
    assert (
        done.returncode == 1
        and "has no readable eval.json; write it with: python eval.py" in done.stderr
    )
    assert len(done.stderr.splitlines()) == 1


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
        (["RUN", "-o", "x"], "--output is x, expected a file name that ends in .png or .jpg"),
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
    runs, tmp_path, package, command
):
    argv = ["figures.py", command, str(runs), "-o", str(tmp_path)]
    hide = f"import sys, runpy; sys.modules['{package}'] = None; sys.argv = {argv}; "
    code = hide + "runpy.run_path('figures.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (
        done.returncode == 1 and "python -m pip install -r requirements-extras.txt" in done.stderr
    )
    assert len(done.stderr.splitlines()) == 1


def test_the_reference_of_the_speed_benchmark_computes_our_losses(monkeypatch):
    import speed

    speed.check_reference()
    monkeypatch.setattr(speed, "penalty", lambda *arguments: 0)
    with pytest.raises(AssertionError):
        speed.check_reference()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_speed_benchmark_reads_a_commands_output_and_its_peak_memory(device, tmp_path):
    from speed import child

    script = tmp_path / "script.py"
    script.write_text("import sys; print('noise'); print(*sys.argv[1:])", encoding="utf-8")
    output, memory = child([script, "--iters", 3], tmp_path / "log", device)
    assert output == ["noise", "--iters 3"]
    assert memory > 5 if device == "cpu" or torch.cuda.is_available() else memory == 0


def test_operations_are_two_for_each_product_of_a_weight_and_a_pixel():
    from speed import Operations

    x, weight = torch.randn(3, 2, 8, 8, requires_grad=True), torch.randn(
        5, 2, 3, 3, requires_grad=True
    )
    forward = 2 * 3 * (5 * 8 * 8) * (2 * 3 * 3)
    with Operations() as counted:
        y = torch.nn.functional.conv2d(x, weight, padding=1)
    assert counted.count == forward
    with Operations() as counted:
        torch.autograd.grad(y.sum(), [x, weight])
    assert counted.count == 2 * forward
    with Operations() as counted:
        torch.randn(7, 4) @ torch.randn(4, 6) @ torch.randn(6, 3)
    assert counted.count == 2 * 7 * 4 * 6 + 2 * 7 * 6 * 3


# Lists of commands


def test_every_line_of_a_list_is_a_command_that_a_script_takes_and_no_two_write_to_the_same_place(
    monkeypatch,
):
    run_dirs = []
    for path in (ROOT / "benchmark").glob("*.txt"):
        for line in path.read_text().splitlines():
            python, script, *options = line.split()
            monkeypatch.setattr(sys, "argv", [script, *options])
            method = "joint" if script == "benchmark/joint_mixed.py" else script.removesuffix(".py")
            run_dirs.append(importlib.import_module(method).parse_args().run_dir)
            assert python == "python"
    assert len(set(run_dirs)) == len(run_dirs) >= 4 * 3 * len(METHODS)  # data sets, seeds
