"""What a run painted while it learned, from the film that eval.py writes beside its scores."""

import contextlib
import json
import sys

import numpy as np

from pictures.groups import how_to_score
from scoring.tables import drawable
from support.files import reading


def clock(moments, iters):
    """Moments as tasks learned by then, float [M]: 1.5 is half of the second task.

    moments: int [M, 2] of task and step. A run that learns everything in one task (joint.py) counts
    steps over the whole training.
    """
    task, step = np.asarray(moments).reshape(-1, 2).T
    first = task[0] if len(set(task)) == 1 else 1
    return ((task - first) * iters + step) / iters


class Film:
    """Images by the first run of a group.

    at: float [M], the moments as tasks learned by then. names: of the categories that it learns.
    learned: int [M], how many of them it has begun by then. images: uint8 [M, categories, n, C, S,
    S], always from the same n noises. judged: int16 [M, categories, n], what a classifier of real
    images takes them for, −1 where there is no image. judge: a digest of real images and judge,
    None without scores.
    """

    def __init__(self, group):
        """FileNotFoundError if there is none; exits if the file is not a film."""
        run = group.run
        self.group, self.tasks, self.each = group, run.tasks, run.categories_per_task
        path = film_path(run)
        with reading(path), np.load(path) as file:
            self.at = clock(file["moments"], run.iters)
            self.learned = file["moments"][:, 0] * self.each
            self.images, self.judged = file["images"], file["judged"]
            self.names = [str(name) for name in file["names"]]
        self.judge = None
        with reading(run.scores), contextlib.suppress(FileNotFoundError):
            self.judge = json.loads(run.scores.read_text(encoding="utf-8"))["data"]

    @property
    def finished(self):
        return self.at[-1] == self.tasks

    def index(self, at):
        """The last moment by then: None before the first, and after the last of a run that still
        trains, which would look as if it no longer changed.
        """
        passed = int(np.searchsorted(self.at, at, "right"))
        if passed == 0 or (at > self.at[-1] and not self.finished):
            return None
        return passed - 1

    def cell(self, at, category, n):
        """(images, judged) of n noises, of a category learned by then; otherwise None."""
        index = self.index(at)
        if index is None or category >= min(self.learned[index], len(self.names)):
            return None
        return self.images[index, category, :n], self.judged[index, category, :n]


def film_path(run):
    """The film beside a run's scores, or beside a copy of them."""
    return run.path.with_suffix(".npz") if run.path.is_file() else run.path / "film.npz"


def load_films(groups, problems):
    """The films of the groups that have one. Exits if runs learn in different orders or portions.

    problems: a list, to which every film that is missing is added.
    """
    films = []
    for group in groups:
        try:
            films.append(Film(group))
        except FileNotFoundError:
            run = group.run
            problems.append(f"{film_path(run)} not found; {how_to_score(run)}")
    if len({film.each for film in films}) > 1:
        sys.exit("error: runs learn different numbers of categories in a task; show them apart")
    if len({film.judge for film in films} - {None}) > 1:
        found = "runs were scored against other images or by another judge"
        sys.exit(f"error: {found}; score them alike, or draw them apart")
    longest = max((film.names for film in films), key=len, default=[])
    for film in films:
        if film.names != longest[: len(film.names)]:
            found = f"{film.group.run.path} learns {', '.join(film.names)}"
            sys.exit(f"error: {found}, others {', '.join(longest)}; show them one at a time")
    return films


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
