"""A page that plays: what every method paints while it learns, in one HTML file.

The page is page.html, beside this file, filled with two things: sprites, which hold every image
that it can show, and JSON with the moments, the methods and their scores.
"""

import ast
import base64
import html
import io
import itertools
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from files import write
from pictures.canvas import COLOURS
from pictures.film import Film, names_in_order, shoot_all, union
from pictures.groups import setting
from scoring.runs import command
from scoring.tables import ranks

HERE = Path(__file__).parent
LIMIT = 8_000_000  # bytes of a page
# Images of each category, and whether moments inside tasks are shown: what fits is taken
LADDER = [(9, True), (4, True), (2, True), (1, True), (1, False)]
ACROSS = 4096  # pixels: a wider sprite is more than some phones can hold
GREYS = 16  # of grey images: as few as a reader can tell apart, and half a byte each
QUALITY = 80  # of colour images, percent
SHAPES = ["circle", "square", "triangle", "diamond", "plus", "down", "star", "bar"]
DASHES = ["none", "6 3", "2 3", "7 3 2 3"]


def draw(groups, output, skipped):
    """Every method at every moment. Writes the file output.

    skipped: a list, to which files that cannot be read are added.
    """
    films = [Film(group) for group in groups]
    scores = {film.label: read_scores(film) for film in films}
    compare_scoring(films, scores)
    names = names_in_order(groups)
    films = shoot_all(films, LADDER[0][0], skipped)
    for n, inside in LADDER:
        text = page(films, scores, names, setting(groups), n, inside)
        if len(text) <= LIMIT:
            break
    output.parent.mkdir(parents=True, exist_ok=True)
    write(output, lambda file: file.write_bytes(text))
    print(f"wrote {output}, {len(text) / 1e6:.1f} MB")
    if len(text) > LIMIT:
        print(f"that is more than {LIMIT / 1e6:.0f} MB; name fewer runs for a smaller page")


def page(films, scores, names, setting, n, inside):
    """The page as bytes. scores: {label: what eval.json holds, or None}. names: of the categories.

    setting: data, steps and seed, in words.

    n: images of each category. inside: with the moments inside tasks, not only the ends.
    """
    ends = {moment for film in films for moment in film.ends()}
    moments = [moment for moment in union(films) if inside or moment in ends]
    place = {moment: index for index, moment in enumerate(moments)}
    iters = {film.iters for film in films}
    size = image_size(films)
    data = {
        "categories": names,
        "tasks": max(film.tasks for film in films),
        "iters": iters.pop() if len(iters) == 1 else None,
        "moments": moment_list(moments, ends),
        "size": size,
        "count": n,
        "across": ACROSS // size,
        "methods": [],
        "scored": any(scores.values()),
        "legend": legend(scores.values()),
    }
    styles = styles_of(films)
    for film in films:
        of_run = scores[film.label]
        method = {
            "label": film.label,
            "name": film.method,
            "options": film.label.removeprefix(film.method).strip(),
            "about": about(film.method),
            "once": film.at_once,
            "at": [place[moment] for moment in film.images if moment in place],
            "ends": [place[moment] for moment in film.ends() if moment in place],
            "sprites": [sprite(film, category, n, place) for category in range(len(names))],
            "scores": of_run and course(film, of_run, place),
            "final": of_run and final(of_run),
        }
        data["methods"].append(styles[film.label] | method)
    parts = {
        "title": html.escape(f"What a generator keeps: {setting}"),
        "setting": html.escape(setting),
        "data": json_in_html(data),
    }
    template = (HERE / "page.html").read_text(encoding="utf-8")
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)
    return text.encode("utf-8", "replace")  # a name of a folder may be no text


def image_size(films):
    """Height and width of the images, in pixels."""
    for by_category in films[0].images.values():
        for images in by_category.values():
            return images.shape[-1]


def moment_list(moments, ends):
    """The moments for JSON. last: of its task; end: the task is learned."""
    last = {task: (task, step) for task, step in moments}
    found = []
    for task, step in moments:
        is_last = last[task] == (task, step)
        is_end = is_last and (task, step) in ends
        found.append({"task": task, "step": step, "last": is_last, "end": is_end})
    return found


def styles_of(films):
    """{label: colour, shape and dashes}: a colour a method, as in the other pictures, a shape a
    film, dashes for films of the same method.
    """
    styles, count = {}, {}
    places = ranks(film.method for film in films)
    for film, shape in zip(films, itertools.cycle(SHAPES)):
        number = count.setdefault(film.method, 0)
        count[film.method] += 1
        colour = COLOURS[places[film.method] % len(COLOURS)]
        if colour == "#000000":
            colour = "currentColor"  # that of the text, as black would vanish on a dark page
        styles[film.label] = {
            "colour": colour,
            "shape": shape,
            "dash": DASHES[number % len(DASHES)],
        }
    return styles


