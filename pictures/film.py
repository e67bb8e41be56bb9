"""What every method paints of every category, at every moment of its training."""

import sys

from progress import progress
from scoring.drawing import SavedGenerator, pixels, whole_groups


class Film:
    """The images of a group's run with the lowest seed, by all its saved generators.

    A moment is (task, step). paths: {moment: file of a generator}. at_once: the run learns all
    categories in one task, whose steps count over the whole training (joint.py); its moments are
    those at which other runs have taken as many steps. images: {moment: {category: uint8 array
    [n, C, H, W]}} of the categories learned by then; each from the same z at every moment and in
    every film. Of dgr.py there may be fewer than n images, those that its solver finds.
    """

    def __init__(self, group):
        self.run = group.run
        self.label = group.label
        self.method = self.run.method
        self.tasks = self.run.tasks
        self.iters = self.run.iters
        tasks = range(1, self.tasks + 1)
        ends = {task: self.run.task(task) for task in tasks if self.run.task(task).exists()}
        self.inside = self.run.inside()
        saved = {task for task, _ in self.inside} | ends.keys()
        self.at_once = self.tasks > 1 and saved == {self.tasks}
        paths = {self.moment(*counted): path for counted, path in self.inside.items()}
        paths |= {(task, self.iters): path for task, path in ends.items()}
        self.paths = dict(sorted(paths.items()))
        self.images = {}

    def moment(self, task, step):
        """The moment of a step, as the run counts it."""
        if not self.at_once:
            return task, step
        task, step = divmod(step - 1, self.iters)
        return task + 1, step + 1

    def ends(self):
        """The moments at which a task ends."""
        return [(task, self.iters) for task in range(1, self.tasks + 1)]

    def shoot(self, n, skipped):
        """Draw n images of each category. skipped: a list, to which unreadable files are added."""
        for moment in progress(list(self.paths), f"drawing {self.label}"):
            path = self.paths[moment]
            try:
                generator = SavedGenerator.load(path)
            except Exception as error:
                skipped.append(f"{path} ({type(error).__name__})")
                continue
            self.images[moment] = {}
            for category in generator.seen:
                drawn = generator.draw(category, whole_groups(n))[:n]
                self.images[moment][category] = pixels(drawn).numpy()

    def shown_at(self, moments):
        """{moment: the run's own last moment by then, None before its first}."""
        shown = {}
        for moment in moments:
            past = [saved for saved in self.images if saved <= moment]
            shown[moment] = max(past, default=None)
        return shown


def shoot_all(films, n, skipped):
    """Draw n images of each category in every film; returns the films that have some.

    skipped: a list, to which unreadable files are added.
    """
    for film in films:
        film.shoot(n, skipped)
    films = [film for film in films if film.images]
    if not films:
        sys.exit("error: no saved generator that can be read; a run saves the first at step 1")
    return films


def names_in_order(groups):
    """Names of the categories in the order of learning; exits if runs learn in different orders."""
    groups = [group for group in groups if group.run.names() is not None]
    names = max((group.names for group in groups), key=len, default=[])
    for group in groups:
        if group.names != names[: group.tasks]:
            found = f"{group.run.path} learns {', '.join(group.names)}"
            sys.exit(f"error: {found}, others {', '.join(names)}; show them one at a time")
    return names


def union(films):
    """The moments of all films, in the order of training."""
    return sorted({moment for film in films for moment in film.images})
