"""A page that plays: what every method paints while it learns, in one HTML file.

The page is page.html, beside this file, filled with two things: sprites, which hold every image
that it can show, and JSON with the moments, the methods and their scores.
"""

import base64
import html
import io
import json
import math
import re
from pathlib import Path

import numpy as np
from PIL import Image

from pictures.film import moments, names_of
from pictures.grid import outline
from pictures.groups import setting
from pictures.scores import read_scores
from support.files import write

HERE = Path(__file__).parent
LIMIT = 2_000_000  # bytes of a page
# Images of each category, and the part of a task that a moment lasts: what fits is taken
LADDER = [(5, 0), (5, 1 / 64), (3, 1 / 64), (2, 1 / 64), (2, 1 / 16), (1, 1 / 16), (1, 1)]
ACROSS = 4096  # pixels: a wider sprite is more than some phones can hold
GREYS = 12  # of grey images: more than a reader can tell apart
QUALITY = 80  # of colour images, percent
DASHES = {"-": "none", "--": "6 3", ":": "2 3", "-.": "7 3 2 3"}
TITLE = "What a generator keeps, and what it forgets"


def draw(films, output):
    """Every method at every moment. Writes the file output."""
    runs = [film.group.run for film in films]
    scores = list(read_scores(runs).values())
    for n, least in LADDER:
        text = page(films, scores, n, least)
        if len(text) <= LIMIT:
            break
    output.parent.mkdir(parents=True, exist_ok=True)
    write(output, lambda file: file.write_bytes(text))
    print(f"wrote {output}, {len(text) / 1e6:.1f} MB, {n} images of each category")
    if len(text) > LIMIT:
        print(f"that is more than {LIMIT / 1e6:.0f} MB; name fewer runs for a smaller page")


def page(films, scores, n, least):
    """The page as bytes. scores: Scores of each film's run, or None.

    n: images of each category. least: see pictures.film.moments().
    """
    groups, at = [film.group for film in films], moments(films, least)
    size = films[0].images.shape[-1]
    data = {
        "categories": names_of(films),
        "tasks": max(film.tasks for film in films),
        "each": groups[0].categories_per_task,
        "at": [round(moment, 5) for moment in at],
        "size": size,
        "count": n,
        "across": ACROSS // size,
        "methods": [method(film, found, n, at) for film, found in zip(films, scores)],
    }
    known = [found for found in scores if found]
    parts = {
        "title": html.escape(f"{TITLE}: {setting(groups)}"),
        "headline": html.escape(headline(groups, scores)),
        "setting": html.escape(setting(groups)),
        "legend": html.escape(legend(known[0])) if known else "",
        "data": json_in_html(data),
    }
    template = (HERE / "page.html").read_text(encoding="utf-8")
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)
    return text.encode("utf-8", "replace")  # a name of a folder may be no text


def method(film, scores, n, at):
    """What the page shows of one method."""
    group, look, count = film.group, film.group.look, len(film.names)
    own = [film.index(moment) for moment in at]
    shown = list(dict.fromkeys(index for index in own if index is not None))
    found = {
        "short": look.short,
        "name": look.name,
        "line": look.line,
        "options": group.options,
        "colour": look.colour,
        "dark": look.colour_on_dark,
        "shape": " ".join(f"{x * 5:.1f},{y * 5:.1f}" for x, y in outline(look.marker)),
        "dash": DASHES[group.dash],
        "frames": [shown.index(index) if index is not None else None for index in own],
        "sprites": [sprite(film, category, n, shown) for category in range(count)],
        "final": scores and scores.final,
        "level": bool(scores and scores.level),
        "courses": {},
    }
    if scores:
        courses = {category: scores.of(category, scores.accuracy) for category in range(count)}
        courses["older"] = scores.course(scores.older)
        courses["newest"] = scores.course(scores.newest)
        courses["all"] = scores.course(scores.so_far)
        for name, points in courses.items():
            found["courses"][name] = [(round(at, 5), round(value, 3)) for at, value in points]
    return found


def headline(groups, scores):
    """What the scores say, in a sentence."""
    kept = []
    for group, found in zip(groups, scores):
        if found and found.final and found.final["older"] is not None and not found.level:
            kept.append((found.final["older"], group.label))
    if not kept:
        return TITLE
    (worst, loser), (best, winner) = min(kept), max(kept)
    text = f"After the last of {groups[0].tasks} tasks, {loser} still paints {worst:.0f} % of the "
    text += "earlier categories recognisably"
    return text if best == worst else f"{text}, {winner} {best:.0f} %"


def legend(scores):
    """What the numbers mean."""
    features = scores.how["FID features"]
    judged = " and ".join(f"{count} images {when}" for when, count in scores.counts.items())
    return (
        "Accuracy: how many of the generated images a classifier of real images takes for the "
        f"category asked for; of each category it judges {judged}. Older categories are those of "
        f"earlier tasks. FID ({features} features, {scores.how['FID images']} images): the "
        "distance to real test images, of all categories together; lower is better. Reverse "
        "accuracy: how many real test images a classifier recognises that learned only from "
        "generated ones. Forgetting: the mean loss of accuracy, in percentage points, since a "
        "category was best."
    )


def json_in_html(data):
    """JSON that may stand inside <script>: no < or > that a browser could take for a tag."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# --------------------------------------------------------------------------------------------------
# Sprites


def sprite(film, category, n, shown):
    """All images of one category by one method in one image file; None if it never learned it.

    shown: indices of the film's moments. source: the file as a data URI, the moments side by side
    from the one numbered first, n images one below the other each. right: of each moment a number
    whose bit i says whether the judge sees the category in image i.
    """
    judged = film.judged[shown, category, :n]
    known = (judged >= 0).any(1)
    if not known.any():
        return None
    first = int(known.argmax())
    images = film.images[shown, category, :n][first:]
    right = ((judged[first:] == category) << np.arange(judged.shape[1])).sum(1)
    return {"source": data_uri(sheet(images)), "first": first, "right": right.tolist()}


def sheet(images):
    """Moments, uint8 [m, n, C, S, S], as one array [H, W, C]; rows of ACROSS pixels."""
    m, n, channels, size, _ = images.shape
    across = min(m, ACROSS // size)
    rows = math.ceil(m / across)
    whole = np.zeros((rows * across, n, channels, size, size), np.uint8)
    whole[:m] = images
    whole = whole.reshape(rows, across, n, channels, size, size).transpose(0, 2, 4, 1, 5, 3)
    return whole.reshape(rows * n * size, across * size, channels)


def data_uri(pixels):
    """uint8 [H, W, C] as WebP: grey without loss, but rounded to GREYS levels; colour with some."""
    file = io.BytesIO()
    if pixels.shape[-1] == 1:
        step = 255 / (GREYS - 1)
        grey = (np.round(pixels[..., 0] / step) * step).round().astype(np.uint8)
        Image.fromarray(grey).convert("RGB").save(file, "WEBP", lossless=True)
    else:
        Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
