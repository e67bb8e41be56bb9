"""Pictures of films and scores: what they show, of whom, and what they say where they cannot."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import METHODS, run_script
from made_up import failure, figures_main, shade, write_run
from matplotlib.text import Text
from PIL import Image, ImageSequence

import figures
from pictures import curves, film, forgetting, grid, methods, samples
from pictures.groups import all_names, find_groups, find_name
from pictures.scores import Scores


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three runs: joint.py, sft.py, and a method that nobody knows."""
    folder = tmp_path_factory.mktemp("made_up") / "runs"
    for method in ("joint", "sft", "my_method"):
        write_run(folder / method, method)
    return folder


def films_of(folder):
    problems = []
    films = film.load_films(find_groups([folder], problems), problems)
    assert not problems
    return films


def drawn_grids(monkeypatch):
    """A list, to which every grid adds its rows, columns and cells."""
    found = []
    draw = grid.draw

    def note(rows, columns, cells, *rest, **options):
        found.append((rows, columns, cells, rest, options))
        return draw(rows, columns, cells, *rest, **options)

    monkeypatch.setattr(grid, "draw", note)
    return found


# --------------------------------------------------------------------------------------------------
# One look a method


def luminance(colour):
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return sum(part * value for part, value in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(colour, other):
    low, high = sorted([luminance(colour), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("unknown", [2, 5])
def test_every_method_has_a_look_of_its_own_with_contrast(unknown):
    scripts = [*METHODS, *(f"method_{i}" for i in range(unknown))]
    looks = methods.describe(scripts)
    assert list(looks) == scripts
    for part in ("colour", "colour_on_dark", "marker", "name"):
        assert len({getattr(look, part) for look in looks.values()}) == len(scripts)
    for look in looks.values():
        assert contrast(look.colour, "#ffffff") >= 3, look
        assert contrast(look.colour_on_dark, "#141517") >= 3, look


def test_what_else_is_shown_changes_no_look(tmp_path, monkeypatch):
    text = '"""Learns in its own way.\n\nMore."""\n\ndef update():\n    pass\n'
    for name in ("abc", "xyz"):
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "common.py").write_text("")
    monkeypatch.setattr(methods, "ROOT", tmp_path)
    together = methods.describe(["sft", "xyz", "abc", "nowhere"])
    for script, look in together.items():
        if script != "nowhere":
            assert methods.describe([script]) == {script: look}
    assert together["xyz"].name == "xyz" and together["xyz"].line == "Learns in its own way."
    assert together["nowhere"].line == ""


def test_known_methods_are_all_scripts_in_the_papers_order():
    assert set(methods.KNOWN) == set(METHODS)
    scripts = ["zebra", "mergan_ra", "apple", "joint", "sft"]
    assert sorted(scripts, key=methods.order) == ["joint", "sft", "mergan_ra", "apple", "zebra"]


# --------------------------------------------------------------------------------------------------
# Films


def test_the_clock_counts_tasks():
    assert film.clock([(1, 2), (1, 4), (3, 1)], 4).tolist() == [0.5, 1, 2.25]
    # All categories in one task: its steps count over the whole training
    assert film.clock([(3, 2), (3, 12)], 4).tolist() == [0.5, 3]


def test_moments_that_last_too_short_are_left_out_but_no_end(runs):
    every = [0.25, 0.5, 1, 1.25, 1.5, 2, 2.25, 2.5, 3]
    films = films_of(runs)
    assert film.moments(films) == every
    assert film.moments(films, 0.5) == [0.5, 1, 1.5, 2, 2.5, 3]
    assert film.moments(films, 0.75) == [0.25, 1, 1.25, 2, 2.25, 3]
    assert film.moments(films, 1) == [1, 2, 3]


def test_samples_are_those_of_the_film_after_the_last_task(runs, tmp_path, monkeypatch):
    grids = drawn_grids(monkeypatch)
    samples.draw(films_of(runs), tmp_path, [])
    ((rows, columns, cells, _, _),) = grids
    assert [name for name, _ in rows] == ["0", "1", "2"]
    assert [name for name, _ in columns] == ["Joint training", "Fine-tuning", "my_method"]
    assert len(cells) == 9
    # In the middle of each image its grey; a frame where the judge sees something else
    picture = cells[0, 1]
    assert [picture[16, 32 * z + 16].tolist() for z in range(5)] == [
        [shade(3, 4, 0, z)] * 3 for z in range(5)
    ]
    orange = [255, 106, 19]
    assert all(picture[0, 32 * z].tolist() == orange for z in range(5))
    assert [cells[0, 2][0, 32 * z].tolist() == orange for z in range(5)] == [0, 1, 0, 0, 0]
    assert not any((cells[2, 1] == orange).all(-1).flat)  # the newest is recognised
    assert Image.open(tmp_path / "samples.png").width > 3 * 5 * 64


def test_evolution_shows_a_category_from_its_task_on(runs, tmp_path, monkeypatch):
    grids = drawn_grids(monkeypatch)
    done = figures_main("evolution", runs, "-o", tmp_path, "--category", "1")
    assert done is None
    ((rows, columns, cells, _, _),) = grids
    assert [name for name, _ in columns] == ["task 1", "task 2", "task 3"]
    shown = {(row, column) for row, column in itertools.product(range(3), range(3))}
    assert set(cells) == shown - {(1, 0), (2, 0)}  # joint.py learns all from the start
    assert cells[1, 1].shape == (64, 64, 3)
    assert cells[1, 1][48, 16].tolist() == [shade(2, 4, 1, 2)] * 3
    # joint.py had taken as many steps
    assert cells[0, 0][16, 16].tolist() == [shade(3, 4, 1, 0)] * 3


def test_a_run_that_still_trains_is_not_shown_as_if_it_had_finished(
    runs, tmp_path, monkeypatch, capsys
):
    """It has saved two of three moments of the second task."""
    shutil.copytree(runs, tmp_path / "runs")
    path = tmp_path / "runs" / "sft" / "film.npz"
    with np.load(path) as file:
        parts = {name: file[name] if name == "names" else file[name][:5] for name in file}
    np.savez(path, **parts)
    expected = f"error: {path.parent} is not finished, so samples leaves it out"
    grids = drawn_grids(monkeypatch)
    assert failure(capsys, "samples", tmp_path / "runs", "-o", tmp_path) == [expected]
    assert [name for name, _ in grids[0][1]] == ["Joint training", "my_method"]
    lines = failure(capsys, "samples", path.parent, "-o", tmp_path / "none")
    assert lines[1:] == [
        "error: no run is finished; samples shows what is painted after the last task"
    ]
    assert figures_main("evolution", tmp_path / "runs", "-o", tmp_path) is None
    assert {column for row, column in grids[-1][2] if row == 1} == {0}
    forgetting.draw(films_of(tmp_path / "runs"), tmp_path / "a.gif")
    by_time = {options["done"]: cells for _, _, cells, _, options in grids[-9:]}
    assert [(0, 1) in by_time[at / 3] for at in (1, 1.5, 2, 3)] == [True, True, False, False]


def test_runs_of_fewer_tasks_have_their_own_end(tmp_path, monkeypatch):
    write_run(tmp_path / "a", "sft", tasks=2)
    write_run(tmp_path / "b", "ewc", tasks=3)
    grids = drawn_grids(monkeypatch)
    for name in ("samples", "evolution"):
        assert figures_main(name, tmp_path, "-o", tmp_path / "new", *CATEGORY[name]) is None
    cells = grids[0][2]
    assert set(cells) == {(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)}
    assert cells[0, 0][16, 16].tolist() == [shade(2, 4, 0, 0)] * 3
    assert set(grids[1][2]) == {(1, 2)}


CATEGORY = {"samples": [], "evolution": ["--category", "2"]}


@pytest.mark.parametrize("method", ["sft", "a_method_with_a_name_of_many_letters"])
def test_no_title_is_cut(tmp_path, method, monkeypatch):
    """Of one run with one category, the narrowest picture."""
    write_run(tmp_path / "run", method, tasks=1, names=["a category with a long name"])
    edges = []
    monkeypatch.setattr(grid, "save", lambda picture, path: edges.append(np.asarray(picture)))
    samples.draw(films_of(tmp_path), tmp_path, [])
    (pixels,) = edges
    assert (pixels[:, -3:] == 255).all()  # a margin that no letter touches
    assert (
        figures_main("curves", write_run(tmp_path / "b", method, tasks=2), "-o", tmp_path) is None
    )
    for name in ("curves.png", "curves_by_category.png"):
        picture = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert (picture[:, [0, -1]] == 255).all() and (picture[[0, -1]] == 255).all()


def test_tasks_of_several_categories(tmp_path, monkeypatch):
    write_run(tmp_path / "runs" / "sft", "sft", tasks=2, each=2, names=list("abcd"))
    grids = drawn_grids(monkeypatch)
    forgetting.draw(films_of(tmp_path), tmp_path / "a.gif")
    heads = {rest[0] for _, _, _, rest, _ in grids}
    assert ("learning c, d", "task 2 of 2") in heads
    marked = {tuple(options["marked"]) for *_, options in grids}
    assert marked == {(0, 1), (2, 3)}
    found = Scores(find_groups([tmp_path], [])[0].run)
    assert list(found.older(1.5)) == [0, 1] and list(found.newest(1.5)) == [2, 3]
    assert list(found.older(1.0)) == [] and list(found.newest(2.0)) == [2, 3]
    assert dict(found.course(found.older))[2.0] == 80.5  # 60 + 10 · 2 + (0 + 1) / 2
    assert dict(found.course(found.older))[1.5] == 80.5 / 2


# --------------------------------------------------------------------------------------------------
# The GIF


def test_the_gif_lasts_eleven_seconds_and_begins_with_the_end(runs, tmp_path, monkeypatch):
    grids = drawn_grids(monkeypatch)
    forgetting.draw(films_of(runs), tmp_path / "moving.gif")
    heads = [rest[0] for _, _, _, rest, _ in grids]
    assert heads[0] == heads[-1] == ("learning 2", "task 3 of 3")
    assert [options["done"] for *_, options in grids][:3] == [1, 0.25 / 3, 0.5 / 3]
    assert list(grids[1][4]["marked"]) == [0] and list(grids[-1][4]["marked"]) == [2]
    assert [name for name, _ in grids[0][1]] == ["Joint training", "Fine-tuning", "my_method"]
    with Image.open(tmp_path / "moving.gif") as file:
        assert file.info["loop"] == 0
        frames = [
            (frame.info["duration"], frame.convert("RGB")) for frame in ImageSequence.Iterator(file)
        ]
    durations = [duration for duration, _ in frames]
    assert 10_000 <= sum(durations) <= 12_000
    # Time is linear: from 0.25 to 0.5 half as long as from 0.5 to 1; ends rest
    assert durations[2] == pytest.approx(2 * durations[1], abs=10)
    assert durations[3] > 2 * durations[1]
    colours = {tuple(pixel) for pixel in np.asarray(frames[0][1]).reshape(-1, 3)}
    for name in ("joint", "sft"):  # as in every other picture
        colour = methods.KNOWN[name].colour
        assert tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) in colours


def test_any_name_can_stand_in_the_gif(tmp_path):
    names = ["two\nlines", "caf\udce9", "\u2028"]
    write_run(tmp_path / "run", "sft")
    with np.load(tmp_path / "run" / "film.npz") as file:
        parts = dict(file) | {"names": np.array(names)}
    np.savez(tmp_path / "run" / "film.npz", **parts)
    forgetting.draw(films_of(tmp_path), tmp_path / "moving.gif")
    with Image.open(tmp_path / "moving.gif") as file:
        assert file.n_frames > 3


def test_a_gif_that_grows_too_large_shows_fewer_images(runs, tmp_path, monkeypatch):
    grids = drawn_grids(monkeypatch)
    forgetting.draw(films_of(runs), tmp_path / "moving.gif")
    assert {cells[0, 0].shape[1] for _, _, cells, _, _ in grids} == {96}
    monkeypatch.setattr(forgetting, "LIMIT", 1)
    forgetting.draw(films_of(runs), tmp_path / "moving.gif")
    assert {cells[0, 0].shape[1] for _, _, cells, _, _ in grids} == {96, 64, 32}


# --------------------------------------------------------------------------------------------------
# Curves


def plotted(monkeypatch):
    """A list, to which every figure of curves is added instead of being saved."""
    found = []
    monkeypatch.setattr(curves, "save", lambda figure, path: found.append(figure))
    return found


def test_curves_show_the_mean_of_the_older_categories_over_seeds(tmp_path, monkeypatch):
    found = plotted(monkeypatch)
    write_run(tmp_path / "a", "sft", base=20)
    write_run(tmp_path / "b", "sft", base=40, seed=2)
    write_run(tmp_path / "c", "joint")
    curves.draw(find_groups([tmp_path], []), tmp_path)
    joint, sft = found[0].axes[0].get_lines()
    assert sft.get_xdata().tolist() == [1.25, 1.5, 2, 2.25, 2.5, 3]
    # After task 2 of category 0; inside task 3 half the mean of 0 and 1; after it their mean
    assert sft.get_ydata().tolist() == [25, 25, 50, 30.25, 30.25, 60.5]
    assert joint.get_ydata().tolist() == [90.5, 90.5]
    names = [text.get_text() for text in found[0].axes[0].texts]
    assert sorted(names) == ["Fine-tuning (2 seeds)", "Joint training"]
    band, *_ = found[0].axes[0].collections[1].get_paths()
    assert band.get_extents().y1 == pytest.approx(60.5 + 14.142, abs=0.01)
    colours = {line.get_color() for line in (joint, sft)}
    assert colours == {methods.KNOWN["joint"].colour, methods.KNOWN["sft"].colour}


@pytest.mark.parametrize("base", [-30, 30, 69])  # all end near 0, in the middle, near 100
def test_names_at_the_ends_of_curves_do_not_cover_one_another(tmp_path, monkeypatch, base):
    found = plotted(monkeypatch)
    for i in range(9):
        write_run(tmp_path / str(i), f"method_{i}", base=base + 0.1 * i)
    curves.draw(find_groups([tmp_path], []), tmp_path)
    found[0].canvas.draw()
    texts = found[0].axes[0].texts
    boxes = sorted((Text.get_window_extent(text) for text in texts), key=lambda box: box.y0)
    assert len(boxes) == 9
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))
    frame = found[0].axes[0].bbox
    assert frame.y0 - 20 < boxes[0].y0 and boxes[-1].y1 < frame.y1 + 20


