"""Pictures of films and scores: what they show, of whom, and what they say where they cannot."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import METHODS
from made_up import cut_film, failure, figures_main, shade, write_run
from matplotlib.text import Text
from PIL import Image, ImageSequence

import figures
from pictures import curves, film, grid, methods, page
from pictures.groups import choose, find_groups
from pictures.scores import Scores
from scoring.tables import place

ORANGE = [255, 106, 19]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three runs: joint.py, sft.py, and a method that nobody knows; not to be changed."""
    folder = tmp_path_factory.mktemp("made_up") / "runs"
    for method in ("joint", "sft", "my_method"):
        write_run(folder / method, method)
    return folder


@pytest.fixture
def runs(made, tmp_path):
    """Copies of the three runs, to be changed."""
    return shutil.copytree(made, tmp_path / "runs")


@pytest.fixture
def grids(monkeypatch):
    """A list, to which every grid that is drawn adds its arguments."""
    found, draw = [], grid.draw
    monkeypatch.setattr(grid, "draw", lambda **options: found.append(options) or draw(**options))
    return found


@pytest.fixture
def plotted(monkeypatch):
    """A list, to which every figure of curves is added instead of being saved."""
    found = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: found.append(figure))
    return found


def texts(named):
    """Of rows or columns."""
    return [text for text, _ in named]


# --------------------------------------------------------------------------------------------------
# One look a method


def contrast(colour, other):
    """The ratio of two colours' luminances, as WCAG defines it."""
    luminances = []
    for text in (colour, other):
        values = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        luminances.append(sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear)))
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


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
    for name in ("abc", "xyz"):
        (tmp_path / f"{name}.py").write_text("def update():\n    pass\n")
    (tmp_path / "common.py").write_text("")
    (tmp_path / "._xyz.py").write_bytes(b"\xff")  # as macOS writes on some disks
    monkeypatch.setattr(methods, "ROOT", tmp_path)
    together = methods.describe(["sft", "xyz", "abc"])
    for script, look in together.items():
        assert methods.describe([script]) == {script: look}
    assert together["xyz"].name == "xyz"


def test_known_methods_are_all_scripts_in_the_papers_order():
    assert set(methods.KNOWN) == set(METHODS)
    assert list(methods.KNOWN) == sorted(methods.KNOWN, key=place)


def test_runs_of_one_method_with_other_options_share_its_colour(tmp_path):
    for i in range(2):
        write_run(tmp_path / str(i), "ewc", lambda_ewc=10 * i)
    first, second = find_groups([tmp_path])
    assert (first.label, second.label) == ("EWC lambda_ewc=0", "EWC lambda_ewc=10")
    assert first.look == second.look and first.dash != second.dash


# --------------------------------------------------------------------------------------------------
# Samples and evolution


def test_the_clock_counts_tasks():
    assert film.clock([(1, 2), (1, 4), (3, 1)], 4).tolist() == [0.5, 1, 2.25]
    # All categories in one task: its steps count over the whole training
    assert film.clock([(3, 2), (3, 12)], 4).tolist() == [0.5, 3]
    assert film.clock([(2, 2), (3, 1)], 4).tolist() == [1.5, 2.25]  # of the first none is left


def test_moments_that_last_too_short_are_left_out_but_no_end(made):
    films = film.load_films(find_groups([made]), [])
    assert film.moments(films) == [0.25, 0.5, 1, 1.25, 1.5, 2, 2.25, 2.5, 3]
    assert film.moments(films, 0.5) == [0.5, 1, 1.5, 2, 2.5, 3]
    assert film.moments(films, 0.75) == [0.25, 1, 1.25, 2, 2.25, 3]
    assert film.moments(films, 1) == [1, 2, 3]


