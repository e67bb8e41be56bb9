"""Tables over scored runs, beside the paper's numbers."""

import csv
import io
import json
import statistics

from scoring.metrics import by_task, qualities
from scoring.runs import IGNORED, SHARED_OPTIONS, learned_categories

# The paper's order; others follow in the order of their names
METHODS = ["joint", "sft", "ewc", "rewc", "dgr", "mergan_jtr", "mergan_ra"]
# Memory Replay GANs (Wu et al., NeurIPS 2018, "MeRGAN"), table 1: accuracy in percent, by data set
# and number of tasks, of the methods below
PAPER_METHODS = ("joint", "sft", "ewc", "dgr", "mergan_jtr", "mergan_ra")
PAPER = {
    ("mnist", 5): (97.66, 19.87, 70.62, 90.39, 97.93, 98.19),
    ("mnist", 10): (96.92, 10.06, 77.03, 85.40, 97.00, 97.01),
    ("svhn", 5): (85.30, 19.35, 39.84, 61.29, 80.90, 76.05),
    ("svhn", 10): (84.82, 10.10, 33.02, 47.28, 66.50, 66.78),
}
FEATURES = {"judge": "judge", "inception": "Inception"}
NUM_FEATURES = {"judge": 128, "inception": 2048}
# What tables call the scores of final_scores
TITLES = {
    "accuracy": "accuracy %",
    "fid_test": "FID ({features}) test",
    "fid_train": "FID ({features}) train",
    "reverse_accuracy": "reverse accuracy %",
    "learned": "learned %",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
    "diversity": "diversity",
}


def read_scores(path):
    """The scores in an eval.json; ValueError that says what is wrong if it is not one."""

    def refuse(constant):
        raise ValueError(f"it holds {constant}")

    result = json.loads(path.read_text(), parse_constant=refuse)
    try:
        if result["accuracy"][-1] is None:
            raise ValueError("its run was not finished when it was scored")
        markdown([result])
        as_csv([result])
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"not the scores of a run: {type(error).__name__}: {error}") from error
    return result


def mean(values):
    """Mean of the values that exist; None if there is none."""
    values = [value for value in values if value is not None]
    return statistics.fmean(values) if values else None


def mean_std(values, digits=2):
    """'mean ± standard deviation' of the values that exist, and n if not all of several do; '–' for
    none, no spread for one.
    """
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    text = f"{statistics.fmean(known):.{digits}f}"
    if len(known) > 1:
        text += f" ± {statistics.stdev(known):.{digits}f}"
    return text if len(known) == len(values) else f"{text} (n = {len(known)})"


def final_scores(result):
    """The scores of a run after its last task, {name: value} in the order of TITLES."""
    return {
        "accuracy": result["average_accuracy"][-1],
        "fid_test": result["fid"]["test"]["all"],
        "fid_train": result["fid"]["train"]["all"],
        "reverse_accuracy": result["reverse_accuracy"],
        "learned": result["learned"],
        "forgetting": result["forgetting"],
        "backward_transfer": result["backward_transfer"],
        "diversity": mean(result["diversity"]),
    }


def per_task(result):
    """Categories that a run learns in a task."""
    return result["arguments"]["categories_per_task"]


def names_of(result):
    """Names of the categories that a run learns."""
    names = result["categories"]
    return names[: learned_categories(result["arguments"], len(names))]


def place(method):
    """A key by which methods are sorted: the paper's order, then that of their names."""
    known = METHODS.index(method) if method in METHODS else len(METHODS)
    return known, method


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
            if any(other.get(name, ...) != value for other in (rows if of_all else same_method)):
                label.append(f"{name}={value}")
        labels.append(" ".join(label))
    return labels


def setting_of(result):
    """What every method of a table has in common: {option: value}."""
    setting = {name: result["arguments"][name] for name in SHARED_OPTIONS}
    if per_task(result) != 1:
        setting["categories_per_task"] = per_task(result)
    return setting


def scored_how(result):
    """What scores have in common that stand in one table: how, and against what, they are."""
    fid = result["fid"]
    how = (fid["features"], fid["samples"], result["samples"], result["statistics"])
    return (*how, result["data"], result["other_data"], names_of(result))


