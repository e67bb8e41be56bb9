"""A page that plays: what every method paints while it learns, in one HTML file.

The page is page.html, beside this file, filled with two things: sprites, which hold every image that
it can show, and JSON with the moments, the methods and their scores.
"""

import ast
import base64
import html
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from drawing.film import task_ends, union

HERE = Path(__file__).parent
LIMIT = 8_000_000  # bytes of a page
# Images of each category, and whether moments inside tasks are shown: what fits is taken
LADDER = [(9, True), (4, True), (2, True), (1, True), (1, False)]
ACROSS = 4096  # pixels: a wider sprite is more than some phones can hold
GREYS = 16  # of grey images: as few as a reader can tell apart, and half a byte each
QUALITY = 80  # of colour images, percent
SHAPES = ["circle", "square", "triangle", "diamond", "plus", "down", "star", "bar"]
DASHES = ["none", "6 3", "2 3", "7 3 2 3"]


def write_page(films, colours, names, setting, output):
    """Write the page of films, which are drawn, and return its size in bytes.

    colours: {method: "#rrggbb"}; names: of the categories; setting: the runs in a line of text.
    """
    scores = [read_scores(film) for film in films]
    compare_scoring(films, scores)
    for n, inside in LADDER:
        text = page(films, scores, colours, names, setting, n, inside).encode()
        if len(text) <= LIMIT:
            break
    temporary = output.with_name(output.name + ".tmp")
    temporary.write_bytes(text)
    temporary.replace(output)
    return len(text)


def page(films, scores, colours, names, setting, n, inside=True):
    """The page as text, with n images of every category; inside: with moments inside tasks."""
    ends = task_ends(films)
    moments = [moment for moment in union(films) if inside or moment in ends]
    last = {task: (task, step) for task, step in moments}  # the last moment of every task
    place = {moment: index for index, moment in enumerate(moments)}
    iters = {film.iters for film in films}
    image = next(iter(next(iter(films[0].images.values())).values()))
    methods = []
    for number, (film, score) in enumerate(zip(films, scores)):
        same = [other for other in films if other.method == film.method]
        entry = {
            "label": film.label,
            "name": film.method,
            "options": film.label.removeprefix(film.method).strip(),
            "about": about(film.method),
            "colour": visible(colours[film.method]),
            "shape": SHAPES[number % len(SHAPES)],
            "dash": DASHES[same.index(film) % len(DASHES)],
            "once": film.at_once,
            "at": [place[moment] for moment in film.images if moment in place],
            "ends": [place[t, film.iters] for t in range(1, film.tasks + 1) if (t, film.iters) in place],
            "sprites": [sprite(film, category, n, place) for category in range(len(names))],
        }
        entry |= {"scores": None, "final": None}
        if score:
            entry["scores"] = course(film, score, place)
            entry["final"] = final(score)
        methods.append(entry)
    data = {
        "categories": names,
        "tasks": max(film.tasks for film in films),
        "iters": iters.pop() if len(iters) == 1 else None,
        "moments": [
            {
                "task": task,
                "step": step,
                "last": last[task] == (task, step),
                "end": last[task] == (task, step) and (task, step) in ends,
            }
            for task, step in moments
        ],
        "size": image.shape[-1],
        "count": n,
        "across": ACROSS // image.shape[-1],
        "methods": methods,
        "scored": any(scores),
        "legend": legend(next(filter(None, scores), None)),
    }
    parts = {
        "title": html.escape(f"What a generator keeps: {setting}"),
        "setting": html.escape(setting),
        "data": json_in_html(data),
    }
    template = (HERE / "page.html").read_text(encoding="utf-8")
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)
    # A name from a file system may hold what no text can
    return text.encode("utf-8", "replace").decode()


def json_in_html(data):
    """JSON that may stand inside <script>: no < or > that a browser could take for a tag."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def visible(colour):
    """Black would vanish on a dark page, so it becomes the colour of the text."""
    return "currentColor" if colour == "#000000" else colour


def about(method):
    """What a method does: the first sentence of its script."""
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
    own = [moment for moment in film.images if moment in place]
    frames = [index for index, moment in enumerate(own) if category in film.images[moment]]
    parts = [film.images[own[index]][category][:n] for index in frames]
    counts = [len(part) for part in parts]
    if not sum(counts):
        return None
    source = data_uri(sheet(parts, n))
    return {"source": source, "frames": frames, "counts": counts}


def sheet(parts, n):
    """Frames, each uint8 [at most n, C, S, S], as one array [H, W, C]; rows of ACROSS pixels."""
    channels, size = next(part for part in parts if len(part)).shape[1:3]
    across = min(len(parts), ACROSS // size)
    rows = -(-len(parts) // across)
    whole = np.zeros((rows, n, size, across, size, channels), np.uint8)
    for index, part in enumerate(parts):
        row, column = divmod(index, across)
        for i, image in enumerate(part):
            whole[row, i, :, column] = image.transpose(1, 2, 0)
    return whole.reshape(rows * n * size, across * size, channels)


def data_uri(pixels):
    """uint8 [H, W, C] as WebP: grey without loss after rounding to GREYS levels, colour with some."""
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
    """What eval.json holds, None if the run has none; exits if it is damaged."""
    path = film.run / "eval.json"
    if not path.exists():
        return None
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
        course(film, scores, {})
        final(scores)
        scoring(scores)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        sys.exit(
            f"error: {path} is damaged or of another version ({type(error).__name__}: {error}); "
            "write it again with: python eval.py " + str(film.run)
        )
    return scores


def scoring(scores):
    """How a run was scored: only scores with the same compare."""
    fid = scores["fid"]
    inside = sorted({n for line in scores["intermediate"] for n in line["fid_samples"]})
    return fid["features"], scores["samples"], scores["statistics"], scores["data"], inside


def compare_scoring(films, scores):
    """Exits if runs were scored differently."""
    scored = [(film, scoring(score)) for film, score in zip(films, scores) if score]
    for film, how in scored:
        first, expected = scored[0]
        if how != expected:
            sys.exit(
                f"error: {first.run} and {film.run} were scored differently (samples, FID features, "
                "statistics, real data or judge); score them together with eval.py, same options"
            )


def course(film, scores, place):
    """Accuracy and FID by moment: {"accuracy", "fid": {index of the moment: [one a category]}}.

    From the scores inside tasks where there are some, as FID depends on the number of images; they
    include the ends of tasks.
    """
    found = {}
    for line in scores["intermediate"]:
        moment = film.moment(line["task"], line["step"])
        if (line["task"], line["step"]) not in film.inside:
            moment = line["task"], film.iters
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
    """What the scores in the tables mean."""
    if scores is None:
        return ""
    return (
        "Accuracy: how many of the generated images a classifier of real images takes for the "
        f"category asked for. FID ({scores['fid']['features']} features): the distance to real test "
        "images, lower is better; here of all categories together, above of each by itself. Reverse accuracy: how many real test images a classifier "
        "recognises that learned from generated images only. Forgetting: the mean loss of accuracy, "
        "in percentage points, since a category was best."
    )