def test_curves_by_category_hold_every_scored_moment_and_fid_at_ends(runs, tmp_path, monkeypatch):
    found = plotted(monkeypatch)
    curves.draw(find_groups([runs], []), tmp_path)
    axes = found[1].axes
    accuracy, fid = axes[0], axes[3]
    assert [ax.get_title() for ax in axes[:3]] == ["0", "1", "2"]
    joint, sft, own = accuracy.get_lines()
    assert sft.get_xdata().tolist() == [0.25, 0.5, 1, 1.25, 1.5, 2, 2.25, 2.5, 3]
    assert sft.get_ydata().tolist() == [35, 35, 70, 40, 40, 80, 45, 45, 90]
    assert fid.get_lines()[1].get_xydata().tolist() == [[1, 70], [2, 80], [3, 90]]
    assert joint.get_ydata().tolist() == [90, 90]
    assert axes[2].get_lines()[1].get_ydata().tolist() == [92 / 2, 92 / 2, 92]
    assert axes[5].get_lines()[1].get_xydata().tolist() == [[3, 92]]  # a point, no level
    assert axes[5].get_ylim() == fid.get_ylim()


def test_categories_of_different_runs_are_taken_by_name(tmp_path, monkeypatch):
    found = plotted(monkeypatch)
    write_run(tmp_path / "a", "sft", names=["x", "y", "z"])
    write_run(tmp_path / "b", "ewc", names=["z", "x", "y"])
    groups = find_groups([tmp_path / "a" / "eval.json", tmp_path / "b" / "eval.json"], [], True)
    assert all_names(groups) == ["x", "y", "z"]
    curves.draw(groups, tmp_path)
    ends = [[line.get_ydata()[-1] for line in ax.get_lines()] for ax in found[1].axes[:3]]
    assert ends == [[90, 91], [91, 92], [92, 90]]


