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

from pictures.canvas import save
from pictures.film import moments, names_of
from pictures.grid import outline
from pictures.groups import setting
from pictures.scores import scores_of

TEMPLATE = Path(__file__).with_name("page.html")
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
    scores = list(scores_of([film.group.run for film in films]).values())
    for n, least in LADDER:
        text = page(films, scores, n, least)
        if len(text) <= LIMIT:
            break
    save(output, lambda file: file.write_bytes(text))
    if len(text) > LIMIT:
        print(f"{output} has more than {LIMIT / 1e6:.0f} MB; name fewer runs for a smaller page")


def page(films, scores, n, least):
    """The page as bytes. scores: Scores of each film's run, or None.

    n: images of each category. least: see pictures.film.moments().
    """
    at = moments(films, least)
    # A run that has just begun may have no moment that lasts long enough
    shown = [any(film.index(moment) is not None for moment in at) for film in films]
    films = [film for film, is_shown in zip(films, shown) if is_shown]
    scores = [found for found, is_shown in zip(scores, shown) if is_shown]
    groups = [film.group for film in films]
    size = films[0].images.shape[-1]
    data = {
        "categories": names_of(films),
        "tasks": max(film.tasks for film in films),
        "each": films[0].each,
        "at": rounded(at),
        "size": size,
        "count": n,
        "across": ACROSS // size,
        "methods": [method(film, found, n, at) for film, found in zip(films, scores)],
    }
    # Inside <script> no < or > that a browser could take for a tag
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    how = [f"{name}: {value}" for found in scores if found for name, value in found.how.items()]
    parts = {
        "title": html.escape(f"{TITLE}: {setting(groups)}"),
        "headline": html.escape(headline(groups, scores)),
        "setting": html.escape(setting(groups)),
        "how": html.escape(", ".join(dict.fromkeys(how))),
        "data": text,
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    filled = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)
    return filled.encode("utf-8", "replace")  # a name of a folder may be no text


def method(film, scores, n, at):
    """What the page shows of one method."""
    look, count = film.group.look, len(film.names)
    own = [film.index(moment) for moment in at]
    shown = list(dict.fromkeys(index for index in own if index is not None))
    courses = {}
    if scores:
        for category in range(count):
            courses[category] = scores.course(lambda at: [category])
        courses["older"] = scores.course(scores.older)
        courses["newest"] = scores.course(scores.newest)
        courses["all"] = scores.course(scores.so_far)
    return {
        "name": look.name,
        "line": look.line,
        "options": film.group.options,
        "colour": look.colour,
        "dark": look.colour_on_dark,
        "shape": " ".join(f"{x * 5:.1f},{y * 5:.1f}" for x, y in outline(look.marker)),
        "dash": DASHES[film.group.dash],
        "frames": [shown.index(index) if index is not None else None for index in own],
        "sprites": [sprite(film, category, n, shown) for category in range(count)],
        "final": (scores and scores.final) or {},
        "level": bool(scores and scores.level),
        "courses": {name: list(map(rounded, points)) for name, points in courses.items()},
    }


def rounded(values):
    """Numbers as they stand in the page; times must stay equal to one another."""
    return [round(value, 5) for value in values]


def headline(groups, scores):
    """What the scores say, in a sentence."""
    kept = []
    tasks = max(group.run.tasks for group in groups)
    for group, found in zip(groups, scores):
        whole = found and found.final and not found.level and group.run.tasks == tasks
        if whole and found.final["older"] is not None:
            kept.append((found.final["older"], group.label))
    if not kept:
        return TITLE
    (worst, loser), (best, winner) = min(kept), max(kept)
    text = f"After the last of {tasks} tasks, {worst:.1f} % of {loser}'s images of earlier "
    text += "categories are recognised"
    return text if best == worst else f"{text}, {best:.1f} % of {winner}'s"


def sprite(film, category, n, shown):
    """All images of one category by one method in one image file.

    shown: indices of the film's moments. source: the file as a data URI. right: of each moment n
    letters: 1 where the judge sees the category in the image, 0 where it sees another, and a space
    where there is no image. None where the category is not learned yet.
    """
    right = []
    for judged, learned in zip(film.judged[shown, category, :n], film.learned[shown]):
        seen = "".join(" " if see < 0 else str(int(see == category)) for see in judged)
        right.append(seen if category < learned else None)
    return {"source": data_uri(sheet(film.images[shown, category, :n])), "right": right}


def sheet(images):
    """Moments, uint8 [m, n, C, S, S], side by side, the n images of each one below the other.

    Returns uint8 [H, W, C], with as many rows of moments as they need at ACROSS pixels a row.
    """
    m, n, channels, size, _ = images.shape
    across = ACROSS // size
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
