"""Images in rows and columns, with names: what samples, evolution and the GIF are made of."""

import functools

import numpy as np
from matplotlib import font_manager
from matplotlib.markers import MarkerStyle
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageColor import getrgb

PAPER, INK, QUIET, EMPTY, FRAME = "#ffffff", "#1b1b1d", "#66666b", "#ececee", "#ff6a13"
FRAMED = "orange frame: a classifier takes it for another category"


def strip(cell, category, columns):
    """Images of one category as a picture, an orange frame where the judge sees another category.

    cell: (uint8 [n, C, S, S], judged [n]), −1 where an image is missing, which gets no frame.
    Returns uint8 [height, width, 3].
    """
    images, judged = cell
    images = np.broadcast_to(images, (len(images), 3, *images.shape[2:])).copy()
    frame = np.ones(images.shape[2:], bool)
    width = max(1, len(frame) // 24)
    frame[width:-width, width:-width] = False
    for image, seen in zip(images, judged):
        if seen not in (category, -1):
            image[:, frame] = np.array(getrgb(FRAME))[:, None]
    rows = images.reshape(-1, columns, *images.shape[1:])
    return np.concatenate(np.concatenate(rows.transpose(0, 1, 3, 4, 2), 1), 1)


def cells_at(films, at, categories, n):
    """{(category, column): picture} of n images of each category by each film at a moment."""
    cells = {}
    for column, film in enumerate(films):
        for category in categories:
            cell = film.cell(at, category, n)
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
    bold, plain, small = font(13 * scale, "bold"), font(13 * scale), font(10 * scale)
    gap, line = 10 * scale, 18 * scale
    mark = 14 * scale  # room for the shape of a method
    height, width = (side * scale for side in next(iter(cells.values())).shape[:2])

    # Rows begin at top, columns at left; the widest text decides
    left = int(2 * gap + mark + widest(bold, rows))
    wide = gap + int(max(width, mark + widest(bold, columns)))
    title = bold.getlength(head[0]) + gap
    right = max(title + plain.getlength(head[1]), small.getlength(note)) + gap
    lines = max(text.count("\n") + 1 for text, _ in columns)
    top = (2 + lines) * line + gap // 2
    step = height + 3 * scale
    size = (left + int(max(len(columns) * wide, right)), top + len(rows) * step + line + gap // 2)
    picture = Image.new("RGB", size, PAPER)
    ink = ImageDraw.Draw(picture)

    ink.text((left, gap // 2), head[0], INK, bold)
    ink.text((left + title, gap // 2), head[1], QUIET, plain)
    ink.text((left, picture.height - line), note, QUIET, small)
    if done is not None:
        bar = picture.width - left - gap
        y = line + gap // 2
        ink.rectangle((left, y, left + bar, y + 3 * scale), EMPTY)
        ink.rectangle((left, y, left + int(done * bar), y + 3 * scale), INK)

    def name(x, y, text, method, face):
        """A text that begins at x, around the height y, with the shape of its method before it."""
        if method:
            shape(ink, method.marker, method.colour, (x + mark * 0.4, y), mark * 0.35)
            x += mark
        ink.text((x, y), text, INK, face, anchor="lm")

    for column, (text, method) in enumerate(columns):
        name(left + column * wide, top - lines * line // 2 - 2 * scale, text, method, bold)
    for row, (text, method) in enumerate(rows):
        y = top + row * step
        if row in marked:
            shape(ink, ">", INK, (gap // 2, y + height // 2), 3 * scale)
        name(gap, y + height // 2, text, method, bold if row in marked else plain)
        for column in range(len(columns)):
            x = left + column * wide
            if (row, column) in cells:
                image = Image.fromarray(cells[row, column])
                picture.paste(image.resize((width, height), Image.Resampling.NEAREST), (x, y))
            else:
                ink.rectangle((x, y, x + width - 1, y + height - 1), EMPTY)
    return picture


def widest(face, named):
    """How wide the widest line of all texts is. named: (text, anything) of each."""
    return max(face.getlength(line) for text, _ in named for line in text.split("\n"))


def shape(ink, marker, colour, middle, radius):
    """A marker of matplotlib in a picture of Pillow."""
    ink.polygon([tuple(point) for point in outline(marker) * radius + middle], colour)


def outline(marker):
    """The corners of a marker of matplotlib, in [−1, 1], y downwards: float [n, 2]."""
    style = MarkerStyle(marker)
    (points,) = style.get_path().transformed(style.get_transform()).to_polygons(closed_only=True)
    return points / np.abs(points).max() * (1, -1)


@functools.cache
def font(size, weight="normal"):
    """matplotlib's own font, the same on every machine."""
    face = font_manager.FontProperties(weight=weight)
    return ImageFont.truetype(font_manager.findfont(face), size)
