"""The page that figures.py writes, opened in a browser."""

import base64
import io
import json
import os
import re
import shutil

import numpy as np
import pytest
from conftest import METHODS as ALL
from conftest import ROOT, run_script
from made_up import recognised, shade, write_run
from PIL import Image

from pictures import methods, page
from pictures.film import load_films
from pictures.groups import find_groups

METHODS = ["joint", "sft", "dgr", "my_method"]  # in the order of the page
NAMES = ["Joint training", "Fine-tuning", "Generative replay", "my_method"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
STEP = 255 / 11 / 2 + 1  # grey levels by which a picture may be rounded
MOMENTS = [(task, step) for task in (1, 2, 3) for step in (1, 2, 4)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Four runs, and a second seed of one of them, whose film cannot be read."""
    folder = tmp_path_factory.mktemp("page") / "runs"
    for i, method in enumerate(METHODS):
        write_run(folder / method, method, base=50 + 5 * i)
    write_run(folder / "another", "sft", seed=2)
    (folder / "another" / "film.npz").write_bytes(b"of the seed that is not shown, and so not read")
    return folder


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    """The page of the runs, as the command writes it."""
    path = tmp_path_factory.mktemp("written") / "new" / "page.html"
    done = run_script("figures", "page", runs, "-o", path)
    assert done.returncode == 0, done.stderr
    assert f"wrote {path}" in done.stdout
    return path


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """A page of seven methods and ten categories, at the size of MNIST."""
    folder = tmp_path_factory.mktemp("seven")
    for method in ALL:
        write_run(folder / "runs" / method, method, tasks=10, base=-10)
    write(folder / "runs", folder / "page.html")
    return folder / "page.html"


def write(runs, path):
    """The page of runs, made in this process."""
    problems = []
    films = load_films(find_groups([runs], problems), problems)
    assert problems == []
    page.draw(films, path)


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
    """{label of a canvas before its colon: uint8 [H, W, RGBA]}."""
    canvases = tab.evaluate("""() => [...document.querySelectorAll("canvas")].map((canvas) =>
          [canvas.getAttribute("aria-label").split(":")[0], canvas.toDataURL()])""")
    found = {}
    for name, url in canvases:
        file = io.BytesIO(base64.b64decode(url.split(",")[1]))
        found[name] = np.asarray(Image.open(file).convert("RGBA"))
    return found


def move_to(tab, time):
    """Drag the slider, as a hand does. time: tasks learned by then."""
    tab.locator("#slider").fill(str(time))


def moment(tab):
    return float(tab.locator("#slider").input_value())


def choose(tab, name):
    tab.locator(".choices").get_by_role("button", name=name, exact=True).click()


def assert_painted(canvas, method, task, step, category):
    """That a canvas shows the images of the film, framed where the judge sees another category."""
    if category >= task and method != "joint":
        assert not canvas.any()
        return
    if method == "joint":  # its last step by then, of 1, 2, 4, 8 and 12
        step = max(n for n in (1, 2, 4, 8, 12) if n <= 4 * (task - 1) + step)
        task = 3
    for z in range(canvas.shape[1] // 32):
        image = canvas[:, 32 * z : 32 * z + 32].astype(float)
        assert np.abs(image[16, 16, :3] - shade(task, step, category, z)).max() <= STEP
        newest = category >= task - 1
        framed = not (newest or recognised(method, z))
        colours = image[[0, 1, -1, -2], 5:-5, :3], image[5:-5, [0, 1, -1, -2], :3]
        for part in colours:
            assert ((part == (255, 106, 19)).all(-1)).all() == framed
        assert (image[2:-2, 2:-2, 0] == image[2:-2, 2:-2, 2]).all()


def test_every_picture_is_that_of_the_moment_and_framed_where_it_is_not_recognised(visit, written):
    tab = visit(written)
    assert tab.locator("#slider").get_attribute("max") == "3"
    for task, step in [(3, 4), *MOMENTS]:  # the page opens at the last
        move_to(tab, task - 1 + step / 4)
        pictures = shown(tab)
        assert len(pictures) == 12
        for method, name in zip(METHODS, NAMES):
            for category in range(3):
                canvas = pictures[f"{name}, {category}"]
                assert canvas.shape[1] >= 3 * 32
                assert_painted(canvas, method, task, step, category)
        text = f"Task {task} of 3: {task - 1} is learned"
        if step < 4:
            text = f"Task {task} of 3: learning {task - 1}, {25 * step} % of its steps"
        assert tab.locator("#moment").inner_text() == text
        assert tab.locator("#slider").get_attribute("aria-valuetext") == text
        learning = tab.locator(".row.learning").all_inner_texts()
        assert learning == [str(task - 1)]


def test_one_category_alone_shows_all_its_images(visit, written):
    tab = visit(written)
    choose(tab, "2")
    pictures = shown(tab)
    assert list(pictures) == [f"{name}, 2" for name in NAMES]
    for method, name in zip(METHODS, NAMES):
        assert pictures[f"{name}, 2"].shape == (32, 160, 4)
        assert_painted(pictures[f"{name}, 2"], method, 3, 4, 2)
    choose(tab, "0")
    label = tab.locator("canvas").nth(2).get_attribute("aria-label")
    assert label == "Generative replay, 0: 4 of 5 images recognised"
    choose(tab, "2")
    move_to(tab, 0)
    label = tab.locator("canvas").nth(1).get_attribute("aria-label")
    assert label == "Fine-tuning, 2: not learned yet"


def test_play_and_pause(visit, written):
    tab = visit(written)
    button = tab.locator("#play")
    assert moment(tab) == 3
    button.click()  # at the end, play begins anew
    assert moment(tab) < 3
    assert "Pause" in button.inner_text()
    tab.wait_for_function("document.getElementById('slider').value >= 0.5")
    button.click()
    assert "Play" in button.inner_text()
    paused = moment(tab)
    tab.wait_for_timeout(2200)
    assert moment(tab) == paused
    button.click()
    tab.wait_for_function("document.getElementById('slider').value == 3")
    tab.wait_for_function("document.getElementById('play').textContent.includes('Play')")


def test_time_is_linear_and_ends_of_tasks_rest(visit, written):
    tab = visit(written)
    tab.evaluate("""() => { window.waits = []; const set = window.setTimeout;
          window.setTimeout = (f, ms) => { waits.push(ms); return set(f, 0); }; }""")
    tab.locator("#play").click()
    tab.wait_for_function("waits.length === 8")
    waits = tab.evaluate("waits")
    assert waits == pytest.approx([375, 750, 975, 375, 750, 975, 375, 750])


@pytest.mark.parametrize("click", [None, "category", "play", "slider", "chart", "table"])
def test_keys_work_wherever_one_has_clicked(visit, written, click):
    tab = visit(written, viewport={"width": 1300, "height": 500})
    press = tab.keyboard.press
    places = {"play": "#play", "slider": "#slider", "chart": ".chart >> nth=0", "table": "table"}
    if click == "category":
        choose(tab, "1")
    elif click:
        tab.locator(places[click] + (" >> nth=0" if click == "table" else "")).click()
    scrolled = tab.evaluate("scrollY")
    press("Home")
    assert moment(tab) == 0.25
    press("ArrowLeft")
    assert moment(tab) == 0.25
    press("ArrowRight")
    assert moment(tab) == 0.5
    press("End")
    assert moment(tab) == 3
    press("Space")
    assert "Pause" in tab.locator("#play").inner_text()
    press("Space")
    assert "Play" in tab.locator("#play").inner_text()
    press("Space")
    press("ArrowLeft")  # a step by hand pauses
    assert "Play" in tab.locator("#play").inner_text()
    assert tab.evaluate("scrollY") == scrolled  # space scrolls nothing
    pressed = tab.locator(".choices [aria-pressed=true]").inner_text()
    assert pressed == ("1" if click == "category" else "all")


def test_a_category_is_chosen_by_keys(visit, written):
    tab = visit(written)
    for _ in range(3):
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert tab.locator(".choices [aria-pressed=true]").inner_text() == "1"


def test_who_wants_little_motion_sees_the_ends_of_tasks(visit, written):
    tab = visit(written, reduced_motion="reduce")
    tab.evaluate("""() => { window.seen = []; const slider = document.getElementById("slider");
          new MutationObserver(() => seen.push(slider.value)).observe(
            slider, { attributeFilter: ["aria-valuetext"] }); }""")
    tab.locator("#play").click()
    tab.wait_for_function("seen.at(-1) === '3'", timeout=20000)
    assert tab.evaluate("seen") == ["0.25", "1", "2", "3"]


@pytest.mark.parametrize("width", [320, 390, 700, 1000])
def test_no_window_scrolls_sideways(visit, seven, width):
    tab = visit(seven, viewport={"width": width, "height": 700})
    for category in ("all", "2"):
        choose(tab, category)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [canvas.bounding_box() for canvas in tab.locator("canvas").all()]
        assert all(box["width"] >= 32 for box in boxes)
        if width >= 390:
            assert all(box["x"] + box["width"] <= width for box in boxes)
    assert tab.locator("#play").is_visible() and tab.locator("#slider").is_visible()


@pytest.mark.parametrize("count", [2, 7])
def test_nothing_hides_a_row_at_1280_by_720(visit, seven, tmp_path, count):
    if count == 2:
        for method in ("sft", "ewc"):
            shutil.copytree(seven.parent / "runs" / method, tmp_path / "runs" / method)
        seven = tmp_path / "page.html"
        write(tmp_path / "runs", seven)
    tab = visit(seven, viewport={"width": 1280, "height": 720})
    boxes = [canvas.bounding_box() for canvas in tab.locator("canvas").all()]
    player = tab.locator(".player").bounding_box()
    assert len(boxes) == 10 * count
    assert min(box["y"] for box in boxes) >= player["y"] + player["height"]
    assert max(box["y"] + box["height"] for box in boxes) <= 720
    # Every row stands beside its name
    for i, row in enumerate(tab.locator(".row").all()):
        name, picture = row.bounding_box(), boxes[count * i]
        middle = name["y"] + name["height"] / 2
        assert picture["y"] <= middle <= picture["y"] + picture["height"]


def test_at_200_percent_zoom_pictures_are_not_covered(visit, seven):
    tab = visit(seven, viewport={"width": 640, "height": 360}, device_scale_factor=2)
    tab.locator("canvas").last.scroll_into_view_if_needed()
    player = tab.locator(".player").bounding_box()
    assert player["y"] + player["height"] < 0  # it scrolls away
    covered = tab.evaluate("""() => [...document.querySelectorAll("canvas")].filter((canvas) => {
          const box = canvas.getBoundingClientRect();
          if (box.top < 0 || box.bottom > innerHeight) return false;
          const on = document.elementFromPoint(box.left + 9, box.top + 9);
          return on !== canvas; }).length""")
    assert covered == 0


def test_names_stand_near_their_rows_with_two_methods(visit, runs, tmp_path):
    for method in ("joint", "sft"):
        shutil.copytree(runs / method, tmp_path / "runs" / method)
    write(tmp_path / "runs", tmp_path / "page.html")
    tab = visit(tmp_path / "page.html", viewport={"width": 1600, "height": 900})
    name = tab.locator(".row").first.bounding_box()
    picture = tab.locator("canvas").first.bounding_box()
    assert 0 < picture["x"] - (name["x"] + name["width"]) < 60


def test_the_header_is_the_table(visit, written):
    tab = visit(written)
    heads = tab.locator(".head .now").all_inner_texts()
    first, second = tab.locator("#scores table").all()
    rows = [row.inner_text().split("\t") for row in first.locator("tbody tr").all()]
    assert [row[0].strip() for row in rows] == NAMES
    assert heads == [f"{row[1]} %" for row in rows] == ["81.0 %", "86.0 %", "91.0 %", "96.0 %"]
    assert rows[1][2:] == ["85.5", "44.4", "77.7", "12.5"]
    choose(tab, "2")
    heads = tab.locator(".head .now").all_inner_texts()
    rows = [row.inner_text().split("\t") for row in second.locator("tbody tr").all()]
    assert heads == [f"{row[3]}.0 %" for row in rows]
    # Inside a task, the score of exactly that moment
    choose(tab, "all")
    move_to(tab, 1.5)
    assert tab.locator(".head .now").nth(1).inner_text() == f"{(75 + 76) / 4:.1f} %"


def points_of(tab, chart, method):
    """[(tasks learned by then, percent)] of a line, from its place in the picture."""
    name = methods.describe(METHODS)[method].colour
    path = tab.locator(".chart").nth(chart).locator(f"g[style*='{name}'] path")
    d = path.get_attribute("d")
    numbers = [tuple(map(float, pair.split())) for pair in re.split("[ML]", d)[1:]]
    return [(3 * (x - 30) / 282, 100 * (130 - y) / 124) for x, y in numbers]


def test_two_curves_tell_remembering_from_learning(visit, written):
    tab = visit(written)
    titles = tab.locator("figure h2").all_inner_texts()
    assert titles == [
        "Remembering: accuracy of the older categories, %",
        "Learning: accuracy of the newest, %",
    ]
    # base 55: after task t of category c 55 + 10 t + c; inside tasks half of it
    older = {1.25: 37.5, 1.5: 37.5, 2: 75, 2.25: 42.75, 2.5: 42.75, 3: 85.5}
    newest = {0.25: 32.5, 0.5: 32.5, 1: 65, 1.25: 38, 1.5: 38, 2: 76, 2.25: 43.5, 2.5: 43.5, 3: 87}
    for chart, expected in enumerate([older, newest]):
        found = points_of(tab, chart, "sft")
        assert np.array(found) == pytest.approx(np.array(list(expected.items())), abs=0.1)
    # What learns everything at once is a level
    assert points_of(tab, 0, "joint") == [
        (0, pytest.approx(80.5, abs=0.1)),
        (3, pytest.approx(80.5, abs=0.1)),
    ]
    chart = tab.locator(".chart").first
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] * (30 + 282 / 2) / 320, "y": 50})  # a click goes there
    assert moment(tab) == 1.5
    choose(tab, "1")
    assert tab.locator("figure h2").all_inner_texts() == ["Accuracy of 1, %"]
    assert len(points_of(tab, 0, "sft")) == 6


def test_the_headline_says_the_finding(visit, written, runs, tmp_path):
    text = visit(written).locator("h1").inner_text()
    expected = "After the last of 3 tasks, Fine-tuning still paints 86 % of the earlier categories"
    assert text == f"{expected} recognisably, my_method 96 %"
    for method in METHODS:
        shutil.copytree(runs / method, tmp_path / "runs" / method)
        (tmp_path / "runs" / method / "eval.json").unlink()
    write(tmp_path / "runs", tmp_path / "page.html")
    tab = visit(tmp_path / "page.html")
    assert tab.locator("h1").inner_text() == "What a generator keeps, and what it forgets"
    assert "python eval.py" in tab.locator("#scores").inner_text()
    assert tab.locator("table").count() == 0 and tab.locator(".chart").count() == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_every_method_says_what_it_does_in_plain_sight(visit, seven, width):
    tab = visit(seven, viewport={"width": width, "height": 800})
    lines = tab.locator("#methods li")
    texts = lines.all_inner_texts()
    for look in methods.KNOWN.values():
        assert any(text.strip() == f"{look.name}: {look.line}" for text in texts)
    assert all(line.is_visible() for line in lines.all())
    footer = tab.locator("footer").inner_text()
    for part in ("Learning and forgetting in image generation", "Memory Replay GANs", "cite"):
        assert part in footer


def test_colours_are_those_of_the_other_pictures_light_and_dark(visit, written):
    look = methods.KNOWN["sft"]
    ground = "getComputedStyle(document.body).backgroundColor"
    mark = "getComputedStyle(document.querySelectorAll('.head .look')[1]).color"
    for scheme, colour in [("light", look.colour), ("dark", look.colour_on_dark)]:
        tab = visit(written, color_scheme=scheme)
        level = int(tab.evaluate(ground).removeprefix("rgb(").split(",")[0])
        assert level > 200 if scheme == "light" else level < 60
        rgb = ", ".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
        assert tab.evaluate(mark) == f"rgb({rgb})"


def test_names_of_categories_are_only_text(visit, tmp_path):
    names = ["</script><script>alert(1)</script>", "\"&'<b>{{data}}", "caf\u2028"]
    write_run(tmp_path / "runs" / "sft", "sft", names=names)
    write(tmp_path / "runs", tmp_path / "page.html")
    tab = visit(tmp_path / "page.html", viewport={"width": 360, "height": 700})
    choices = tab.locator(".choices button").all_text_contents()
    assert choices[1:3] == names[:2] and choices[3].startswith("caf")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.locator(".choices button").nth(1).click()
    assert "</script>" in tab.locator("canvas").first.get_attribute("aria-label")


def test_tasks_of_several_categories(visit, tmp_path):
    write_run(tmp_path / "runs" / "sft", "sft", tasks=2, each=2, names=list("abcd"), base=10)
    write(tmp_path / "runs", tmp_path / "page.html")
    tab = visit(tmp_path / "page.html")
    assert tab.locator("#moment").inner_text() == "Task 2 of 2: c, d is learned"
    assert tab.locator(".row.learning").all_inner_texts() == ["c", "d"]
    assert points_at_end(tab) == pytest.approx([30.5, 32.5], abs=0.1)


def points_at_end(tab):
    """The last value of each chart."""
    found = []
    for path in tab.locator(".chart path").all():
        y = float(path.get_attribute("d").split()[-1])
        found.append(100 * (130 - y) / 124)
    return found


# --------------------------------------------------------------------------------------------------
# What needs no browser


def data_of(path):
    """The JSON in a page."""
    text = path.read_text(encoding="utf-8")
    return json.loads(text.split('id="film">')[1].split("</script>")[0])


def test_the_same_runs_give_the_same_bytes(runs, written, tmp_path):
    write(runs, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == written.read_bytes()


def test_a_page_that_grows_too_large_shows_less(runs, tmp_path, monkeypatch):
    ladder = []
    draw = page.page

    def noting(films, scores, n, least):
        ladder.append((n, least))
        return draw(films, scores, n, least)

    monkeypatch.setattr(page, "page", noting)
    write(runs, tmp_path / "page.html")
    assert ladder == [(5, 0)]
    monkeypatch.setattr(page, "LIMIT", 1)
    write(runs, tmp_path / "page.html")
    assert ladder[1:] == page.LADDER
    data = data_of(tmp_path / "page.html")
    assert data["count"] == 1 and data["at"] == [1, 2, 3]


def test_colour_images_look_like_those_of_the_film():
    random = np.random.default_rng(0)
    smooth = random.integers(0, 256, (5, 3, 3, 4, 4)).repeat(16, 3).repeat(16, 4).astype(np.uint8)
    sheet = page.sheet(smooth)
    assert sheet.shape == (3 * 64, 5 * 64, 3)
    file = io.BytesIO(base64.b64decode(page.data_uri(sheet).split(",")[1]))
    found = np.asarray(Image.open(file).convert("RGB"))
    for frame, images in enumerate(smooth):
        for i, image in enumerate(images):
            part = found[64 * i : 64 * i + 64, 64 * frame : 64 * frame + 64].transpose(2, 0, 1)
            assert np.abs(part.astype(float) - image).mean() < 12


def test_a_script_of_ones_own_is_explained_by_its_docstring(tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "ROOT", tmp_path)
    (tmp_path / "my_method.py").write_text('"""Learns <in> its own way.\n\nMore."""\n')
    write_run(tmp_path / "runs" / "a", "my_method")
    write(tmp_path / "runs", tmp_path / "page.html")
    assert data_of(tmp_path / "page.html")["methods"][0]["line"] == "Learns <in> its own way."
    assert ROOT != methods.ROOT