def test_samples_are_those_of_the_film_after_the_last_task(made, tmp_path, grids):
    assert figures_main("samples", made, "-o", tmp_path) is None
    (drawn,) = grids
    assert texts(drawn["rows"]) == ["0", "1", "2"]
    assert texts(drawn["columns"]) == ["Joint training", "Fine-tuning", "my_method"]
    cells = drawn["cells"]
    assert len(cells) == 9
    # In the middle of each image its grey; a frame where the judge sees something else
    greys = [cells[0, 1][16, 32 * z + 16].tolist() for z in range(5)]
    assert greys == [[shade(3, 4, 0, z)] * 3 for z in range(5)]
    framed = [
        [cells[0, column][0, 32 * z].tolist() == ORANGE for z in range(5)] for column in (1, 2)
    ]
    assert framed == [[True] * 5, [False, True, False, False, False]]
    assert not any((cells[2, 1] == ORANGE).all(-1).flat)  # the newest is recognised
    assert Image.open(tmp_path / "samples.png").width > 3 * 5 * 64


def test_an_image_that_a_solver_did_not_find_is_black_without_a_frame(runs, tmp_path, grids):
    """dgr.py; also where all images of a category that was learned are missing."""
    path = runs / "sft" / "film.npz"
    with np.load(path) as file:
        parts = dict(file)
    parts["judged"][-1, :2] = -1
    parts["images"][-1, :2] = 0
    np.savez(path, **parts)
    assert figures_main("samples", runs, "-o", tmp_path) is None
    cells = grids[0]["cells"]
    assert not cells[0, 1].any() and not cells[1, 1].any() and cells[2, 1].any()
    (found,) = film.load_films(find_groups([runs / "sft"]), [])
    assert page.sprite(found, 0, 2, [0, 8])["right"] == ["11", "  "]
    assert page.sprite(found, 2, 2, [0, 8])["right"] == [None, "11"]


def test_evolution_shows_a_category_from_its_task_on(made, tmp_path, grids):
    assert figures_main("evolution", made, "-o", tmp_path, "--category", "1") is None
    (drawn,) = grids
    assert texts(drawn["columns"]) == ["task 1", "task 2", "task 3"]
    every = set(itertools.product(range(3), range(3)))
    assert set(drawn["cells"]) == every - {(1, 0), (2, 0)}  # joint.py learns all from the start
    picture = drawn["cells"][1, 1]
    assert picture.shape == (64, 64, 3) and picture[48, 16].tolist() == [shade(2, 4, 1, 2)] * 3
    # joint.py had taken as many steps
    assert drawn["cells"][0, 0][16, 16].tolist() == [shade(3, 4, 1, 0)] * 3


def test_a_run_that_still_trains_is_not_shown_as_if_it_had_finished(runs, tmp_path, grids, capsys):
    """It has saved two of three moments of the second task."""
    cut_film(runs / "sft", 5)
    expected = (
        f"error: {runs / 'sft'} was not finished when it was scored, so samples leaves it out"
    )
    assert failure(capsys, "samples", runs, "-o", tmp_path) == [expected]
    assert texts(grids.pop()["columns"]) == ["Joint training", "my_method"]
    lines = failure(capsys, "samples", runs / "sft", "-o", tmp_path / "none")
    assert lines[1].startswith("error: no run is finished; samples shows")
    assert figures_main("evolution", runs, "-o", tmp_path) is None
    assert {column for row, column in grids.pop()["cells"] if row == 1} == {0}
    assert figures_main("forgetting", runs, "-o", tmp_path / "a.gif") is None
    by_time = {drawn["done"]: (0, 1) in drawn["cells"] for drawn in grids}
    assert [by_time[at / 3] for at in (1, 1.5, 2, 3)] == [True, True, False, False]


def test_runs_of_fewer_tasks_have_their_own_end(tmp_path, grids):
    write_run(tmp_path / "runs" / "a", "sft", tasks=2)
    write_run(tmp_path / "runs" / "b", "ewc", tasks=3)
    assert figures_main("samples", tmp_path / "runs", "-o", tmp_path) is None
    assert figures_main("evolution", tmp_path / "runs", "-o", tmp_path, "--category", 2) is None
    cells = grids[0]["cells"]
    assert set(cells) == {(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)}
    assert cells[0, 0][16, 16].tolist() == [shade(2, 4, 0, 0)] * 3
    assert set(grids[1]["cells"]) == {(1, 2)}