@pytest.mark.parametrize(
    "text, expected", [("3", "3"), ("7", "7"), ("0", "7"), ("1", "3"), ("5", None), ("x", None)]
)
def test_a_category_is_given_by_its_name_or_else_by_its_index(text, expected):
    assert find_name(text, ["7", "3", "2"]) == expected


# --------------------------------------------------------------------------------------------------
# Copies, and what cannot be drawn


def test_copies_give_the_pictures_of_the_runs(runs, tmp_path):
    copies = []
    for name in ("joint", "sft", "my_method"):
        copies.append(shutil.copy(runs / name / "eval.json", tmp_path / f"{name}.json"))
        shutil.copy(runs / name / "film.npz", tmp_path / f"{name}.npz")
    for name in ("samples", "evolution", "curves"):
        assert figures_main(name, runs, "-o", tmp_path / "runs") is None
        assert figures_main(name, *copies, "-o", tmp_path / "copies") is None
    for suffix, name in [("html", "page"), ("gif", "forgetting")]:
        assert figures_main(name, runs, "-o", tmp_path / "runs" / f"a.{suffix}") is None
        assert figures_main(name, *copies, "-o", tmp_path / "copies" / f"a.{suffix}") is None
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(names) == 6
    for name in names:
        pair = [(tmp_path / folder / name).read_bytes() for folder in ("runs", "copies")]
        assert pair[0] == pair[1], name


