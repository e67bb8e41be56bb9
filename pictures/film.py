"""What a run painted while it learned, from the film that eval.py writes beside its scores."""

import sys
import zipfile

import numpy as np

from scoring.runs import command
from scoring.tables import drawable


def clock(moments, iters):
    """Moments as tasks learned by then, float [M]: 1.5 is half of the second task.

    moments: int [M, 2] of task and step. A run that learns everything in one task (joint.py) counts
    steps over the whole training.
    """
    moments = np.asarray(moments).reshape(-1, 2)
    begun = moments[:, 0] - moments[:, 0].min(initial=10**9)
    return (begun * iters + moments[:, 1]) / iters


class Film:
    """Images by the first run of a group. at: float [M], the moments as tasks learned by then.

    names: of the categories. images: uint8 [M, categories, n, C, S, S], always from the same n
    noises. judged: int16 [M, categories, n], what a classifier of real images takes them for, −1
    where the category was not learned yet.
    """

    def __init__(self, group):
        """OSError, ValueError, KeyError or zipfile.BadZipFile if the file is not a film."""
        self.group, self.tasks = group, group.tasks
        with np.load(film_path(group.run)) as file:
            self.at = clock(file["moments"], group.iters)
            self.images, self.judged = file["images"], file["judged"]
            self.names = [str(name) for name in file["names"]]
        m, categories, n = self.judged.shape
        if self.images.shape[:3] != (m, categories, n) or self.images.shape[-1] < 8:
            raise ValueError(f"images of shape {self.images.shape}")
        if len(self.at) != m or len(self.names) != categories or not (np.diff(self.at) > 0).all():
            raise ValueError("moments or names that do not fit its images")
        self.names = self.names[: group.tasks * group.categories_per_task]

    def index(self, at):
        """The run's own last moment by then; None before its first, and after its last."""
        passed = np.searchsorted(self.at, at, "right")
        return passed - 1 if passed and at <= self.at[-1] else None

    def cell(self, at, category, n):
        """(images, judged) of n noises, of a category learned by then; otherwise None."""
        index = self.index(at)
        if index is None or (self.judged[index, category] < 0).all():
            return None
        return self.images[index, category, :n], self.judged[index, category, :n]


def film_path(run):
    """The film beside a run's scores, or beside a copy of them."""
    return run.path.with_suffix(".npz") if run.path.is_file() else run.path / "film.npz"


def load_films(groups, problems):
    """The films of the groups that have one. Exits if runs learn in different orders.

    problems: a list, to which every film that is missing or cannot be read is added.
    """
    films = []
    for group in groups:
        path = film_path(group.run)
        try:
            films.append(Film(group))
        except FileNotFoundError:
            problems.append(f"{path} not found; {how_to_score(group.run)}")
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            found = f"{path} is damaged ({type(error).__name__}: {error})"
            problems.append(f"{found}; {how_to_score(group.run)}")
    longest = max((film.names for film in films), key=len, default=[])
    for film in films:
        if film.names != longest[: len(film.names)]:
            found = f"{film.group.run.path} learns {', '.join(film.names)}"
            sys.exit(f"error: {found}, others {', '.join(longest)}; show them one at a time")
    return films


def how_to_score(run):
    """What writes a film and scores, in words."""
    if run.path.is_file():
        return "copy its run's film.npz there, which python eval.py RUN writes"
    return f"score it with: {command('eval.py', run.path)}"


def moments(films, least=0.0):
    """The moments of all films in order, as tasks learned by then.

    least: leave out those that last less than this part of a task, but no end of a task.
    """
    backwards = sorted({float(at) for film in films for at in film.at}, reverse=True)
    kept = backwards[:1]
    for at in backwards[1:]:
        if at.is_integer() or kept[-1] - at >= least:
            kept.append(at)
    return kept[::-1]


def names_of(films):
    """Names of the categories that any of the films learns, as a font can draw them."""
    return [drawable(name) for name in max((film.names for film in films), key=len)]