@pytest.mark.parametrize("method", ["sft", "a_method_with_a_name_of_many_letters"])
def test_no_title_is_cut(tmp_path, method):
    """Of one run with one category, the narrowest picture."""
    run = write_run(tmp_path / "run", method, tasks=1, names=["a category with a long name"])
    assert figures_main("samples", run, "-o", tmp_path) is None
    run = write_run(tmp_path / "b", method, tasks=2)
    assert figures_main("curves", run, "-o", tmp_path) is None
    for name in ("samples.png", "curves.png", "curves_by_category.png"):
        picture = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert (picture[:, -1] == 255).all() and (picture[[0, -1]] == 255).all()


# --------------------------------------------------------------------------------------------------
# The GIF


def test_the_gif_lasts_eleven_seconds_and_begins_with_the_end(made, tmp_path, grids):
    assert figures_main("forgetting", made, "-o", tmp_path / "moving.gif") is None
    heads = [drawn["head"] for drawn in grids]
    assert heads[0] == heads[-1] == ("learning 2", "task 3 of 3")
    assert [drawn["done"] for drawn in grids][:3] == [1, 0.25 / 3, 0.5 / 3]
    assert list(grids[1]["marked"]) == [0] and list(grids[-1]["marked"]) == [2]
    with Image.open(tmp_path / "moving.gif") as file:
        assert file.info["loop"] == 0
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(file)]
        file.seek(0)
        colours = {tuple(pixel) for pixel in np.asarray(file.convert("RGB")).reshape(-1, 3)}
    assert 10_000 <= sum(durations) <= 12_000
    # Time is linear: from 0.25 to 0.5 half as long as from 0.5 to 1; ends rest
    assert durations[2] == pytest.approx(2 * durations[1], abs=10)
    assert durations[3] > 2 * durations[1]
    for name in ("joint", "sft"):  # as in every other picture
        colour = methods.KNOWN[name].colour
        assert tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) in colours


def test_any_name_can_stand_in_the_gif(tmp_path):
    run = write_run(tmp_path / "run", "sft", names=["two\nlines", "caf\udce9", "\u2028"])
    assert figures_main("forgetting", run, "-o", tmp_path / "moving.gif") is None
    with Image.open(tmp_path / "moving.gif") as file:
        assert file.n_frames > 3


def test_the_gif_is_as_wide_as_its_longest_title(tmp_path):
    """That of the second task, which is not the first frame."""
    names = ["a", "a category with a name " + 9 * "that does not end ", "c"]
    run = write_run(tmp_path / "run", "sft", names=names)
    assert figures_main("forgetting", run, "-o", tmp_path / "a.gif") is None
    with Image.open(tmp_path / "a.gif") as file:
        assert file.width > 2 * grid.font(13, "bold").getlength(names[1])
        frames = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(file)]
    darkest = [frame[5:20, 3 * frame.shape[1] // 4 :].min() for frame in frames]
    assert min(darkest) < 128 and darkest[0] > 200


def test_tasks_of_several_categories(tmp_path, grids):
    run = write_run(tmp_path / "sft", "sft", tasks=2, each=2, names=list("abcd"))
    assert figures_main("forgetting", run, "-o", tmp_path / "a.gif") is None
    assert ("learning c, d", "task 2 of 2") in [drawn["head"] for drawn in grids]
    assert {tuple(drawn["marked"]) for drawn in grids} == {(0, 1), (2, 3)}
    found = Scores(find_groups([run])[0].run)
    assert list(found.older(1.5)) == [0, 1] and list(found.newest(1.5)) == [2, 3]
    assert list(found.older(1.0)) == [] and list(found.newest(2.0)) == [2, 3]
    # After the last task 60 + 10 · 2 + (0 + 1) / 2; inside tasks half of it
    older = dict(found.course(found.older))
    assert (older[1.5], older[2.0]) == (80.5 / 2, 80.5)


# --------------------------------------------------------------------------------------------------
# Curves


def test_curves_show_the_mean_of_the_older_categories_over_seeds(tmp_path, plotted):
    write_run(tmp_path / "a", "sft", base=20)
    write_run(tmp_path / "b", "sft", base=40, seed=2)
    write_run(tmp_path / "c", "joint")
    assert figures_main("curves", tmp_path, "-o", tmp_path) is None
    ax = plotted[0].axes[0]
    joint, sft = ax.get_lines()
    assert sft.get_xdata().tolist() == [1.25, 1.5, 2, 2.25, 2.5, 3]
    # After task 2 of category 0; inside task 3 half the mean of 0 and 1; after it their mean
    assert sft.get_ydata().tolist() == [25, 25, 50, 30.25, 30.25, 60.5]
    assert joint.get_ydata().tolist() == [90.5, 90.5]
    names = sorted(text.get_text() for text in ax.texts)
    assert names == ["Fine-tuning (2 seeds)", "Joint training"]
    band, *_ = ax.collections[1].get_paths()
    assert band.get_extents().y1 == pytest.approx(60.5 + 14.142, abs=0.01)
    for line, name in [(joint, "joint"), (sft, "sft")]:
        assert line.get_color() == methods.KNOWN[name].colour


@pytest.mark.parametrize("base", [-30, 30, 69])  # all end near 0, in the middle, near 100
def test_names_at_the_ends_of_curves_do_not_cover_one_another(tmp_path, plotted, base):
    for i in range(9):
        write_run(tmp_path / str(i), f"method_{i}", base=base + 0.1 * i)
    assert figures_main("curves", tmp_path, "-o", tmp_path) is None
    plotted[0].canvas.draw()
    ax = plotted[0].axes[0]
    boxes = sorted((Text.get_window_extent(text) for text in ax.texts), key=lambda box: box.y0)
    assert len(boxes) == 9 and boxes[-1].y1 < ax.bbox.y1 + 20
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))