def test_what_has_no_film_says_so_in_one_line_and_the_rest_is_drawn(runs, tmp_path, capsys):
    shutil.copytree(runs, tmp_path / "runs")
    path = tmp_path / "runs" / "sft" / "film.npz"
    path.unlink()
    expected = f"error: {path} not found; score it with: python eval.py {path.parent}"
    assert failure(capsys, "samples", tmp_path / "runs", "-o", tmp_path / "new") == [expected]
    assert (tmp_path / "new" / "samples.png").exists()
    assert failure(capsys, "samples", path.parent, "-o", tmp_path / "other") == [expected]
    assert not (tmp_path / "other" / "samples.png").exists()


@pytest.mark.parametrize("damage", ["cut", "text", "names", "moments", "no images", "shape"])
def test_a_damaged_film_is_one_line(tmp_path, capsys, damage):
    path = write_run(tmp_path / "run", "sft") / "film.npz"
    with np.load(path) as file:
        parts = dict(file)
    if damage == "names":
        parts["names"] = parts["names"][:2]
    elif damage == "moments":
        parts["moments"] = parts["moments"][::-1]
    elif damage == "no images":
        del parts["images"]
    elif damage == "shape":
        parts["images"] = parts["images"][:, :, :3]
    np.savez(path, **parts)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "text":
        path.write_text("no film")
    (line,) = failure(capsys, "page", tmp_path / "run", "-o", tmp_path / "page.html")
    assert line.startswith(f"error: {path} is damaged (") and "python eval.py" in line
    assert not (tmp_path / "page.html").exists()


