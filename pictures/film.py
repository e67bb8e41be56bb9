"""What every method paints of every category, at every moment of its training."""

import torch

Z = 64  # images drawn of a category, normalised together as in training


class Film:
    """The images of one run, by its saved generators.

    label, method: its name among the runs shown, and the script that trained it. tasks, iters: its
    categories, and the steps of each task. paths: {moment: file} of its saved generators; a moment
    is (task, step). inside: (task, step) of those saved inside tasks, as their files count. at_once:
    the run learned all categories in one task (joint.py). images: {moment: {category: uint8 [n, C, H, W]}} of the categories that were
    learned by then; always from the same z. A solver (dgr.py) may find fewer than n images.
    """

    def __init__(self, run, label, method, tasks, iters):
        self.run, self.label, self.method = run, label, method
        self.tasks, self.iters = tasks, iters
        self.paths = self.find_paths()
        self.images = {}

    def find_paths(self):
        """A run that learns everything at once (joint.py) has one task, which counts the steps of
        the whole training. It stands where the other runs have taken as many steps.
        """
        ends = {task: self.run / f"task_{task}.pt" for task in range(1, self.tasks + 1)}
        found = {(task, self.iters): path for task, path in ends.items() if path.exists()}
        inside = {}
        for path in self.run.glob("snapshots/task_*_step_*.pt"):
            _, task, _, step = path.stem.split("_")
            inside[int(task), int(step)] = path
        self.inside = set(inside)
        self.at_once = self.tasks > 1 and {task for task, _ in [*found, *inside]} == {self.tasks}
        for moment, path in inside.items():
            found.setdefault(self.moment(*moment), path)
        return dict(sorted(found.items()))

    def moment(self, task, step):
        """When the run took a step of a task: (task, step)."""
        if not self.at_once:
            return task, step
        before, rest = divmod(step - 1, self.iters)
        return min(before, self.tasks - 1) + 1, rest + 1 if before < self.tasks else self.iters

    def draw(self, load, n, problems, progress=iter):
        """Draw n images of every category. load(path): a generator with seen and draw(category, n).

        A file that cannot be read is told in problems, and the moment goes without it.
        """
        for moment in progress(list(self.paths)):
            path = self.paths[moment]
            try:
                generator = load(path)
                drawn = {c: generator.draw(c, -(-n // Z) * Z)[:n] for c in generator.seen}
            except Exception as error:
                problems.append(f"{path} ({type(error).__name__})")
                continue
            self.images[moment] = {category: pixels(part) for category, part in drawn.items()}

    def shown_at(self, moments):
        """For each of moments, in order, the run's last own moment by then; None before its first."""
        own = sorted(self.images)
        shown, last = [], None
        for moment in moments:
            while own and own[0] <= moment:
                last = own.pop(0)
            shown.append(last)
        return shown


def pixels(images):
    """Images in [−1, 1] → uint8 array."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def union(films):
    """All moments of all runs, in the order of training."""
    return sorted({moment for film in films for moment in film.images})


def task_ends(films):
    """The moments after which a category is learned."""
    return {(task, film.iters) for film in films for task in range(1, film.tasks + 1)}