def test_curves_by_category_hold_every_scored_moment_and_fid_at_ends(made, tmp_path, plotted):
    assert figures_main("curves", made, "-o", tmp_path) is None
    axes = plotted[1].axes
    assert [ax.get_title() for ax in axes[:3]] == ["0", "1", "2"]
    joint, sft, _ = axes[0].get_lines()
    assert sft.get_xdata().tolist() == [0.25, 0.5, 1, 1.25, 1.5, 2, 2.25, 2.5, 3]
    assert sft.get_ydata().tolist() == [35, 35, 70, 40, 40, 80, 45, 45, 90]
    assert axes[3].get_lines()[1].get_xydata().tolist() == [[1, 70], [2, 80], [3, 90]]
    assert joint.get_ydata().tolist() == [90, 90]
    assert axes[2].get_lines()[1].get_ydata().tolist() == [92 / 2, 92 / 2, 92]
    assert axes[5].get_lines()[1].get_xydata().tolist() == [[3, 92]]  # a point, no level
    assert axes[5].get_ylim() == axes[3].get_ylim()


def test_categories_of_different_runs_are_taken_by_name(tmp_path, plotted):
    write_run(tmp_path / "a", "sft", names=["x", "y", "z"])
    write_run(tmp_path / "b", "ewc", names=["z", "x", "y"])
    assert figures_main("curves", tmp_path, "-o", tmp_path) is None
    axes = plotted[1].axes[:3]
    assert [ax.get_title() for ax in axes] == ["x", "y", "z"]
    ends = [[line.get_ydata()[-1] for line in ax.get_lines()] for ax in axes]
    assert ends == [[90, 91], [91, 92], [92, 90]]


def test_any_name_can_stand_in_curves(tmp_path, plotted):
    run = write_run(tmp_path / "run", "sft", names=["US$_{ and $CA", "caf\udce9", "x"])
    assert figures_main("curves", run, "-o", tmp_path) is None
    assert plotted[1].axes[0].get_title() == r"US\$_{ and \$CA"


def test_a_run_without_its_last_but_one_generator_is_no_level(runs):
    path = runs / "sft" / "eval.json"
    change(path, accuracy=[*json.loads(path.read_text())["accuracy"][:1], None, [90, 91, 92]])
    assert not Scores(find_groups([runs / "sft"])[0].run).level
    assert Scores(find_groups([runs / "joint"])[0].run).level


