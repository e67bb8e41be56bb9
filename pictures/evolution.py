"""One category from the same noise, task after task (MeRGAN figures 5 and 7)."""

import sys

from pictures import grid
from pictures.canvas import save
from pictures.film import names_of
from pictures.groups import choose, setting


def draw(films, output, category):
    """Rows: methods. Columns: ends of tasks. Writes output/evolution.png.

    category: its name or its index, as text.
    """
    names = names_of(films)
    index = choose(category, names)
    cells = {}
    for row, film in enumerate(films):
        for column in range(film.tasks):
            cell = film.cell(column + 1, index, 4)
            if cell is not None:
                cells[row, column] = grid.strip(cell, index, 2)
    if not cells:
        sys.exit(f"error: no run has learned category {names[index]} yet: no evolution.png")
    groups = [film.group for film in films]
    tasks = max(film.tasks for film in films)
    picture = grid.draw(
        rows=[(group.label, group.look) for group in groups],
        columns=[(f"task {task + 1}", None) for task in range(tasks)],
        cells=cells,
        head=(f"what is painted of {names[index]} after each task", f"({setting(groups)})"),
        note=grid.FRAMED,
        scale=2,
    )
    save(output / "evolution.png", lambda file: picture.save(file, "PNG"))
