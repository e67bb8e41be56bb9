"""Runs that nobody trained: film, scores and arguments; and figures.py, called in this process."""

import json

import numpy as np
from conftest import call_main

import figures

STEPS = (1, 2, 4)  # of each task, the moments of a film


def shade(task, step, category, z):
    """The grey of a whole image, other for every moment, category and noise."""
    return (61 * task + 23 * step + 17 * category + 101 * z) % 200 + 40


def recognised(method, z):
    """Whether the judge sees the category asked for; never so of earlier tasks by sft.py."""
    return method != "sft" and z != 1


def write_run(folder, method, tasks=3, each=1, seed=1, scored=True, base=60, names=None, **options):
    """A run in a folder. Accuracy after task t of category c is base + 10 t + c, and FID as much.

    each: categories a task. scored: with eval.json, in which moments inside tasks have half of it.
    joint.py has only one task, whose steps count over the whole training.
    """
    count = tasks * each
    names = names or [str(c) for c in range(count)]
    arguments = {
        "method": method,
        "seed": seed,
        "dataset": "mnist",
        "num_tasks": tasks,
        "categories_per_task": each,
        "iters": 4,
        "batch_size": 12,
        "learning_rate": 1e-3,
        "width": 4,
        **options,
    }
    moments = [(task, step) for task in range(1, tasks + 1) for step in STEPS]
    seen = [task * each for task, _ in moments]
    if method == "joint":
        moments = [(tasks, step) for step in (1, 2, 4, 8, 4 * tasks)]
        seen = [count] * len(moments)
    images = np.zeros((len(moments), count, 5, 1, 32, 32), np.uint8)
    judged = np.full((len(moments), count, 5), -1, np.int16)
    for m, (task, step) in enumerate(moments):
        for c in range(seen[m]):
            for z in range(5):
                images[m, c, z] = shade(task, step, c, z)
                right = recognised(method, z) or c >= seen[m] - each
                judged[m, c, z] = c if right else (c + 1) % count
    folder.mkdir(parents=True)
    (folder / "args.json").write_text(json.dumps(arguments))
    film = {"moments": np.array(moments, np.int32), "images": images, "judged": judged}
    np.savez_compressed(folder / "film.npz", **film, names=np.array(names))
    if scored:
        scores = made_up_scores(arguments, moments, names, count, base)
        (folder / "eval.json").write_text(json.dumps(scores))
    return folder


def made_up_scores(arguments, moments, names, count, base):
    tasks, each = arguments["num_tasks"], arguments["categories_per_task"]
    joint = arguments["method"] == "joint"

    def row(task, part=1):
        known = range(count if joint else task * each)
        return [part * (base + 10 * task + c) if c in known else None for c in range(count)]

    matrix = [row(task) for task in range(1, tasks + 1)]
    if joint:
        matrix[:-1] = [None] * (tasks - 1)
    inside = []
    for task, step in moments:
        scores = {"accuracy": row(task, 0.5), "fid_test": row(task), "fid_samples": [64]}
        inside.append({"task": task, "step": step, **scores})
    return {
        "categories": names,
        "accuracy": matrix,
        "average_accuracy": [values and float(np.mean(values[:count])) for values in matrix[-1:]],
        "forgetting": 12.5,
        "reverse_accuracy": 77.7,
        "fid": {
            "test": {"all": 44.4, "matrix": matrix},
            "features": "judge",
            "samples": 5000,
        },
        "intermediate": inside,
        "samples": 640,
        "statistics": "batch",
        "data": "12345678",
        "other_data": None,
        "arguments": arguments,
    }


def figures_main(*options):
    """What figures.py exits with, None if it draws all."""
    return call_main(figures, *options)


def failure(capsys, *options):
    """The error lines of a command that fails."""
    code = figures_main(*options)
    assert code
    told = capsys.readouterr().err
    lines = (told + (code if isinstance(code, str) else "")).splitlines()
    return [line for line in lines if "error: " in line]


def cut_film(run, moments):
    """Let a run have saved only its first moments so far."""
    with np.load(run / "film.npz") as file:
        parts = dict(file)
    for name in ("moments", "images", "judged"):
        parts[name] = parts[name][:moments]
    np.savez(run / "film.npz", **parts)