def markdown(results):
    """Tables over runs, one for each setting; runs that differ only in the seed share a row.

    The setting is what every method has in common, and how and on what the runs were scored. Rows
    that differ in other options name them. ValueError if two runs do not even differ in the seed.
    """
    apart = (*SHARED_OPTIONS, "categories_per_task", "seed", *IGNORED)
    tables = {}
    for result in results:
        arguments = result["arguments"]
        options = {name: value for name, value in arguments.items() if name not in apart}
        rows = tables.setdefault(json.dumps([setting_of(result), scored_how(result)]), {})
        runs = rows.setdefault(json.dumps(options, sort_keys=True), [])
        seed = arguments["seed"]
        if seed in [run["arguments"]["seed"] for run in runs]:
            found = f"two runs of {arguments['method']} with the same options and seed {seed}"
            raise ValueError(f"{found}; name only one of them")
        runs.append(result)
    settings = [json.loads(key)[0] for key in tables]
    # A row has one name in all tables of a data set
    options_of = {setting["dataset"]: {} for setting in settings}
    for setting, rows in zip(settings, tables.values()):
        options_of[setting["dataset"]] |= rows
    labels = {}
    for dataset, options in options_of.items():
        labels[dataset] = dict(zip(options, labels_of(list(map(json.loads, options)))))
    lines = []
    for setting, rows in zip(settings, tables.values()):
        ambiguous = settings.count(setting) > 1
        lines += ["", *table(setting, rows, labels[setting["dataset"]], ambiguous)]
    return "\n".join(lines[1:])


def table(setting, rows, labels, ambiguous):
    """The lines of one table. rows: results by their options (JSON); labels: names of rows, as
    well; ambiguous: another table has the same setting, so its head names the data too.
    """
    runs = sum(rows.values(), [])
    names = names_of(runs[0])
    title = {name.replace("_", " "): value for name, value in setting.items()}
    if ambiguous:
        title["real data and judge"] = runs[0]["data"]
    lines = ["**" + ", ".join(f"{name} {value}" for name, value in title.items()) + "**"]
    lines += ["", legend(runs, [json.loads(options) for options in rows]), ""]

    # Accuracies stand beside the paper's, those after the last task at the end
    tasks = setting["num_tasks"]
    one_each = "categories_per_task" not in setting  # as the paper has it
    papers = {}  # by number of tasks: {method: accuracy}
    for (dataset, number), accuracies in PAPER.items():
        if one_each and dataset == setting["dataset"] and number <= tasks:
            papers[number] = dict(zip(PAPER_METHODS, accuracies))
    header = ["method", "n"]
    for task in sorted({tasks, *papers}):
        header.append(TITLES["accuracy"] if task == tasks else f"after {task} tasks %")
        header += ["paper"] * (task in papers)
    features = FEATURES[runs[0]["fid"]["features"]]
    other_scores = [name for name in TITLES if name != "accuracy"]
    header += [TITLES[name].format(features=features) for name in other_scores]
    header += [*names, "minutes"]
    lines += [line(header), "|" + " --- |" * len(header)]

    for text in sorted(rows, key=lambda text: place(json.loads(text)["method"])):
        option, runs = json.loads(text), rows[text]
        cells = [labels[text], str(len(runs))]
        for task in sorted({tasks, *papers}):
            cells.append(mean_std([run["average_accuracy"][task - 1] for run in runs]))
            if task in papers:
                chosen = option["categories"] or option["images_per_category"]  # not the paper's
                cells.append(mean_std([None if chosen else papers[task].get(option["method"])]))
        cells += [mean_std([final_scores(run)[name] for run in runs]) for name in other_scores]
        for category in range(len(names)):
            cells.append(mean_std([run["accuracy"][-1][category] for run in runs], 1))
        cells.append(mean_std([run["minutes"] for run in runs], 1))
        lines.append(line(cells))
    return lines


def line(cells):
    """A line of a Markdown table."""
    return "| " + " | ".join(drawable(cell).replace("|", "\\|") for cell in cells) + " |"