def test_curves_leave_out_what_is_not_whole(runs, tmp_path, capsys, plotted):
    path = runs / "sft" / "eval.json"
    scores = json.loads(path.read_text())
    scores["accuracy"][-1] = scores["fid"]["samples"] = None
    path.write_text(json.dumps(scores))
    (runs / "joint" / "eval.json").unlink()
    assert failure(capsys, "curves", runs, "-o", tmp_path) == [
        f"error: {runs / 'joint'} has no eval.json; write it with: "
        f"python eval.py {runs / 'joint'}",
        f"error: {runs / 'sft'} was not finished when it was scored, so curves leaves it out",
    ]
    assert [text.get_text() for text in plotted[0].axes[0].texts] == ["my_method"]
    *_, line = failure(capsys, "curves", runs / "sft", "-o", tmp_path)
    assert "no run is finished and scored" in line


# --------------------------------------------------------------------------------------------------
# Copies, and what cannot be drawn


def copy(run, path):
    """The scores and the film of a run as path.json and path.npz. Returns the scores' path."""
    shutil.copy(run / "film.npz", path.with_suffix(".npz"))
    return shutil.copy(run / "eval.json", path.with_suffix(".json"))


OUTPUTS = {"page": "page.html", "forgetting": "a.gif"}  # else the folder


def test_copies_give_the_pictures_of_the_runs(made, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "load", None)  # no picture of films loads a network
    copies = [copy(run, tmp_path / run.name) for run in made.iterdir()]
    for verb in ("samples", "evolution", "curves", "page", "forgetting"):
        output = OUTPUTS.get(verb, "")
        assert figures_main(verb, made, "-o", tmp_path / "runs" / output) is None
        assert figures_main(verb, *sorted(copies), "-o", tmp_path / "copies" / output) is None
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(names) == 6
    for name in names:
        pair = [(tmp_path / folder / name).read_bytes() for folder in ("runs", "copies")]
        assert pair[0] == pair[1], name


def test_all_of_copies_draws_all_but_tsne(made, tmp_path, capsys):
    copies = [copy(made / name, tmp_path / name) for name in ("joint", "sft")]
    (line,) = failure(capsys, "all", *copies, "-o", tmp_path / "new")
    assert line.endswith("joint.json holds only scores; tsne needs runs")
    drawn = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert drawn == ["curves.png", "curves_by_category.png", "evolution.png", "samples.png"]


def test_all_says_at_once_what_it_cannot_draw(runs, tmp_path, capsys, monkeypatch):
    for path in runs.glob("*/film.npz"):
        path.unlink()
    told = []
    monkeypatch.setattr(figures.tsne, "draw", lambda *_: told.append(capsys.readouterr().err))
    assert figures_main("all", runs, "-o", tmp_path / "new") == 1
    lines = told[0].splitlines()  # before the slow t-SNE begins
    assert len(lines) == 3 and all("film.npz not found; write it with" in line for line in lines)
    assert capsys.readouterr().err == "" and (tmp_path / "new" / "curves.png").exists()


def test_what_has_no_film_says_so_in_one_line_and_the_rest_is_drawn(runs, tmp_path, capsys):
    path = runs / "sft" / "film.npz"
    path.unlink()
    expected = f"error: {path} not found; write it with: python eval.py {path.parent}"
    assert failure(capsys, "samples", runs, "-o", tmp_path / "new") == [expected]
    assert (tmp_path / "new" / "samples.png").exists()
    scores = shutil.copy(runs / "sft" / "eval.json", tmp_path / "sft.json")
    (line,) = failure(capsys, "samples", scores, "-o", tmp_path / "other")
    assert line == f"error: {tmp_path / 'sft.npz'} not found; copy it from its run"
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("damage", ["cut", "text"])
@pytest.mark.parametrize(
    "verb, name",
    [("page", "film.npz"), ("curves", "eval.json"), ("page", "eval.json"), ("all", "args.json")],
)
def test_a_damaged_file_is_one_line(runs, tmp_path, capsys, verb, name, damage):
    path = runs / "sft" / name
    path.write_bytes(path.read_bytes()[:-100] if damage == "cut" else b"{}")
    output = tmp_path / "new" / OUTPUTS.get(verb, "")
    (line,) = failure(capsys, verb, runs, "-o", output)
    named = path.parent if name == "args.json" else path
    assert line.startswith(f"error: {named} is damaged or not ours (")
    assert not output.exists()


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("verb", ["curves", "page"])
@pytest.mark.parametrize(
    "changed, found",
    [
        ({"samples": 128}, "samples: 640 or 128"),
        ({"intermediate": []}, "images of a category inside tasks, of 3 categories: 64 or 0"),
        ({"other_data": "a, b"}, "images: those learned or a, b"),
    ],
)
def test_runs_scored_differently_share_no_picture(runs, tmp_path, capsys, verb, changed, found):
    change(runs / "sft" / "eval.json", **changed)
    (line,) = failure(capsys, verb, runs, "-o", tmp_path / OUTPUTS.get(verb, ""))
    assert f"runs scored differently ({found}); score them alike" in line


