"""What is painted for one category from the same z, over training (MeRGAN figures 5 and 7)."""

import sys

import numpy as np

from pictures.canvas import paint, plt, save, tile
from pictures.groups import setting


def draw(groups, output, category, skipped):
    """After every task: output/evolution.png; and, where generators were saved inside tasks, by
    step: output/evolution_steps.png and output/evolution.gif. category: its name.
    """
    title = f"what is painted for category {category}\n({setting(groups)})"
    by_task(groups, output, category, title, skipped)

    # Of those that learn one task after another: not of joint.py
    moving = [group for group in groups if group.run.task(1).exists()]
    snapshots = {group.label: group.run.snapshots() for group in moving}
    moments = sorted({moment for found in snapshots.values() for moment in found})
    ends = {(task, group.iters) for group in moving for task in range(1, group.tasks + 1)}
    if not set(moments) - ends:
        print(
            "no snapshots inside tasks (--snapshots log stores them): "
            "no evolution_steps.png, no evolution.gif"
        )
        return
    # A method without a generator of that moment shows the one before
    painted = {}
    for label, found in snapshots.items():
        before = None
        for moment in moments:
            if moment in found:
                before = paint(found[moment], category, 9, skipped)
            painted[label, moment] = before
    by_step(moving, output, category, title, moments, ends, painted)
    animation(moving, output, category, moments, ends, painted)


def by_task(groups, output, category, title, skipped):
    """A row a method, a column a task."""
    tasks = max(group.tasks for group in groups)
    figure, axes = plt.subplots(
        len(groups),
        tasks,
        figsize=(1.3 * tasks + 0.6, 1.35 * len(groups) + 0.6),
        squeeze=False,
        layout="compressed",
    )
    for row, group in zip(axes, groups):
        row[0].set_ylabel(group.label.replace(" ", "\n"), fontsize=9)
        for task, ax in enumerate(row, start=1):
            tile(ax, paint(group.run.task(task), category, 4, skipped), 2)
    for task, ax in enumerate(axes[0], start=1):
        ax.set_title(f"after task {task}", fontsize=9)
    figure.suptitle(title, fontsize=10)
    save(figure, output / "evolution.png")


def by_step(groups, output, category, title, moments, ends, painted):
    """A row a method, a column a moment, from the task on that learns the category."""
    learning = [group.names.index(category) + 1 for group in groups if category in group.names]
    sparse = []
    for task, step in moments:
        due = (task, step) in ends or step.bit_length() % 2  # 1, 4, 16, …
        if learning and task >= min(learning) and due:
            sparse.append((task, step))
    if not sparse:
        sys.exit(
            f"error: no run has learned category {category} yet: "
            "no evolution_steps.png, no evolution.gif"
        )
    size = (0.36 * len(sparse) + 1.4, 0.42 * len(groups) + 1.1)
    figure, axes = plt.subplots(len(groups), len(sparse), figsize=size, squeeze=False)
    for row, group in zip(axes, groups):
        label = group.label.replace(" ", "\n")
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        for ax, moment in zip(row, sparse):
            images = painted[group.label, moment]
            tile(ax, None if images is None else images[:1], 1)
    for ax, (task, step) in zip(axes[0], sparse):
        ax.set_title(f"task {task}\n\n{step}" if step == 1 else step, fontsize=7)
    figure.suptitle(f"by task and step, {title}", fontsize=9)
    figure.subplots_adjust(1.3 / size[0], 0.02, 0.99, 1 - 1 / size[1], 0.03, 0.05)
    save(figure, output / "evolution_steps.png")


def animation(groups, output, category, moments, ends, painted):
    """A GIF: nine images of the category by each method, a frame for each saved generator, the
    current task named.
    """
    from PIL import Image

    frames, names = [], max((group.names for group in groups), key=len)
    size = (max(1.15 * len(groups), 3.8), 1.95)
    for task, step in moments:
        figure, axes = plt.subplots(1, len(groups), figsize=size, dpi=100, squeeze=False)
        for ax, group in zip(axes[0], groups):
            tile(ax, painted[group.label, (task, step)], 3)
            ax.set_title(group.label, fontsize=8)
        now = f"while task {task} learns category {names[task - 1]}: step {step}"
        middle = dict(ha="center", va="center")
        figure.text(0.5, 0.93, f"category {category}, {now}", **middle, fontsize=8)
        figure.text(0.5, 0.05, setting(groups), **middle, fontsize=7)
        figure.subplots_adjust(0.01, 0.1, 0.99, 0.76, 0.04, 0)
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())
        frames.append(Image.fromarray(pixels).convert("RGB").quantize(32))
        plt.close(figure)
    path = output / "evolution.gif"
    durations = [1200 if moment in ends else 250 for moment in moments]  # milliseconds
    several = dict(save_all=True, append_images=frames[1:], loop=0)
    frames[0].save(path, **several, duration=durations, optimize=True)
    print(f"wrote {path}")
