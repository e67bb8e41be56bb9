"""A moving picture for a front page: all methods and categories, while they learn."""

import io
import itertools
import math

from PIL import Image
from PIL.ImageColor import getrgb

from pictures import grid
from pictures.film import moments, names_of
from pictures.groups import setting
from support.files import write

LIMIT = 1_500_000  # bytes, so that a page with the picture opens fast
LADDER = [3, 2, 1]  # images of each category: as many as fit
LENGTH = 11_000  # milliseconds
LEAST = 1 / 16  # of a task: what lasts less is not shown
RESTS = 0.5  # of a task: how long its end stays
FIRST = 1.5  # of a task: the end of all, which is the first frame, as a preview shows only that


def draw(films, output):
    """Columns: methods. Rows: categories. Writes the file output, a GIF, as that moves anywhere."""
    for n in LADDER:
        data = animation(films, n)
        if len(data) <= LIMIT:
            break
    output.parent.mkdir(parents=True, exist_ok=True)
    write(output, lambda file: file.write_bytes(data))
    print(f"wrote {output}, {len(data) / 1e6:.1f} MB")


def animation(films, n):
    """The GIF as bytes, with n images of each category. Time is linear, but for rests."""
    shown = moments(films, LEAST)
    lasting = [later - at for at, later in zip(shown, [*shown[1:], shown[-1]])]
    lasting = [time + RESTS * at.is_integer() for at, time in zip(shown, lasting)]
    shown, lasting = [shown[-1], *shown], [FIRST, *lasting]
    frames = [frame(films, at, n) for at in shown]

    # One palette for all frames, or colours would flicker; of images few levels, as noise is large
    strip = Image.new("RGB", (frames[0].width, 4 * frames[0].height))
    for row in range(4):
        strip.paste(frames[row * (len(frames) - 1) // 3], (0, row * frames[0].height))
    colours = [getrgb(colour) for colour in [grid.FRAME, *(f.group.look.colour for f in films)]]
    levels = 16 if films[0].images.shape[3] == 1 else 128
    palette = strip.quantize(levels)
    palette.putpalette([*palette.getpalette()[: 3 * levels], *itertools.chain(*colours)])
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    file = io.BytesIO()
    unit = LENGTH / sum(lasting)
    durations = [10 * round(time * unit / 10) for time in lasting]  # a GIF counts in 1/100 s
    several = {"save_all": True, "append_images": frames[1:], "loop": 0}
    frames[0].save(file, "GIF", **several, duration=durations, optimize=True)
    return file.getvalue()


def frame(films, at, n):
    """All methods at one moment."""
    names, groups = names_of(films), [film.group for film in films]
    tasks, each = max(film.tasks for film in films), groups[0].categories_per_task
    task = math.ceil(at)
    learning = range(len(names))[(task - 1) * each : task * each]
    head = "learning " + ", ".join(names[category] for category in learning)
    cells = grid.cells_at(films, at, range(len(names)), n)
    rows = [(name, None) for name in names]
    columns = [(group.heading, group.look) for group in groups]
    head = head, f"task {task} of {tasks}"
    note = f"{grid.FRAMED} · {setting(groups)}"
    return grid.draw(rows, columns, cells, head, note, done=at / tasks, marked=learning)
