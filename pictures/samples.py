"""Every category after the last task, a column a method (MeRGAN figure 3)."""

import sys

from pictures import grid
from pictures.canvas import save
from pictures.film import names_of
from pictures.groups import setting


def draw(films, output, problems):
    """Rows: categories. Columns: methods, after their last task. Writes output/samples.png.

    problems: a list, to which runs that are not finished are added.
    """
    for film in films:
        if not film.finished:
            left = f"{film.group.run.path} was not finished when it was scored"
            problems.append(f"{left}, so samples leaves it out")
    films = [film for film in films if film.finished]
    if not films:
        sys.exit("error: no run is finished; samples shows what is painted after the last task")
    names, groups = names_of(films), [film.group for film in films]
    tasks, n = max(film.tasks for film in films), films[0].images.shape[2]
    picture = grid.draw(
        rows=[(name, None) for name in names],
        columns=[(group.heading, group.look) for group in groups],
        cells=grid.cells_at(films, tasks, range(len(names)), n),
        head=("what is painted of each category", f"after the last task ({setting(groups)})"),
        note=grid.FRAMED,
        scale=2,
    )
    save(output / "samples.png", lambda file: picture.save(file, "PNG"))