@pytest.mark.parametrize("verb", ["samples", "evolution", "forgetting"])
def test_images_judged_by_different_judges_share_no_picture(runs, tmp_path, capsys, verb):
    change(runs / "sft" / "eval.json", data="87654321")
    (line,) = failure(capsys, verb, runs, "-o", tmp_path / OUTPUTS.get(verb, ""))
    assert line.startswith("error: runs were scored against other images or by another judge")
    (runs / "sft" / "eval.json").unlink()
    assert figures_main(verb, runs, "-o", tmp_path / OUTPUTS.get(verb, "")) is None


def test_only_runs_of_as_many_categories_must_have_as_many_fid_images(runs, tmp_path, capsys):
    path = runs / "sft" / "eval.json"
    change(path, fid=json.loads(path.read_text())["fid"] | {"samples": 4000})
    (line,) = failure(capsys, "curves", runs, "-o", tmp_path)
    assert "(FID images of 3 categories: 5000 or 4000)" in line
    shutil.rmtree(runs / "sft")
    write_run(runs / "sft", "sft", tasks=2)
    change(path, fid=json.loads(path.read_text())["fid"] | {"samples": 4000})
    assert figures_main("curves", runs, "-o", tmp_path) is None


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seed": 1}, "have the same options and seed; name only one of them"),
        ({"dataset": "svhn"}, "data sets (mnist, svhn); name those of one, as runs/mnist__*"),
        ({"seed": 0, "names": list("yxz")}, "learns y, x, z, others x, y, z; show them one"),
        ({"tasks": 1, "each": 3}, "different numbers of categories in a task; show them apart"),
    ],
)
def test_runs_that_do_not_belong_together_end_in_one_line(tmp_path, capsys, changes, message):
    method = "ewc" if "names" in changes else "sft"
    write_run(tmp_path / "a", "sft", names=["x", "y", "z"])
    write_run(tmp_path / "b", method, **{"names": ["x", "y", "z"], **changes})
    (line,) = failure(capsys, "page", tmp_path, "-o", tmp_path / "page.html")
    assert message in line


@pytest.mark.parametrize(
    "verb, output, place",
    [
        ("samples", "file/new", "file/new"),
        ("samples", "out", "out/samples.png"),
        ("curves", "out", "out/curves.png"),
    ],
)
def test_pictures_that_cannot_be_written_end_in_one_line(
    made, tmp_path, capsys, verb, output, place
):
    (tmp_path / "file").write_text("")
    for name in ("samples.png", "curves.png"):
        (tmp_path / "out" / name).mkdir(parents=True)
    (line,) = failure(capsys, verb, made, "-o", tmp_path / output)
    assert f"error: {tmp_path / place} cannot be written (" in line
    assert line.endswith("choose another --output")


@pytest.mark.parametrize(
    "verb, options, message",
    [
        ("evolution", ["--category", "3"], "--category is 3, expected 0 to 2"),
        ("samples", ["-o", "out.png"], "--output is out.png, expected a folder"),
        ("page", ["-o", "new"], "--output is new, expected a file name that ends in .html"),
    ],
)
def test_bad_options_end_in_one_line(made, capsys, verb, options, message):
    *_, line = failure(capsys, verb, made, *options)
    assert message in line


@pytest.mark.parametrize("text, expected", [("3", 1), ("7", 0), ("0", 0), ("1", 1), ("2", 2)])
def test_a_category_is_given_by_its_name_or_else_by_its_index(text, expected):
    assert choose(text, ["7", "3", "2"]) == expected
