"""Every category after the last task, a column a method (MeRGAN figure 3)."""

import sys

from pictures import grid
from pictures.film import names_of
from pictures.groups import setting


def draw(films, output, problems):
    """Rows: categories. Columns: methods, after their last task. Writes output/samples.png.

    problems: a list, to which runs that are not finished are added.
    """
    finished = [film for film in films if film.at[-1] == film.tasks]
    for film in films:
        if film not in finished:
            problems.append(f"{film.group.run.path} is not finished, so samples leaves it out")
    if not finished:
        sys.exit("error: no run is finished; samples shows what is painted after the last task")
    names, groups = names_of(finished), [film.group for film in finished]
    cells = grid.cells_at(finished, None, range(len(names)), finished[0].images.shape[2])
    rows = [(name, None) for name in names]
    columns = [(group.heading, group.look) for group in groups]
    head = "what is painted of each category", f"after the last task ({setting(groups)})"
    grid.save(grid.draw(rows, columns, cells, head, grid.FRAMED, scale=2), output / "samples.png")
