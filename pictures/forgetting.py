"""A moving picture for a front page: all methods side by side, all categories, while they learn."""

import functools
import io
from collections import Counter

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from files import write
from pictures.film import Film, names_in_order, shoot_all, union
from pictures.groups import setting
from scoring.tables import drawable

LIMIT = 1_500_000  # bytes, so that a page with the picture opens fast
# Images of each category, and every how many moments inside a task: what fits is taken
LADDER = [(3, 2), (2, 2), (2, 4), (1, 4), (1, 100)]
MOVING, RESTING, LAST = 180, 900, 3000  # milliseconds of a moment: inside a task, its end, the last
GREYS = 12  # of grey images: their noise is most of the file
GAP, LINE = 10, 18  # pixels between columns, and of a line of text
PAPER, INK, QUIET, EMPTY = "#ffffff", "#1b1b1d", "#6f6f75", "#ececee"


def draw(groups, output, skipped):
    """Columns: methods. Rows: categories. Writes the file output, a GIF.

    A GIF moves wherever a picture is shown; skipped: a list, to which unreadable files are added.
    """
    names = [drawable(name) for name in names_in_order(groups)]
    films = shoot_all([Film(group) for group in groups], LADDER[0][0], skipped)
    for n, every in LADDER:
        data = animation(films, names, setting(groups), n, every)
        if len(data) <= LIMIT:
            break
    output.parent.mkdir(parents=True, exist_ok=True)
    write(output, lambda file: file.write_bytes(data))
    print(f"wrote {output}, {len(data) / 1e6:.1f} MB")


def animation(films, names, setting, n, every):
    """The GIF as bytes: n images of each category, every so many moments inside tasks."""
    ends = {moment for film in films for moment in film.ends()}
    moments = chosen(union(films), ends, every)
    shown = [film.shown_at(moments) for film in films]
    frames, durations = [], []
    for moment in moments:
        part = [film.images.get(last[moment], {}) for film, last in zip(films, shown)]
        frames.append(frame(films, part, names, setting, moment, n))
        durations.append(RESTING if moment in ends else MOVING)
    durations[-1] = LAST

    # One palette for all frames, or colours would flicker
    strip = Image.new("RGB", (frames[0].width, 4 * frames[0].height))
    for row in range(4):
        strip.paste(frames[row * (len(frames) - 1) // 3], (0, row * frames[0].height))
    palette = strip.quantize(64)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    file = io.BytesIO()
    several = {"save_all": True, "append_images": frames[1:], "loop": 0}
    frames[0].save(file, "GIF", **several, duration=durations, optimize=True)
    return file.getvalue()


def chosen(moments, ends, every):
    """The ends of tasks, and every so many of the moments inside each, from its first."""
    kept = []
    passed = Counter()  # moments inside each task
    for task, step in moments:
        if (task, step) in ends or passed[task] % every == 0:
            kept.append((task, step))
        passed[task] += 1
    return kept


def frame(films, part, names, setting, moment, n):
    """One frame. part: {category: images} of each film."""
    task, step = moment
    size = next(iter(films[0].images.values()))
    size = next(iter(size.values())).shape[-1]
    bold, plain, small = font(13, bold=True), font(13), font(10)
    margin = GAP + max(int(plain.getlength(name)) for name in names) + GAP
    wide = max(n * size, *(int(bold.getlength(film.label)) for film in films))
    top = 2 * LINE + 24
    width = margin + len(films) * (wide + GAP)
    height = top + len(names) * (size + 2) + LINE
    image = Image.new("RGB", (width, height), PAPER)
    ink = ImageDraw.Draw(image)

    # What is learned now, and how far the training is
    tasks, iters = max(film.tasks for film in films), max(film.iters for film in films)
    ink.text((margin, 4), f"learning {names[task - 1]}", INK, bold)
    after = margin + bold.getlength(f"learning {names[task - 1]}") + 8
    ink.text((after, 4), f"task {task} of {tasks}, step {step} of {iters}", QUIET, plain)
    bar = width - margin - GAP
    done = (task - 1 + step / iters) / tasks
    ink.rectangle((margin, LINE + 6, margin + bar, LINE + 8), EMPTY)
    ink.rectangle((margin, LINE + 6, margin + done * bar, LINE + 8), INK)

    for row, name in enumerate(names):
        y = top + row * (size + 2)
        known = row < task
        ink.text((margin - GAP, y + size / 2), name, INK if known else QUIET, plain, anchor="rm")
        if row == task - 1:
            ink.polygon([(2, y + size / 2 - 4), (7, y + size / 2), (2, y + size / 2 + 4)], INK)
        for column, by_category in enumerate(part):
            x = margin + column * (wide + GAP)
            ink.rectangle((x, y, x + n * size - 1, y + size - 1), EMPTY)
            for i, pixels in enumerate(by_category.get(row, [])[:n]):
                image.paste(picture(pixels), (x + i * size, y))
    for column, film in enumerate(films):
        ink.text((margin + column * (wide + GAP), top - LINE), film.label, INK, bold)
    ink.text((margin, height - LINE + 3), setting, QUIET, small)
    return image


def picture(pixels):
    """uint8 [C, S, S] as an image; grey with fewer levels."""
    if len(pixels) > 1:
        return Image.fromarray(pixels.transpose(1, 2, 0))
    step = 255 / (GREYS - 1)
    return Image.fromarray((np.round(pixels[0] / step) * step).round().astype(np.uint8))


@functools.cache
def font(size, bold=False):
    """Matplotlib's own font, the same on every machine."""
    face = font_manager.FontProperties(weight="bold" if bold else "normal")
    return ImageFont.truetype(font_manager.findfont(face), size)
