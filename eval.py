"""Score every saved generator of every run by a classifier trained on real images, and print a table over runs.

    python eval.py runs                          # every run under runs/
    python eval.py runs/mnist__mergan_ra__1      # one run
    python eval.py runs > results.md             # the table alone goes to standard output

Writes eval.json into each run: "accuracy" (a matrix in percent: row = after that task, column = category, null = not yet
seen), "average_accuracy" (percent, its mean over seen categories after each task), "forgetting" (percentage points),
"judge_accuracy" (percent of real test images), "samples" per category, "statistics", "minutes" of training, "arguments".
"""

import argparse
import hashlib
import json
import os
import statistics
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from common import Generator, Judge, load_dataset, normalise

# MeRGAN, table 1: accuracy in percent, by data set, number of tasks and method.
PAPER = {
    ("mnist", 5): dict(joint=97.66, sft=19.87, ewc=70.62, mergan_jtr=97.93, mergan_ra=98.19),
    ("mnist", 10): dict(joint=96.92, sft=10.06, ewc=77.03, mergan_jtr=97.00, mergan_ra=97.01),
}
METHODS = ["joint", "sft", "ewc", "rewc", "mergan_jtr", "mergan_ra"]  # the paper's order; others follow
ELSEWHERE = ("run_dir", "data_dir", "overwrite", "log_every", "checkpoint_every")  # arguments that change no result
JUDGE_EPOCHS = 4


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = lambda *names, **kwargs: parser.add_argument(*names, **{**kwargs, "help": kwargs["help"] + " [%(default)s]"})
    parser.add_argument("paths", nargs="+", metavar="RUN_OR_DIR", help="run directories, or folders that hold some")
    add("--data-dir", default=None, help="folder of the real data; None: where the run found it")
    add("--samples", type=int, default=6400, help="images per category and snapshot, a multiple of 64; paper: 6400")
    add("--statistics", choices=("batch", "standing"), default="batch", help="normalisation when drawing; paper: batch")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: cuda where there is one")
    args = parser.parse_args()
    if args.samples < 64 or args.samples % 64:
        parser.error(f"--samples is {args.samples}, expected a multiple of 64")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device is cuda, but PyTorch sees no CUDA GPU; use --device cpu, or install a CUDA build")
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    return args


