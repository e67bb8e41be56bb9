"""One category from the same noise, task after task (MeRGAN figures 5 and 7)."""

import sys

from pictures import grid
from pictures.groups import setting


def draw(films, output, category):
    """Rows: methods. Columns: ends of tasks. Writes output/evolution.png. category: its name."""
    index = max((film.names for film in films), key=len).index(category)
    groups = [film.group for film in films]
    tasks = range(max(film.tasks for film in films))
    cells = {}
    for row, film in enumerate(films):
        for column in tasks:
            cell = film.cell(column + 1, index, 4) if index < len(film.names) else None
            if cell is not None:
                cells[row, column] = grid.strip(cell, index, 2)
    if not cells:
        sys.exit(f"error: no run has learned category {category} yet: no evolution.png")
    rows = [(group.label, group.look) for group in groups]
    columns = [(f"task {task + 1}", None) for task in tasks]
    head = f"what is painted of {category} after each task", f"({setting(groups)})"
    picture = grid.draw(rows, columns, cells, head, grid.FRAMED, scale=2)
    grid.save(picture, output / "evolution.png")
