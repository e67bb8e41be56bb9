"""Every category after the last task, a column a method (MeRGAN figure 3)."""

from pictures import grid
from pictures.film import moments, names_of
from pictures.groups import setting


def draw(films, output):
    """Rows: categories. Columns: methods, at their last moment. Writes output/samples.png."""
    names, groups = names_of(films), [film.group for film in films]
    cells = grid.cells_at(films, moments(films)[-1], range(len(names)), films[0].images.shape[2])
    rows = [(name, None) for name in names]
    columns = [(group.heading, group.look) for group in groups]
    head = "what is painted of each category", f"after the last task ({setting(groups)})"
    grid.save(grid.draw(rows, columns, cells, head, grid.FRAMED, scale=2), output / "samples.png")