def json_in_html(data):
    """JSON that may stand inside <script>: no < or > that a browser could take for a tag."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def about(method):
    """What a method does: the first line of its script."""
    path = HERE.parent / f"{method}.py"
    if not method.isidentifier() or not path.exists():
        return method
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or method).split("\n")[0]


# --------------------------------------------------------------------------------------------------
# Sprites


def sprite(film, category, n, place):
    """All images of one category by one method in one image file; None if it never learned it.

    source: the file as a data URI. frames: which of the film's moments stand in it, side by side, n
    images one below the other each. counts: how many of the n there are.
    """
    moments = [moment for moment in film.images if moment in place]
    frames = [index for index, moment in enumerate(moments) if category in film.images[moment]]
    parts = [film.images[moments[index]][category][:n] for index in frames]
    counts = [len(part) for part in parts]
    if not sum(counts):
        return None
    source = data_uri(sheet(parts, n))
    return {"source": source, "frames": frames, "counts": counts}


def sheet(parts, n):
    """Frames, each uint8 [at most n, C, S, S], as one array [H, W, C]; rows of ACROSS pixels."""
    channels, size = next(part for part in parts if len(part)).shape[1:3]
    across = min(len(parts), ACROSS // size)
    rows = math.ceil(len(parts) / across)
    whole = np.zeros((rows, n, size, across, size, channels), np.uint8)
    for index, part in enumerate(parts):
        row, column = divmod(index, across)
        for i, image in enumerate(part):
            whole[row, i, :, column] = image.transpose(1, 2, 0)
    return whole.reshape(rows * n * size, across * size, channels)


def data_uri(pixels):
    """uint8 [H, W, C] as WebP: grey without loss, but rounded to GREYS levels; colour with some."""
    file = io.BytesIO()
    if pixels.shape[-1] == 1:
        Image.fromarray(rounded(pixels[..., 0])).convert("RGB").save(file, "WEBP", lossless=True)
    else:
        Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def rounded(pixels):
    """The nearest of GREYS levels from black to white."""
    step = 255 / (GREYS - 1)
    return (np.round(pixels / step) * step).round().astype(np.uint8)


# --------------------------------------------------------------------------------------------------
# Scores


def read_scores(film):
    """What eval.json holds, None if the run has none; exits if it cannot be read."""
    path = film.run.path / "eval.json"
    if not path.exists():
        return None
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
        course(film, scores, {})
        final(scores)
        scored_how(scores)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        again = command("eval.py", film.run.path)
        sys.exit(f"error: {path} is damaged ({type(error).__name__}: {error}); again: {again}")
    return scores


def scored_how(scores):
    """Only scores of which this is the same compare."""
    fid = scores["fid"]
    inside = sorted({n for line in scores["intermediate"] for n in line["fid_samples"]})
    counts = fid["samples"], scores["samples"], inside
    return fid["features"], counts, scores["statistics"], scores["data"]


def compare_scoring(films, scores):
    """Exits if runs were scored differently."""
    scored = []
    for film in films:
        if scores[film.label]:
            scored.append((film.run.path, scored_how(scores[film.label])))
    for path, how in scored[1:]:
        if how != scored[0][1]:
            found = f"{scored[0][0]} and {path} were scored differently"
            kinds = "samples, FID features, statistics, real data or judge"
            sys.exit(f"error: {found} ({kinds}); score them together, in one call of eval.py")


def course(film, scores, place):
    """Accuracy and FID by moment: {"accuracy", "fid": {index of the moment: [one a category]}}.

    From the scores inside tasks where there are some, as FID depends on the number of images; they
    include the ends of tasks.
    """
    found = {}
    for line in scores["intermediate"]:
        counted = line["task"], line["step"]
        moment = film.moment(*counted) if counted in film.inside else (line["task"], film.iters)
        found[moment] = line["accuracy"], line["fid_test"]
    if not found:
        rows = zip(scores["accuracy"], scores["fid"]["test"]["matrix"])
        found = {(t, film.iters): row for t, row in enumerate(rows, start=1) if row[0]}
    courses = {"accuracy": {}, "fid": {}}
    for moment, (accuracy, fid) in sorted(found.items()):
        if moment in place:
            courses["accuracy"][place[moment]] = accuracy
            courses["fid"][place[moment]] = fid
    return courses


def final(scores):
    """The scores after the last task; None if the run was not finished when it was scored."""
    if scores["accuracy"][-1] is None:
        return None
    return {
        "accuracy": scores["average_accuracy"][-1],
        "fid": scores["fid"]["test"]["all"],
        "reverse": scores["reverse_accuracy"],
        "forgetting": scores["forgetting"],
        "each": scores["accuracy"][-1],
    }


def legend(scores):
    """What the scores in the tables mean; scores: of each run, or None."""
    features = {of_run["fid"]["features"] for of_run in scores if of_run}
    return (
        "Accuracy: how many of the generated images a classifier of real images takes for the "
        f"category asked for. FID ({'/'.join(sorted(features))} features): the distance to real "
        "test images, lower is better; here of all categories together, above of each by itself. "
        "Reverse accuracy: how many real test images a classifier recognises that learned only "
        "from generated ones. Forgetting: the mean loss of accuracy, in percentage points, since "
        "a category was best."
    )
