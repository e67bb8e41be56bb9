"""The page that figures.py writes, opened in a browser."""

import base64
import io
import json
import os
import shutil

import numpy as np
import pytest
import torch
from conftest import ROOT, run_script
from PIL import Image

from pictures import page
from pictures.film import Film, shoot_all
from pictures.groups import find_groups
from scoring.drawing import SavedGenerator, pixels

METHODS = ["joint", "sft", "dgr", "mergan_ra"]  # in the order of the page
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
STEP = 255 / 15 / 2 + 1  # grey levels by which a picture may be rounded


@pytest.fixture(scope="module")
def runs(train, tmp_path_factory):
    """Four runs that learn fast enough for each saved generator to paint otherwise, and a second
    seed of one of them.
    """
    folder = tmp_path_factory.mktemp("page") / "runs"
    for method in METHODS:
        done = train(method, folder / method, "--learning-rate", "0.05", "--seed", "3")
        assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "sft", folder / "another")
    arguments = json.loads((folder / "another" / "args.json").read_text())
    (folder / "another" / "args.json").write_text(json.dumps(arguments | {"seed": 4}))
    for path in (folder / "another").rglob("task_*.pt"):
        path.write_bytes(b"of the seed that is not shown, and so not read")
    return folder


@pytest.fixture(scope="module")
def scored(runs, tmp_path_factory):
    """The same runs with scores, made up: those after task t of category c are 10 t + c."""
    folder = tmp_path_factory.mktemp("scored") / "runs"
    shutil.copytree(runs, folder)
    for method in METHODS:
        matrix = [[10 * t + c if c < t else None for c in range(3)] for t in (1, 2, 3)]
        if method == "joint":
            matrix[:2] = None, None
        scores = {
            "accuracy": matrix,
            "average_accuracy": [row and sum(filter(None, row)) / 3 for row in matrix],
            "forgetting": 12.5,
            "reverse_accuracy": 77.7,
            "fid": {
                "test": {"all": 44.4, "matrix": matrix},
                "features": "judge",
                "samples": 5000,
            },
            "intermediate": [],
            "samples": 64,
            "statistics": "batch",
            "data": "12345678",
        }
        (folder / method / "eval.json").write_text(json.dumps(scores))
    return folder


@pytest.fixture(scope="module")
def written(scored, tmp_path_factory):
    """The page of the scored runs, as the command writes it."""
    path = tmp_path_factory.mktemp("written") / "new" / "page.html"
    done = run_script("figures", "page", scored, "-o", path)
    assert done.returncode == 0, done.stderr
    assert f"wrote {path}" in done.stdout
    return path