def test_all_says_at_once_what_it_cannot_draw(runs, tmp_path, capsys, monkeypatch):
    shutil.copytree(runs, tmp_path / "runs")
    for path in [*tmp_path.rglob("film.npz"), *tmp_path.rglob("eval.json")]:
        path.unlink()
    told = []
    monkeypatch.setattr(figures.tsne, "draw", lambda *_, **__: told.append(capsys.readouterr().err))
    assert figures_main("all", tmp_path / "runs", "-o", tmp_path / "new") == 1
    (before,) = told  # before the slow t-SNE begins
    lines = before.splitlines()
    assert len(lines) == 4 and all(line.startswith("error: ") for line in lines)
    assert "eval.json" in lines[-1] and capsys.readouterr().err == ""


def test_all_of_copies_draws_all_but_tsne(runs, tmp_path, capsys):
    for name in ("joint", "sft"):
        shutil.copy(runs / name / "eval.json", tmp_path / f"{name}.json")
        shutil.copy(runs / name / "film.npz", tmp_path / f"{name}.npz")
    copies = sorted(tmp_path.glob("*.json"))
    (line,) = failure(capsys, "all", *copies, "-o", tmp_path / "new")
    assert "holds only scores; tsne needs the generators of runs" in line
    drawn = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert drawn == ["curves.png", "curves_by_category.png", "evolution.png", "samples.png"]


