"""The losses over training, from metrics.jsonl; also of a run that is not finished."""

import json
import sys

from pictures.canvas import plt, save
from pictures.groups import setting

SHARED = {"critic": "critic", "gradient_penalty": "gradient penalty", "generator": "generator"}
NO_LOSS = {"task", "step", "at", "it_per_s", "elapsed"}


def read_log(run):
    """The lines of metrics.jsonl, each a dict with "at": steps since the start of the training.

    A last line that is being written is left out. ValueError if another line is damaged.
    """
    path = run.path / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    log = [json.loads(line) for line in lines]
    # The steps of a run of one task for all (joint.py) count from its start
    first = min((line["task"] for line in log), default=1)
    for line in log:
        line["at"] = (line["task"] - first) * run.iters + line["step"]
    return log


def losses_of(log):
    """Names of the losses in a log, in its order: those of every method, and the method's own."""
    return list(dict.fromkeys(name for line in log for name in line if is_loss(name)))


def is_loss(name):
    return name not in NO_LOSS


def draw(groups, output, problems):
    """Rows: methods, the run with the lowest seed. Columns: losses. Writes output/losses.png.

    problems: a list, to which logs that cannot be read are added.
    """
    logs = []
    for group in groups:
        try:
            log = read_log(group.run)
        except (OSError, ValueError, KeyError, TypeError) as error:
            path = group.run.path / "metrics.jsonl"
            problems.append(f"{path} is not readable as ours ({type(error).__name__})")
            continue
        if log:
            logs.append((group, log))
    if not logs:
        sys.exit("error: no loss is logged yet; a run logs the first after --log-every steps")
    has_own = any(set(losses_of(log)) - SHARED.keys() for _, log in logs)
    columns = len(SHARED) + has_own
    figure, axes = plt.subplots(
        len(logs),
        columns,
        figsize=(3.1 * columns + 0.6, 1.6 * len(logs) + 0.9),
        squeeze=False,
        layout="constrained",
    )
    for row, (group, log) in zip(axes, logs):
        own = [name for name in losses_of(log) if name not in SHARED]
        for ax, name in zip(row, SHARED):
            draw_loss(ax, group, log, [name])
        if has_own:
            if own:
                draw_loss(row[-1], group, log, own)
            else:
                row[-1].set_axis_off()
        row[0].set_ylabel(f"{group.heading}\n{reached(group.run, log)}", fontsize=8)
    for ax, title in zip(axes[0], [*SHARED.values(), "the method's own"]):
        ax.set_title(title, fontsize=9, pad=14)
    for ax in axes[-1]:
        ax.set_xlabel("steps of all tasks", fontsize=8)
    figure.suptitle(f"losses ({setting([group for group, _ in logs])})", fontsize=10)
    save(figure, output / "losses.png")


def draw_loss(ax, group, log, names):
    """One or more losses over the steps, the tasks marked by lines and the names of categories."""
    for name, style in zip(names, ("-", "--", ":", "-.")):
        points = [(line["at"], line[name]) for line in log if name in line]
        ax.plot(*zip(*points), color=group.look.colour, linestyle=style, linewidth=0.8, label=name)
    if names and names[0] not in SHARED:
        ax.legend(fontsize=7, frameon=False, loc="upper right")
    # A penalty that is zero in the first task and large at the start of the next
    values = [abs(line[name]) for line in log for name in names if line.get(name)]
    if values and max(values) > 1e3 * min(values):
        ax.set_yscale("symlog", linthresh=sorted(values)[len(values) // 10])
    ax.set_xlim(0, group.tasks * group.iters)
    one_task = group.tasks > 1 and log[0]["task"] == group.tasks
    each = group.categories_per_task
    for task in range(0 if one_task else group.tasks):
        name = ", ".join(group.names[task * each : (task + 1) * each])
        ax.axvline(task * group.iters, color="0.8", linewidth=0.6, zorder=0)
        middle = (task + 0.5) / group.tasks
        above = {"transform": ax.transAxes, "ha": "center", "fontsize": 6, "color": "0.4"}
        ax.text(middle, 1.02, name, **above)
    ax.tick_params(labelsize=7)


def reached(run, log):
    """How far the run is, for those that are not finished."""
    if run.finished():
        return ""
    return f"task {log[-1]['task']} of {run.tasks}, step {log[-1]['step']}"
