"""The losses over training, from metrics.jsonl; also of a run that is not finished."""

import sys

from pictures.canvas import plt, save_figure
from pictures.film import clock
from pictures.groups import need_runs, setting
from support.files import reading

TITLES = ["critic", "gradient penalty", "generator", "the method's own"]
SHARED = ["critic", "gradient_penalty", "generator"]
NO_LOSS = {"task", "step", "at", "it_per_s", "elapsed"}


def read_log(run):
    """The lines of metrics.jsonl, each a dict with "at": steps since the start of the training.

    A last line that is being written is left out. Exits if another line is damaged.
    """
    with reading(run.path / "metrics.jsonl"):
        log = run.log()
        at = clock([(line["task"], line["step"]) for line in log], run.iters) * run.iters
    return [line | {"at": round(steps)} for line, steps in zip(log, at)]


def draw(groups, output):
    """Rows: methods, the run with the lowest seed. Columns: losses. Writes output/losses.png."""
    need_runs(groups, "losses")
    logs = [(group, read_log(group.run)) for group in groups]
    logs = [(group, log) for group, log in logs if log]
    if not logs:
        sys.exit("error: no loss is logged yet; a run logs the first after --log-every steps")
    figure, axes = plt.subplots(
        len(logs),
        len(TITLES),
        figsize=(13, 1.6 * len(logs) + 0.9),
        squeeze=False,
        layout="constrained",
    )
    for row, (group, log) in zip(axes, logs):
        for ax, name in zip(row, SHARED):
            draw_losses(ax, group, log, [name])
        own = [name for name in log[-1] if name not in (*SHARED, *NO_LOSS)]
        if own:
            draw_losses(row[-1], group, log, own)
            row[-1].legend(fontsize=7, frameon=False, loc="upper right")
        else:
            row[-1].set_axis_off()
        reached = "" if group.run.finished() else group.run.reached()
        row[0].set_ylabel(f"{group.heading}\n{reached}", fontsize=8)
    for ax, title in zip(axes[0], TITLES):
        ax.set_title(title, fontsize=9, pad=14)
    for ax in axes[-1]:
        ax.set_xlabel("steps; above: the task", fontsize=8)
    figure.suptitle(f"losses ({setting([group for group, _ in logs])})", fontsize=10)
    save_figure(figure, output / "losses.png")


def draw_losses(ax, group, log, names):
    """One or more losses over the steps, the tasks marked by lines and numbers."""
    run = group.run
    for name, style in zip(names, ("-", "--", ":", "-.")):
        points = [(line["at"], line[name]) for line in log if name in line]
        ax.plot(*zip(*points), color=group.look.colour, linestyle=style, linewidth=0.8, label=name)

    # A penalty that is zero in the first task and large at the start of the next
    values = sorted(abs(line[name]) for line in log for name in names if line.get(name))
    if values and values[-1] > 1e3 * values[0]:
        ax.set_yscale("symlog", linthresh=values[len(values) // 10])
    ax.set_xlim(0, run.tasks * run.iters)
    ax.tick_params(labelsize=7)
    if run.tasks > 1 and log[0]["task"] == run.tasks:  # all categories in one task
        return
    above = {"transform": ax.transAxes, "ha": "center", "fontsize": 6, "color": "0.4"}
    for task in range(run.tasks):
        ax.axvline(task * run.iters, color="0.8", linewidth=0.6, zorder=0)
        ax.text((task + 0.5) / run.tasks, 1.02, task + 1, **above)
