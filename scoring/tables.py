"""Tables over scored runs, beside the paper's numbers."""

import csv
import io
import json
import statistics

from scoring.paper import PAPER
from scoring.runs import ELSEWHERE, SETTING

# The paper's order; others follow
METHODS = ["joint", "sft", "ewc", "rewc", "dgr", "mergan_jtr", "mergan_ra"]
# What a table needs of an eval.json, beside arguments and FIDs
NEEDED = ("accuracy", "average_accuracy", "forgetting", "backward_transfer", "reverse_accuracy")
NEEDED += ("reverse_accuracy_ceiling", "diversity", "judge_accuracy", "data", "samples")
NEEDED += ("statistics", "minutes")


def read_scores(path):
    """The scores in an eval.json; ValueError that says what is wrong if it is not one."""

    def refuse(constant):
        raise ValueError(f"it holds {constant}")

    result = json.loads(path.read_text(), parse_constant=refuse)
    try:
        check_scores(result)
        markdown([result])
        write_csv([result], io.StringIO())
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"not the scores of a run: {type(error).__name__}: {error}") from error
    return result


def check_scores(result):
    """ValueError that says what is missing if this is not what an eval.json holds."""
    if not isinstance(result, dict):
        raise ValueError("not the scores of a run")
    parts = {"arguments": ("method", "seed", *SETTING)}
    parts["fid"] = ("test", "train", "floor", "features", "samples")
    missing = [name for name in (*NEEDED, *parts) if name not in result]
    for part, names in parts.items():
        values = result.get(part)
        if isinstance(values, dict):
            missing += [f"{part}.{name}" for name in names if name not in values]
    if missing:
        raise ValueError(f"not the scores of a run: no {', '.join(missing)}")
    tasks = result["arguments"]["num_tasks"]
    for name in ("accuracy", "average_accuracy"):
        if not isinstance(result[name], list) or len(result[name]) != tasks:
            raise ValueError(f"{name} is no list of {tasks} tasks")
    if result["average_accuracy"][-1] is None:
        raise ValueError("its run was not finished when it was scored")
    if not isinstance(result["accuracy"][-1], list) or len(result["accuracy"][-1]) < tasks:
        raise ValueError(f"accuracy has not {tasks} categories after the last task")


def mean(values):
    """Mean of the values that exist; None if there is none."""
    values = [value for value in values or [] if value is not None]
    return statistics.fmean(values) if values else None


def mean_std(values, digits=2):
    """'mean ± standard deviation' of the values that exist; '–' for none, no spread for one."""
    values = [value for value in values if value is not None]
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.fmean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def final_scores(result):
    """The scores of a run after its last task, by the names that tables give them."""
    return {
        "accuracy %": result["average_accuracy"][-1],
        "FID test": result["fid"]["test"]["all"],
        "FID train": result["fid"]["train"]["all"],
        "reverse accuracy %": result["reverse_accuracy"],
        "forgetting": result["forgetting"],
        "backward transfer": result["backward_transfer"],
        "diversity": mean(result["diversity"]),
    }


def names_of(result):
    """Names of the categories that a run learns: numbers, where its scores do not hold them."""
    tasks = result["arguments"]["num_tasks"]
    return (result.get("categories") or list(map(str, range(tasks))))[:tasks]


def rank(method):
    """Where a method stands in tables and figures."""
    return METHODS.index(method) if method in METHODS else len(METHODS)


def labels_of(rows):
    """The name of each set of arguments: its method, and the options that tell it from others.

    An option that all sets have is named where any two of them differ in it, any other option where
    sets of the same method do.
    """
    labels = []
    for row in rows:
        same_method = [other for other in rows if other["method"] == row["method"]]
        label = [row["method"]]
        for name, value in row.items():
            of_all = name != "method" and all(name in other for other in rows)
            if any(other.get(name) != value for other in (rows if of_all else same_method)):
                label.append(f"{name}={value}")
        labels.append(" ".join(label))
    return labels


def markdown(results):
    """Tables over runs, one for each setting; runs that differ only in the seed share a row.

    The setting is what every method has in common, and how and on what the runs were scored. Rows
    that differ in other options name them. ValueError if two runs do not even differ in the seed.
    """
    tables = {}
    for result in results:
        arguments = result["arguments"]
        setting = tuple(arguments[name] for name in SETTING)
        scored = (result["fid"]["features"], result["fid"]["samples"], result["samples"])
        scored += (result["statistics"],)
        scored += (result["data"], result.get("other_data"), tuple(names_of(result)))
        apart = (*SETTING, "seed", *ELSEWHERE)
        options = {name: value for name, value in arguments.items() if name not in apart}
        rows = tables.setdefault((setting, scored), {})
        runs = rows.setdefault(json.dumps(options, sort_keys=True), [])
        seed = arguments["seed"]
        if seed in [run["arguments"]["seed"] for run in runs]:
            found = f"two runs of {arguments['method']} with the same options and seed {seed}"
            raise ValueError(f"{found}; name only one of them")
        runs.append(result)
    lines = []
    for (setting, scored), rows in tables.items():
        ambiguous = sum(other == setting for other, _ in tables) > 1
        lines += ["", *table(dict(zip(SETTING, setting)), *scored, rows, ambiguous)]
    return "\n".join(lines[1:])