def train_judge(images, labels, num_categories, device, seed=0):
    """A Judge trained on uint8 images [N, C, 32, 32] and labels int64 [N]: fixed schedule, last epoch, evaluation mode."""
    torch.manual_seed(seed)
    judge = Judge(num_categories, images.shape[1]).to(device, memory_format=torch.channels_last)
    images, labels = images.to(device), labels.to(device)
    batches = -(-len(images) // 128)
    optimizer = torch.optim.Adam(judge.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=JUDGE_EPOCHS * batches)
    bf16 = device == "cuda" or torch.cpu._is_avx512_bf16_supported()
    for epoch in range(JUDGE_EPOCHS):
        for index in torch.randperm(len(images), device=device).chunk(batches):
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                loss = F.cross_entropy(judge(normalise(images[index])).float(), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"judge: epoch {epoch + 1}/{JUDGE_EPOCHS}, loss {loss.item():.4f}", file=sys.stderr)
    return judge.eval()


@torch.no_grad()
def classify(judge, images):
    """Predicted categories int64 [N] of images [N, C, 32, 32], uint8 or already normalised."""
    device = next(judge.parameters()).device
    chunks = (chunk.to(device) for chunk in images.split(256))
    return torch.cat([judge(normalise(c) if c.dtype == torch.uint8 else c).argmax(1) for c in chunks])


def load_judge(dataset, data_dir, device):
    """The judge of a data set and its test accuracy in percent; trained once, then kept beside the data."""
    images, labels, names = load_dataset(dataset, data_dir, "train")
    test_images, test_labels, _ = load_dataset(dataset, data_dir, "test")
    key = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    path = Path(data_dir) / f"judge-{dataset}-{key[:8]}.pt"
    judge = Judge(len(names), images.shape[1]).to(device).eval()
    try:
        judge.load_state_dict(torch.load(path, map_location=device, weights_only=True))
    except FileNotFoundError:
        judge = train_judge(images, labels, len(names), device)
        torch.save(judge.state_dict(), f"{path}.tmp")
        os.replace(f"{path}.tmp", path)
    except Exception as error:
        sys.exit(f"error: {path} is damaged or not ours ({type(error).__name__}); delete it to train a new judge")
    accuracy = 100 * (classify(judge, test_images).cpu() == test_labels).float().mean().item()
    print(f"judge: {accuracy:.2f} % of {len(test_labels)} real test images right ({path})", file=sys.stderr)
    if accuracy < 90:
        print("judge: warning: below 90 %, so the scores below mean little", file=sys.stderr)
    return judge, accuracy


@torch.no_grad()
def draw(generator, category, samples, seed=0):
    """samples images [N, C, 32, 32] of one category, in groups of 64 as in training; the same z for every generator."""
    device = generator.linear.weight.device
    z = torch.randn(samples, generator.config["latent_dim"], generator=torch.Generator().manual_seed(seed)).to(device)
    return torch.cat([generator(c, torch.full((len(c) // 64,), category, device=device)) for c in z.split(256)])


def forgetting(matrix):
    """Mean over all but the newest category: best accuracy after earlier tasks minus the final one (Chaudhry et al. 2018).

    matrix: rows after each task, columns categories, None where not yet seen. Percentage points; None with one row.
    """
    rows = [row for row in matrix if row is not None]
    if len(rows) < 2:
        return None
    past = [c for c, value in enumerate(rows[-2]) if value is not None]
    return statistics.fmean(max(row[c] for row in rows[:-1] if row[c] is not None) - rows[-1][c] for c in past)


def score(run, judge, judge_accuracy, args):
    """Accuracy matrix, its means and forgetting of one run, written to its eval.json. Returns (results, broken files)."""
    arguments = json.loads((run / "args.json").read_text())
    matrix, broken = [None] * arguments["num_tasks"], []
    for task in range(arguments["num_tasks"]):
        path = run / f"task_{task + 1}.pt"
        if not path.exists():
            continue
        try:
            snapshot = torch.load(path, map_location=args.device, weights_only=True)
            generator = Generator(**snapshot["config"]).to(args.device)
            generator.load_state_dict(snapshot["generator"])
            generator.train(args.statistics == "batch")
            row = [None] * len(snapshot["categories"])
            for category in snapshot["seen"]:
                predicted = classify(judge, draw(generator, category, args.samples))
                row[category] = 100 * (predicted == category).float().mean().item()
        except Exception as error:
            broken.append(f"{path} ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})")
            continue
        matrix[task] = row
    log = run / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    results = {
        "average_accuracy": [row and statistics.fmean(v for v in row if v is not None) for row in matrix],
        "accuracy": matrix,
        "forgetting": matrix[-1] and forgetting(matrix),
        "judge_accuracy": judge_accuracy,
        "samples": args.samples,
        "statistics": args.statistics,
        "minutes": json.loads(lines[-1])["elapsed"] / 60 if lines else None,
        "arguments": {name: value for name, value in arguments.items() if name not in ELSEWHERE},
    }
    (run / "eval.json.tmp").write_text(json.dumps(results, indent=1) + "\n")
    os.replace(run / "eval.json.tmp", run / "eval.json")
    return results, broken


def mean_std(values, digits=2):
    """'mean ± standard deviation' of the values that exist; '–' if there is none, no spread if there is one."""
    values = [value for value in values if value is not None]
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else "–"
    return f"{statistics.fmean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def markdown(results):
    """Tables over runs, one for each setting; runs that differ in the seed alone share a row.

    The setting is what every method has in common; a method's rows that differ in other options name them.
    """
    setting = ("dataset", "num_tasks", "iters", "batch_size", "learning_rate", "width")
    tables = {}
    for result in results:
        arguments = result["arguments"]
        own = {k: v for k, v in arguments.items() if k not in (*setting, "seed", *ELSEWHERE)}
        rows = tables.setdefault(tuple(arguments[name] for name in setting), {})
        rows.setdefault(json.dumps(own, sort_keys=True), []).append(result)
    lines = []
    for values, rows in tables.items():
        names = dict(zip(setting, values))
        lines += ["", "**" + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in names.items()) + "**", ""]
        tasks = names["num_tasks"]
        lines += [
            "| method | n | accuracy % | paper | forgetting | " + " | ".join(map(str, range(tasks))) + " | minutes |"
        ]
        lines += ["|" + " --- |" * (tasks + 6)]
        parsed = [json.loads(own) for own in rows]
        rank = lambda own: METHODS.index(own["method"]) if own["method"] in METHODS else len(METHODS)
        for own, runs in sorted(zip(parsed, rows.values()), key=lambda pair: rank(pair[0])):
            twins = [other for other in parsed if other["method"] == own["method"]]
            differing = [f"{k}={v}" for k, v in own.items() if any(other.get(k) != v for other in twins)]
            final = [run["accuracy"][-1] or [None] * tasks for run in runs]
            cells = [" ".join([own["method"], *differing]), str(len(runs))]
            cells += [mean_std([run["average_accuracy"][-1] for run in runs])]
            cells += [str(PAPER.get((names["dataset"], tasks), {}).get(own["method"], "–"))]
            cells += [mean_std([run["forgetting"] for run in runs])]
            cells += [mean_std(column, 1) for column in list(zip(*final))[:tasks]]
            cells += [mean_std([run["minutes"] for run in runs], 1)]
            lines += ["| " + " | ".join(cells) + " |"]
    return "\n".join(lines[1:])


def main():
    args = parse_args()
    runs = sorted({path.parent for root in args.paths for path in Path(root).rglob("args.json")})
    if not runs:
        sys.exit(f"error: no run (a folder with args.json) in {', '.join(args.paths)}; train one with: python sft.py")
    judges, results, broken = {}, [], []
    for run in runs:
        try:
            arguments = json.loads((run / "args.json").read_text())
            dataset, data_dir = arguments["dataset"], args.data_dir or arguments["data_dir"]
        except (ValueError, KeyError) as error:
            broken.append(f"{run / 'args.json'} ({type(error).__name__}: {error})")
            continue
        if (dataset, data_dir) not in judges:
            judges[dataset, data_dir] = load_judge(dataset, data_dir, args.device)
        print(f"scoring {run}", file=sys.stderr)
        result, unreadable = score(run, *judges[dataset, data_dir], args)
        results.append(result)
        broken += unreadable
    print(markdown(results))
    if broken:
        sys.exit("error: skipped, not readable as ours: " + "; ".join(broken))


if __name__ == "__main__":
    main()