def test_copies_that_lack_something_end_in_one_line(runs, tmp_path, capsys):
    copy = shutil.copy(runs / "sft" / "eval.json", tmp_path / "sft.json")
    (line,) = failure(capsys, "samples", copy, "-o", tmp_path / "new")
    assert line.startswith(f"error: {tmp_path / 'sft.npz'} not found; copy its run's film.npz")
    (line,) = failure(capsys, "losses", copy, "-o", tmp_path / "new")
    assert "holds only scores, expected runs" in line
    scores = json.loads((tmp_path / "sft.json").read_text())
    del scores["fid"]
    (tmp_path / "sft.json").write_text(json.dumps(scores))
    (line,) = failure(capsys, "curves", copy, "-o", tmp_path / "new")
    assert "is damaged or not ours (KeyError: 'fid'); copy it again" in line
    (tmp_path / "sft.json").write_text("{}")
    lines = failure(capsys, "curves", copy, runs / "joint", "-o", tmp_path / "new")
    assert len(lines) == 1 and "sft.json is not readable as ours" in lines[0]
    assert (tmp_path / "new" / "curves.png").exists()


@pytest.mark.parametrize("name", ["curves", "page"])
def test_runs_scored_differently_share_no_picture(runs, tmp_path, capsys, name):
    shutil.copytree(runs, tmp_path / "runs")
    path = tmp_path / "runs" / "sft" / "eval.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"samples": 128}))
    output = tmp_path / ("page.html" if name == "page" else "new")
    (line,) = failure(capsys, name, tmp_path / "runs", "-o", output)
    assert "runs scored differently (samples: 640 or 128); score them alike: python" in line


def test_curves_need_whole_runs(runs, tmp_path, capsys):
    shutil.copytree(runs, tmp_path / "my runs")
    run = tmp_path / "my runs" / "sft"
    scores = json.loads((run / "eval.json").read_text())
    scores["accuracy"][-1] = None
    (run / "eval.json").write_text(json.dumps(scores))
    (line,) = failure(capsys, "curves", run, "-o", tmp_path / "new")
    assert "sft is not finished; curves shows whole runs" in line
    (run / "eval.json").unlink()
    (line,) = failure(capsys, "curves", run, "-o", tmp_path / "new")
    assert line.endswith(f"has no eval.json; write it with: python eval.py '{run}'")


def test_runs_that_learn_in_different_orders_share_no_film(tmp_path, capsys):
    write_run(tmp_path / "runs" / "a", "sft", names=["x", "y", "z"])
    write_run(tmp_path / "runs" / "b", "ewc", names=["y", "x", "z"])
    (line,) = failure(capsys, "page", tmp_path / "runs", "-o", tmp_path / "page.html")
    assert line.endswith("b learns y, x, z, others x, y, z; show them one at a time")


def test_two_copies_of_a_run_are_not_drawn_as_two_seeds(tmp_path):
    for name in ("one", "two"):
        write_run(tmp_path / name, "sft")
    with pytest.raises(SystemExit, match="one and .*two have the same options and seed"):
        find_groups([tmp_path], [])


def test_runs_of_one_method_with_other_options_share_its_colour(tmp_path):
    for i in range(2):
        write_run(tmp_path / str(i), "ewc", lambda_ewc=10 * i)
    first, second = find_groups([tmp_path], [])
    assert (first.label, second.label) == ("EWC lambda_ewc=0", "EWC lambda_ewc=10")
    assert first.look == second.look and first.dash != second.dash


def test_pictures_that_cannot_be_written_end_in_one_line(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "out" / "samples.png").mkdir(parents=True)
    (tmp_path / "out" / "curves.png").mkdir(parents=True)
    for name, output, place in [
        ("samples", "file/new", "file/new"),
        ("samples", "out", "out/samples.png"),
        ("curves", "out", "out/curves.png"),
    ]:
        (line,) = failure(capsys, name, runs, "-o", tmp_path / output)
        assert f"error: {tmp_path / place} cannot be written (" in line
        assert line.endswith("choose another --output")


@pytest.mark.parametrize(
    "command, options, message",
    [
        ("evolution", ["--category", "3"], "--category is 3, expected 0 to 2"),
        ("tsne", ["--points", "1"], "--points is 1, expected at least 2"),
        ("samples", ["-o", "out.png"], "--output is out.png, expected a folder"),
        ("page", ["-o", "new"], "--output is new, expected a file name that ends in .html"),
    ],
)
def test_bad_options_end_in_one_line(runs, tmp_path, command, options, message):
    output = [] if "-o" in options else ["-o", tmp_path / "new"]
    done = run_script("figures", command, runs, *output, *options)
    assert done.returncode and message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_pictures_of_films_load_no_network(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "load", None)
    for name in ("samples", "evolution", "curves"):
        assert figures_main(name, runs, "-o", tmp_path) is None