def table(
    setting, features, fid_samples, samples, statistics, data, other_data, names, rows, ambiguous
):
    """The lines of one table. rows: results by their options (JSON); ambiguous: another table has
    the same setting, so its head names the data too.
    """
    title = {name.replace("_", " "): value for name, value in setting.items()}
    if ambiguous:
        title["real data and judge"] = data
    tasks, dataset = setting["num_tasks"], setting["dataset"]
    numbered = list(names) == list(map(str, range(tasks)))
    columns = "0, 1, …" if numbered else drawable(f"{', '.join(names[:2])}, …")
    text = f"Accuracy on {samples} images a category, {statistics} statistics; "
    text += f"columns {columns} are the categories. " + legend(rows, features, fid_samples)
    if other_data:
        text += f" Scored on other data than was learned ({other_data})."
    lines = ["**" + ", ".join(f"{name} {value}" for name, value in title.items()) + "**", ""]
    lines += [text, ""]

    # Accuracies stand beside the paper's, those after the last task at the end
    papers = {t: paper for (name, t), paper in PAPER.items() if name == dataset and t < tasks}
    papers[tasks] = PAPER.get((dataset, tasks), {})
    header = ["method", "n"]
    for task in papers:
        header += ["accuracy %" if task == tasks else f"after {task} tasks %", "paper"]
    other_scores = ["FID test", "FID train", "reverse accuracy %"]
    other_scores += ["forgetting", "backward transfer", "diversity"]
    header += [*other_scores, *names, "minutes"]
    lines += [line(header), "|" + " --- |" * len(header)]

    options = [json.loads(text) for text in rows]
    labelled = zip(options, labels_of(options), rows.values())
    for option, label, runs in sorted(labelled, key=lambda row: rank(row[0]["method"])):
        runs = [run for run in runs if run["accuracy"][-1]] or runs[:1]  # those that are finished
        final = [run["accuracy"][-1] or [None] * tasks for run in runs]
        n = sum(run["accuracy"][-1] is not None for run in runs)
        chosen = option["categories"] or option["images_per_category"]  # not the paper's data
        cells = [label, str(n)]
        for task, paper in papers.items():
            cells.append(mean_std([run["average_accuracy"][task - 1] for run in runs]))
            cells.append(mean_std([None if chosen else paper.get(option["method"])]))
        cells += [mean_std([final_scores(run)[name] for run in runs]) for name in other_scores]
        cells += [mean_std(column, 1) for column in list(zip(*final))[:tasks]]
        cells.append(mean_std([run["minutes"] for run in runs], 1))
        lines.append(line(cells))
    return lines


def line(cells):
    """A line of a Markdown table."""
    return "| " + " | ".join(drawable(cell).replace("|", "\\|") for cell in cells) + " |"


def drawable(text):
    """A text with a mark for what no font can draw: line breaks, bytes that are no text."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def legend(rows, features, samples):
    """What stands behind a table's scores: features, counts, what real images would score."""
    if not samples:
        return f"FID of {features} features."
    runs = sum(rows.values(), [])

    def each(values):
        return "/".join(sorted(set(values)))

    def decimals(value):
        return "–" if value is None else f"{value:.2f}"

    test, train = (
        each(decimals(run["fid"]["floor"][split]) for run in runs) for split in ("test", "train")
    )
    ceiling = each(decimals(run["reverse_accuracy_ceiling"]) for run in runs)
    right = each(decimals(run["judge_accuracy"]) for run in runs)
    judges = sorted({run["judge"] for run in runs if "judge" in run})
    judge = f"The judge, {' or '.join(judges)}," if judges else "The judge"
    hardware = {run["arguments"]["hardware"] for run in runs if "hardware" in run["arguments"]}
    text = (
        f"FID of {features} features, {samples} images a side; real training images would get "
        f"FID {test} (test) and {train} (train), and reverse accuracy {ceiling} %. "
        f"{judge} gets {right} % of real test images right."
    )
    if hardware:
        text += f" Trained on: {' or '.join(sorted(hardware))}."
    return text


def write_csv(results, file):
    """One row a run: arguments, final scores, FID's features and count, and by category."""
    rows = []
    for result in results:
        fids, tasks = result["fid"], result["arguments"]["num_tasks"]
        row = dict(result["arguments"])
        for name, value in final_scores(result).items():
            row[name.removesuffix(" %").replace(" ", "_").lower()] = value
        row |= {f"fid_{name}": fids[name] for name in ("features", "samples")}
        for split in ("test", "train"):
            row[f"fid_floor_{split}"] = (fids["floor"] or {}).get(split)
        for name in ("reverse_accuracy_ceiling", "judge", "judge_accuracy", "data", "other_data"):
            row[name] = result.get(name)
        row |= {name: result[name] for name in ("samples", "statistics", "minutes")}
        row |= by_category("accuracy", result["accuracy"][-1], tasks)
        for split in ("test", "train"):
            row |= by_category(f"fid_{split}", fids[split]["per_category"], tasks)
        rows.append(row)
    # A method's own options are empty in the rows of others
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def by_category(name, values, tasks):
    """{name_0: …, name_1: …} of the categories that the run learns."""
    return {f"{name}_{c}": value for c, value in enumerate((values or [])[:tasks])}
