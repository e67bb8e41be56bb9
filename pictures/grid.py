"""Images in rows and columns, with names: what samples, evolution and the GIF are made of."""

import functools

import numpy as np
from matplotlib import font_manager
from matplotlib.markers import MarkerStyle
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageColor import getrgb

from support.files import writing

PAPER, INK, QUIET, EMPTY, FRAME = "#ffffff", "#1b1b1d", "#66666b", "#ececee", "#ff6a13"
FRAMED = "orange frame: a classifier takes it for another category"
GAP, LINE = 10, 18  # pixels between columns, and of a line of text


def strip(cell, category, columns):
    """Images of one category as a picture, an orange frame where the judge sees another category.

    cell: (uint8 [n, C, S, S], judged [n]). Returns uint8 [height, width, 3].
    """
    images, judged = cell
    images = np.broadcast_to(images, (len(images), 3, *images.shape[2:])).copy()
    frame = np.ones(images.shape[2:], bool)
    width = max(1, len(frame) // 24)
    frame[width:-width, width:-width] = False
    for image, seen in zip(images, judged):
        if seen != category:
            image[:, frame] = np.array(getrgb(FRAME))[:, None]
    rows = images.reshape(-1, columns, *images.shape[1:])
    return np.concatenate(np.concatenate(rows.transpose(0, 1, 3, 4, 2), 1), 1)


def cells_at(films, at, categories, n):
    """{(category, column): picture} of n images of each category by each film at a moment.

    at: None: the last of each film.
    """
    cells = {}
    for column, film in enumerate(films):
        for category in categories[: len(film.names)]:
            cell = film.cell(film.at[-1] if at is None else at, category, n)
            if cell is not None:
                cells[category, column] = strip(cell, category, n)
    return cells


def draw(rows, columns, cells, head, note, scale=1, done=None, marked=()):
    """A picture of cells in rows and columns.

    rows, columns: (text, Method or None) of each. cells: {(row, column): uint8 [h, w, 3]}, all of
    one size. head: (bold text, plain text). done: how much of a bar below it is full, None: no bar.
    marked: rows with a triangle before them. scale: pixels a side for each pixel of a cell, and for
    each of those in which text is measured.
    """
    bold, plain, small = (font(size * scale, name == "bold") for size, name in FONTS)
    gap, line = GAP * scale, LINE * scale
    height, width = (side * scale for side in next(iter(cells.values())).shape[:2])
    mark = 14 * scale  # room for the shape of a method
    left = int(2 * gap + mark + max(length(bold, text) for text, _ in rows))
    wide = gap + int(max(width, mark + max(length(bold, text) for text, _ in columns)))
    titles = bold.getlength(head[0]) + gap + plain.getlength(head[1])
    across = int(max(left + len(columns) * wide, left + titles + gap))
    across = int(max(across, left + small.getlength(note) + gap))
    heading = line * max(text.count("\n") + 1 for text, _ in columns)
    top = 2 * line + heading + gap // 2
    step = height + 3 * scale
    picture = Image.new("RGB", (across, top + len(rows) * step + line + gap // 2), PAPER)
    ink = ImageDraw.Draw(picture)

    ink.text((left, gap // 2), head[0], INK, bold)
    ink.text((left + bold.getlength(head[0]) + gap, gap // 2), head[1], QUIET, plain)
    if done is not None:
        bar = across - left - gap
        y = line + gap // 2
        ink.rectangle((left, y, left + bar, y + 3 * scale), EMPTY)
        ink.rectangle((left, y, left + int(done * bar), y + 3 * scale), INK)
    for column, (text, method) in enumerate(columns):
        y = top - heading // 2 - 2 * scale
        named(ink, left + column * wide, y, text, method, bold, mark)
    for row, (text, method) in enumerate(rows):
        y = top + row * step
        named(ink, gap, y + height // 2, text, method, bold if row in marked else plain, mark)
        if row in marked:
            tip, half = gap - 3 * scale, 4 * scale
            middle = y + height // 2
            ink.polygon([(2, middle - half), (tip, middle), (2, middle + half)], INK)
        for column in range(len(columns)):
            x = left + column * wide
            if (row, column) in cells:
                image = Image.fromarray(cells[row, column])
                picture.paste(image.resize((width, height), Image.Resampling.NEAREST), (x, y))
            else:
                ink.rectangle((x, y, x + width - 1, y + height - 1), EMPTY)
    ink.text((left, picture.height - line), note, QUIET, small)
    return picture


def save(picture, path):
    """Write a picture, and say so."""
    with writing(path):
        picture.save(path)
    print(f"wrote {path}")


def named(ink, x, y, text, method, face, mark):
    """A text that begins at x, around the height y, with the shape of its method before it."""
    if method:
        points = outline(method.marker) * mark * 0.35 + (x + mark * 0.4, y)
        ink.polygon([tuple(point) for point in points], method.colour)
        x += mark
    ink.text((x, y), text, INK, face, anchor="lm")


def length(face, text):
    """How wide the widest line of a text is."""
    return max(face.getlength(line) for line in text.split("\n"))


def outline(marker):
    """The corners of a marker of matplotlib, in [−1, 1], y downwards: float [n, 2]."""
    style = MarkerStyle(marker)
    (points,) = style.get_path().transformed(style.get_transform()).to_polygons(closed_only=True)
    return points / np.abs(points).max() * (1, -1)


FONTS = [(13, "bold"), (13, "plain"), (10, "plain")]


@functools.cache
def font(size, bold=False):
    """matplotlib's own font, the same on every machine."""
    face = font_manager.FontProperties(weight="bold" if bold else "normal")
    return ImageFont.truetype(font_manager.findfont(face), size)
