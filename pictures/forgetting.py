"""A moving picture for a front page: all methods and categories, while they learn."""

import itertools
import math

from PIL import Image, ImageOps
from PIL.ImageColor import getrgb

from pictures import grid
from pictures.canvas import save
from pictures.film import moments, names_of
from pictures.groups import setting

IMAGES = 3  # of each category
LENGTH = 11_000  # milliseconds
LEAST = 1 / 16  # of a task: what lasts less is not shown
RESTS = 0.5  # of a task: how long its end stays
FIRST = 1.5  # of a task: the end of all, which is the first frame, as a preview shows only that


def draw(films, output):
    """Columns: methods. Rows: categories. Writes the file output, a GIF, as that moves anywhere."""
    # Time is linear, but for rests
    shown = moments(films, LEAST)
    lasting = []
    for at, later in zip(shown, [*shown[1:], shown[-1]]):
        lasting.append(later - at + RESTS * at.is_integer())
    shown, lasting = [shown[-1], *shown], [FIRST, *lasting]
    frames = [frame(films, at) for at in shown]
    # As wide as the longest title needs
    width = max(one.width for one in frames)
    frames = [ImageOps.expand(one, (0, 0, width - one.width, 0), grid.PAPER) for one in frames]
    # A GIF counts in hundredths of a second
    durations = [10 * round(LENGTH / 10 * time / sum(lasting)) for time in lasting]

    # One palette for all frames, or colours would flicker; of images few levels, as noise is large
    strip = Image.new("RGB", (frames[0].width, 4 * frames[0].height))
    for row in range(4):
        strip.paste(frames[row * (len(frames) - 1) // 3], (0, row * frames[0].height))
    levels = 16 if films[0].images.shape[3] == 1 else 128
    palette = strip.quantize(levels)
    colours = [grid.FRAME, *(film.group.look.colour for film in films)]
    known = itertools.chain.from_iterable(map(getrgb, colours))
    palette.putpalette([*palette.getpalette()[: 3 * levels], *known])
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    several = {"save_all": True, "append_images": frames[1:], "duration": durations, "loop": 0}
    save(output, lambda file: frames[0].save(file, "GIF", optimize=True, **several))


def frame(films, at):
    """All methods at one moment."""
    names, groups = names_of(films), [film.group for film in films]
    tasks, each = max(film.tasks for film in films), films[0].each
    task = math.ceil(at)
    learning = range(len(names))[(task - 1) * each : task * each]
    learned = ", ".join(names[category] for category in learning)
    return grid.draw(
        rows=[(name, None) for name in names],
        columns=[(group.heading, group.look) for group in groups],
        cells=grid.cells_at(films, at, range(len(names)), IMAGES),
        head=(f"learning {learned}", f"task {task} of {tasks}"),
        note=f"{grid.FRAMED} · {setting(groups)}",
        done=at / tasks,
        marked=learning,
    )
