"""Every category after the last task, a block a method (MeRGAN figure 3)."""

import sys

from pictures.canvas import paint, plt, save, tile
from pictures.groups import all_names, setting


def draw(groups, output, skipped):
    """Rows: categories. Blocks: methods, after their last task. Writes output/samples.png."""
    groups = [group for group in groups if group.run.finished()]
    if not groups:
        sys.exit("error: no run is finished; samples shows generators after their last task")
    names = all_names(groups)
    figure, axes = plt.subplots(
        len(names),
        len(groups),
        figsize=(1.75 * len(groups) + 0.4, 0.42 * len(names) + 0.8),
        squeeze=False,
        layout="compressed",
    )
    for name, row in zip(names, axes):
        row[0].set_ylabel(name, rotation=0, va="center", labelpad=10)
        for ax, group in zip(row, groups):
            tile(ax, paint(group.run.task(group.tasks), name, 4, skipped), 4)
    for ax, group in zip(axes[0], groups):
        ax.set_title(group.label, fontsize=9)
    figure.suptitle(f"after the last task ({setting(groups)})", fontsize=10)
    save(figure, output / "samples.png")