def drawable(text):
    """A text with a mark for what no font can draw: line breaks, bytes that are no text."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def each(values):
    """The different values, with two decimals; '–' for none."""
    texts = {"–" if value is None else f"{value:.2f}" for value in values}
    return "/".join(sorted(texts))


def same_options(rows):
    """The options that all rows have alike, in words; not those that are empty or off."""
    words = []
    for name, value in rows[0].items():
        alike = all(row.get(name, ...) == value for row in rows)
        if alike and name != "method" and value not in ("", None) and value is not False:
            words.append(drawable(f"{name.replace('_', ' ')} {value}"))
    return words


def legend(runs, options):
    """What stands behind a table's scores: features, counts, what real images would score, and the
    options that all rows have, or all of a method. options: of each row.
    """
    first = runs[0]
    fid, names = first["fid"], names_of(first)
    numbered = names == list(map(str, range(len(names))))
    columns = "0, 1, …" if numbered else drawable(f"{', '.join(names[:2])}, …")
    sentences = [
        f"Accuracy on {first['samples']} images a category, {first['statistics']} statistics; "
        f"columns {columns} are the categories."
    ]
    judges = sorted({run["judge"] for run in runs})
    right = each(run["judge_accuracy"] for run in runs)
    sentences.append(f"The judge, {' or '.join(judges)}, gets {right} % of real test images right.")
    floors = []
    for split in ("test", "train"):
        floors.append(f"{each(run['fid']['floor'][split] for run in runs)} ({split})")
    sentences.append(
        f"FID ({FEATURES[fid['features']]}) has {fid['samples']} images a side; "
        f"real training images would get {' and '.join(floors)}."
    )
    if fid["samples"] < NUM_FEATURES[fid["features"]]:
        sentences.append("These are fewer images than features, so FID says little.")
    ceilings = [run["reverse_accuracy_ceiling"] for run in runs]
    if ceilings == [None] * len(runs):
        sentences.append("Reverse accuracy was not measured: eval.py --quick leaves it out.")
    else:
        sentences.append(f"Reverse accuracy of real training images: {each(ceilings)} %.")
    hardware = {run["arguments"]["hardware"] for run in runs}
    sentences.append(f"Trained on: {' or '.join(sorted(hardware))}.")
    shared = same_options(options)
    if shared:
        sentences.append(f"All runs have {', '.join(shared)}.")
    for method in sorted({row["method"] for row in options}, key=place):
        own = same_options([row for row in options if row["method"] == method])
        own = [option for option in own if option not in shared]
        if own:
            sentences.append(f"{method} has {', '.join(own)}.")
        arguments = [run["arguments"] for run in runs if run["arguments"]["method"] == method]
        codes = {code for given in arguments for code in given.get("code", "").split(", then ")}
        if len(codes) > 1:
            sentences.append(f"Runs of {method} had different code: {' or '.join(sorted(codes))}.")
    if first["other_data"]:
        sentences.append(f"Scored on other data than was learned ({first['other_data']}).")
    return " ".join(sentences)


def as_csv(results):
    """One row a run: arguments, final scores, FID's features and count, and by category."""
    rows = []
    for result in results:
        fid, categories = result["fid"], len(names_of(result))
        row = {**result["arguments"], "category_names": ", ".join(names_of(result))}
        row |= final_scores(result)
        row |= {f"fid_{name}": fid[name] for name in ("features", "samples")}
        for split in ("test", "train"):
            row[f"fid_floor_{split}"] = fid["floor"][split]
            tasks = by_task(fid[split]["matrix"], per_task(result))
            row |= {f"{name}_{split}": value for name, value in qualities(tasks).items()}
        for name in ("reverse_accuracy_ceiling", "judge", "judge_accuracy", "data", "other_data"):
            row[name] = result[name]
        row |= {name: result[name] for name in ("samples", "statistics", "minutes")}
        row |= by_category("accuracy", result["accuracy"][-1], categories)
        for split in ("test", "train"):
            row |= by_category(f"fid_{split}", fid[split]["per_category"], categories)
        rows.append(row)
    # A method's own options are empty in the rows of others
    columns = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def by_category(name, values, categories):
    """{name_0: …, name_1: …} of the categories that the run learns."""
    return {f"{name}_{c}": value for c, value in enumerate(values[:categories])}