def write(runs, path):
    """The page of runs, made in this process; and what could not be read."""
    skipped = []
    page.draw(find_groups([runs], skipped), path, skipped)
    return skipped


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Open a page from its file. At the end, whatever the browser complained about is an error."""
    contexts, complaints = [], []

    def visit(path, **options):
        context = browser.new_context(**{"viewport": {"width": 1300, "height": 900}, **options})
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: complaints.append(dialog.message))
        tab.on("request", lambda request: refuse_network(request.url))
        tab.goto(path.as_uri())
        tab.wait_for_selector("body[data-ready]")
        return tab

    def refuse_network(url):
        if not url.startswith(("file:", "data:")):
            complaints.append(f"asked for {url}")

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []


def shown(tab):
    """{method: [canvas of each category, uint8 [H, W, RGBA]]}."""
    canvases = tab.evaluate("""() => [...document.querySelectorAll(".method")].map((method) => [
          method.getAttribute("aria-label"),
          [...method.querySelectorAll("canvas")].map((canvas) => canvas.toDataURL()),
        ])""")
    found = {}
    for name, urls in canvases:
        files = [io.BytesIO(base64.b64decode(url.split(",")[1])) for url in urls]
        found[name] = [np.asarray(Image.open(file).convert("RGBA")) for file in files]
    return found


def move_to(tab, index):
    """Drag the slider, as a hand does."""
    tab.locator("#slider").fill(str(index))


def moment(tab):
    return int(tab.locator("#slider").input_value())


def painted(runs, columns):
    """{(method, moment): images of each category, side by side, or None} by the generators.

    joint.py takes its steps 1, 2, 4, 8 and 12 when the others, of four steps a task, are at task 1,
    step 1, 2 and 4; task 2, step 4; task 3, step 4.
    """
    found = {}
    moments = [(task, step) for task in (1, 2, 3) for step in (1, 2, 4)]
    for method in METHODS:
        folder = runs / method
        for task, step in moments:
            path = folder / "snapshots" / f"task_{task}_step_{step:06d}.pt"
            if step == 4:
                path = folder / f"task_{task}.pt"
            if method == "joint":
                steps = max(n for n in (1, 2, 4, 8, 12) if n <= 4 * (task - 1) + step)
                path = folder / "snapshots" / f"task_3_step_{steps:06d}.pt"
                if steps == 12:
                    path = folder / "task_3.pt"
            generator = SavedGenerator.load(path)
            found[method, (task, step)] = strips = []
            for category in range(3):
                strips.append(None)
                if category in generator.seen:
                    images = pixels(generator.draw(category, 64)[:columns])
                    strips[-1] = np.zeros((32, 32 * columns), np.uint8)
                    for i, image in enumerate(images):
                        strips[-1][:, 32 * i : 32 * i + 32] = image[0]
    return moments, found


def test_every_picture_is_that_of_the_generator_of_the_moment(visit, written, runs):
    tab = visit(written)
    rows = shown(tab)["sft"][0].shape[0] // 32
    columns = shown(tab)["sft"][0].shape[1] // 32
    assert (rows, columns) == (2, 4)  # of the nine images, those that fit
    moments, expected = painted(runs, rows * columns)
    assert tab.locator("#slider").get_attribute("max") == str(len(moments) - 1)
    for index in [8, 0, 1, 2, 3, 4, 5, 6, 7]:  # the page opens at the last
        move_to(tab, index)
        pictures = shown(tab)
        assert list(pictures) == METHODS
        for method, canvases in pictures.items():
            for category, canvas in enumerate(canvases):
                strip = expected[method, moments[index]][category]
                if strip is None:
                    assert not canvas.any(), (method, moments[index], category)
                    continue
                halves = canvas[:32, :, 0], canvas[32:, :, 0]
                found = np.concatenate(halves, 1).astype(float)
                assert np.abs(found - strip).max() <= STEP, (method, moments[index], category)
                again = canvas[..., :3] == canvas[..., :1]
                assert again.all()  # grey
        task, step = moments[index]
        text = f"Task {task} of 3: "
        text += f"category {task - 1} is learned" if step == 4 else f"learning category {task - 1}"
        assert tab.locator("#moment").inner_text().startswith(text)
        assert tab.locator("#slider").get_attribute("aria-valuetext").startswith(text)


def test_the_pictures_differ_enough_for_the_test_above(runs):
    moments, expected = painted(runs, 8)
    for method in ("sft", "mergan_ra", "dgr"):
        strips = [expected[method, moment][0].astype(float) for moment in moments]
        for before, after in zip(strips, strips[1:]):
            assert np.abs(before - after).max() > 2 * STEP


def test_one_category_alone_shows_nine_images_of_it(visit, written, runs):
    tab = visit(written)
    tab.get_by_text("2", exact=True).first.click()
    assert tab.locator("canvas").count() == len(METHODS)
    moments, expected = painted(runs, 9)
    for method, (canvas,) in shown(tab).items():
        strip = expected[method, moments[-1]][2]
        square = strip.reshape(32, 3, 3, 32).transpose(1, 0, 2, 3).reshape(96, 96)
        assert np.abs(canvas[..., 0].astype(float) - square).max() <= STEP, method
    label = tab.locator("canvas").nth(1).get_attribute("aria-label")
    assert label.startswith("sft, category 2: 9 images. Task 3 of 3")
    move_to(tab, 0)
    label = tab.locator("canvas").nth(1).get_attribute("aria-label")
    assert label == "sft, category 2: not learned yet"


def test_play_and_pause(visit, written):
    tab = visit(written)
    button = tab.locator("#play")
    assert moment(tab) == 8
    button.click()  # at the end, play begins anew
    assert moment(tab) < 8
    assert "Pause" in button.inner_text()
    tab.wait_for_function("document.getElementById('slider').value >= 2")
    button.click()
    assert "Play" in button.inner_text()
    paused = moment(tab)
    tab.wait_for_timeout(1500)
    assert moment(tab) == paused
    button.click()
    tab.wait_for_function("document.getElementById('slider').value == 8")
    tab.wait_for_function("document.getElementById('play').textContent.includes('Play')")


def test_keys(visit, written):
    tab = visit(written)
    press = tab.keyboard.press
    press("Home")
    assert moment(tab) == 0
    press("ArrowLeft")
    assert moment(tab) == 0
    press("ArrowRight")
    assert moment(tab) == 1
    tab.locator("#slider").focus()  # one step, not two
    press("ArrowRight")
    assert moment(tab) == 2
    press("End")
    assert moment(tab) == 8
    press("Space")
    assert "Pause" in tab.locator("#play").inner_text()
    press("Space")
    assert "Play" in tab.locator("#play").inner_text()
    tab.locator("#play").focus()  # where space presses the button
    press("Space")
    assert "Pause" in tab.locator("#play").inner_text()
    press("ArrowLeft")  # a step by hand pauses
    assert "Play" in tab.locator("#play").inner_text()
    tab.locator("input[type=radio]").first.focus()
    before = moment(tab)
    press("ArrowRight")  # chooses a category, and moves nothing
    assert moment(tab) == before
    assert tab.locator("input:checked").get_attribute("value") == "0"


def test_who_wants_little_motion_sees_the_ends_of_tasks(visit, written):
    tab = visit(written, reduced_motion="reduce")
    tab.evaluate("""() => { window.seen = []; const slider = document.getElementById("slider");
          new MutationObserver(() => seen.push(slider.value)).observe(
            slider, { attributeFilter: ["aria-valuetext"] }); }""")
    tab.locator("#play").click()
    tab.wait_for_function("seen.at(-1) === '8'", timeout=20000)
    assert tab.evaluate("seen") == ["0", "2", "5", "8"]


@pytest.mark.parametrize("width", [320, 390, 700, 1000])
def test_no_window_scrolls_sideways(visit, written, width):
    tab = visit(written, viewport={"width": width, "height": 700})
    for category in (0, 2):
        tab.locator(".choices input").nth(category).check(force=True)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [canvas.bounding_box() for canvas in tab.locator("canvas").all()]
        assert all(box["x"] + box["width"] <= width and box["width"] >= 32 for box in boxes)
    assert tab.locator("#play").is_visible() and tab.locator("#slider").is_visible()


def test_scores_and_curves(visit, written):
    tab = visit(written)
    first, second = tab.locator("#scores table").all()
    assert (
        first.locator("tbody tr").nth(1).inner_text().split()
        == ["sft"] + "31.0 44.4 77.7 12.5".split()
    )
    cells = second.locator("tbody tr").nth(3).inner_text().split()
    assert cells == ["mergan_ra", "30", "31", "32"]
    # Beside a picture stand only the scores of the generator that painted it
    now = tab.locator(".now")
    assert now.nth(1).inner_text() == "31 % · FID 31"
    move_to(tab, 7)
    assert now.nth(1).inner_text() == ""
    move_to(tab, 5)
    assert now.nth(1).inner_text() == "21 % · FID 21"  # (20 + 21) / 2, rounded
    # A line through the ends of the tasks, a level for what learns all at once
    accuracy = tab.locator(".chart").first
    assert accuracy.locator("g.curve").nth(1).locator("path.course").count() == 1
    assert accuracy.locator("g.curve").nth(0).locator("line.course").count() == 1
    cursor = accuracy.locator(".cursor")
    right = float(cursor.get_attribute("x1"))
    move_to(tab, 0)
    assert float(cursor.get_attribute("x1")) < right
    box = accuracy.bounding_box()
    accuracy.click(position={"x": box["width"] - 8, "y": 50})  # a click goes there
    assert moment(tab) == 8


def test_a_method_explains_itself(visit, written):
    tab = visit(written)
    about = tab.locator("#about")
    sentence = (ROOT / "dgr.py").read_text().split("\n")[0].strip('"')
    assert not about.is_visible()
    tab.get_by_role("button", name="dgr").hover()
    assert about.inner_text() == sentence and about.is_visible()
    tab.mouse.move(5, 5)
    assert not about.is_visible()
    tab.get_by_role("button", name="dgr").focus()
    assert about.is_visible()
    tab.keyboard.press("Escape")
    assert not about.is_visible()


def test_dark_where_the_reader_has_it_dark(visit, written):
    ground = "getComputedStyle(document.body).backgroundColor"
    levels = {}
    for scheme in ("light", "dark"):
        colour = visit(written, color_scheme=scheme).evaluate(ground)
        levels[scheme] = int(colour.removeprefix("rgb(").split(",")[0])
    assert levels["light"] > 200 and levels["dark"] < 60


def test_without_scores_the_page_says_how_to_get_them(visit, runs, tmp_path):
    assert write(runs, tmp_path / "page.html") == []
    tab = visit(tmp_path / "page.html")
    assert "python eval.py" in tab.locator("#scores").inner_text()
    assert tab.locator("table").count() == 0 and not tab.locator("#curves").is_visible()


def test_names_of_categories_are_only_text(visit, scored, tmp_path):
    names = ["</script><script>alert(1)</script>", "\"&'<b>{{data}}", "caf\udce9\u2028"]
    for method in ("sft", "joint"):
        shutil.copytree(scored / method, tmp_path / method)
        for path in (tmp_path / method).rglob("task_*.pt"):
            snapshot = torch.load(path, weights_only=True)
            torch.save(snapshot | {"categories": names}, path)
    assert write(tmp_path, tmp_path / "page.html") == []
    tab = visit(tmp_path / "page.html", viewport={"width": 360, "height": 700})
    choices = tab.locator(".choices label").all_text_contents()
    assert choices[1:3] == names[:2] and choices[3].startswith("caf")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.locator(".choices input").nth(1).check(force=True)
    assert "</script>" in tab.locator("canvas").first.get_attribute("aria-label")


# --------------------------------------------------------------------------------------------------
# What needs no browser


def data_of(path):
    """The JSON in a page."""
    text = path.read_text()
    return json.loads(text.split('id="film">')[1].split("</script>")[0])


def test_the_same_runs_give_the_same_bytes(scored, written, tmp_path):
    write(scored, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == written.read_bytes()


def test_a_page_that_grows_too_large_shows_fewer_images(scored, tmp_path, monkeypatch):
    sizes = []
    films = shoot_all([Film(group) for group in find_groups([scored], [])], 9, [])
    monkeypatch.setattr(page, "shoot_all", lambda *arguments: films)
    for limit in (8_000_000, 250_000, 170_000, 100_000):
        monkeypatch.setattr(page, "LIMIT", limit)
        write(scored, tmp_path / "page.html")
        data = data_of(tmp_path / "page.html")
        sizes.append((tmp_path / "page.html").stat().st_size)
        assert sizes[-1] <= limit, (sizes, data["count"])
        assert len(data["methods"][1]["at"]) == (9 if sizes[-1] > 60_000 else 3)
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) > 2


def test_an_unreadable_file_is_told_and_the_page_shows_the_rest(runs, tmp_path):
    shutil.copytree(runs / "sft", tmp_path / "sft")
    damaged = tmp_path / "sft" / "task_2.pt"
    damaged.write_bytes(b"no generator")
    done = run_script("figures", "page", tmp_path / "sft", "-o", tmp_path / "page.html")
    assert done.returncode == 1 and str(damaged) in done.stderr
    assert len(data_of(tmp_path / "page.html")["methods"][0]["at"]) == 8


def test_runs_scored_differently_share_no_page(scored, tmp_path):
    shutil.copytree(scored, tmp_path / "runs")
    path = tmp_path / "runs" / "dgr" / "eval.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"samples": 128}))
    with pytest.raises(SystemExit, match="scored differently"):
        write(tmp_path / "runs", tmp_path / "page.html")
    scores = json.loads((scored / "dgr" / "eval.json").read_text())
    scores["fid"]["samples"] -= 1
    path.write_text(json.dumps(scores))
    with pytest.raises(SystemExit, match="scored differently"):
        write(tmp_path / "runs", tmp_path / "page.html")
    path.write_text("{")
    with pytest.raises(SystemExit, match=f"{path} is damaged"):
        write(tmp_path / "runs", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_runs_that_learn_in_different_orders_share_no_page(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    for path in (tmp_path / "runs" / "sft").rglob("task_*.pt"):
        snapshot = torch.load(path, weights_only=True)
        torch.save(snapshot | {"categories": ["1", "0", "2"]}, path)
    with pytest.raises(SystemExit, match="sft learns 1, 0, 2, others 0, 1, 2"):
        write(tmp_path / "runs", tmp_path / "page.html")


def test_colour_images_look_like_those_of_the_generator():
    random = np.random.default_rng(0)
    smooth = random.integers(0, 256, (5, 3, 3, 4, 4)).repeat(16, 3).repeat(16, 4).astype(np.uint8)
    sheet = page.sheet(list(smooth), 3)
    assert sheet.shape == (3 * 64, 5 * 64, 3)
    file = io.BytesIO(base64.b64decode(page.data_uri(sheet).split(",")[1]))
    found = np.asarray(Image.open(file).convert("RGB"))
    for frame, images in enumerate(smooth):
        for i, image in enumerate(images):
            part = found[64 * i : 64 * i + 64, 64 * frame : 64 * frame + 64].transpose(2, 0, 1)
            assert np.abs(part.astype(float) - image).mean() < 12
