"""Choices that the papers leave open, changed one at a time in MeRGAN-RA, on five digits of MNIST.

    python benchmark/ablation.py    # scores in results/ablation_cpu, their table in ablation_cpu.md

A variant is mergan_ra.py with a patch of the folder benchmark/ablation, which says what it changes.
The scripts and their runs go to results/ablation; an ablation that was stopped continues. To make a
patch, or one anew that no longer fits: change mergan_ra.py, and

    git diff mergan_ra.py > benchmark/ablation/NAME.patch
    git checkout mergan_ra.py

EWC's choices are in benchmark/sweep.py and benchmark/mnist_small.txt.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import ROOT, command, make_parser, train

PATCHES = ROOT / "benchmark" / "ablation"


def find_variants():
    """The path of the patch, or None, by the name of the variant."""
    variants = {"mergan_ra": None}
    for patch in sorted(PATCHES.glob("*.patch")):
        variants[f"mergan_ra_{patch.stem}"] = patch
    return variants


def patched(patch):
    """The text of mergan_ra.py with a patch applied. Exits with one line if that cannot be."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "mergan_ra.py")
        shutil.copy(ROOT / "mergan_ra.py", script)
        # Git applies a patch only to files of the repository that it finds around it, if any
        alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(Path(folder).parent)}
        try:
            done = subprocess.run(
                ["git", "apply", str(patch.resolve())],
                cwd=folder,
                env=alone,
                capture_output=True,
                text=True,
            )
        except FileNotFoundError:
            sys.exit("error: git not found, which applies the patches of variants; install it")
        if done.returncode:
            cause = done.stderr.splitlines()[0].removeprefix("error: ")
            advice = "make it anew: python benchmark/ablation.py --help says how"
            sys.exit(f"error: {patch} no longer fits mergan_ra.py ({cause}); {advice}")
        return script.read_text(encoding="utf-8")


def write_variant(name, patch, folder):
    """Write the script of a variant into a folder. Returns its path."""
    text = (ROOT / "mergan_ra.py").read_text(encoding="utf-8")
    if patch:
        text = patched(patch)
    script = folder / f"{name}.py"
    # A run continues, but not with another script than it began with
    if script.exists() and script.read_text(encoding="utf-8") != text:
        sys.exit(
            f"error: {script} is another version of this variant; delete {folder} or --out DIR"
        )
    script.write_text(text, encoding="utf-8")
    return script


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--samples", type=int, default=6400, help="to score, a category [6400]")
    args = parser.parse_args()
    folder = args.out.resolve() / "ablation"
    kept = args.out.resolve() / "ablation_cpu"
    folder.mkdir(parents=True, exist_ok=True)
    kept.mkdir(exist_ok=True)

    # Train every variant; all patches fit before the first run begins
    variants = find_variants()
    scripts = [write_variant(name, patch, folder) for name, patch in variants.items()]
    commands = [command(args, script, folder / script.stem) for script in scripts]
    for _, name in zip(train(commands, args.jobs), variants):
        print(f"trained {name}", flush=True)

    # Score them all, keep the scores, and make their table
    score = [sys.executable, "eval.py", "--device", "cpu"]
    subprocess.run([*score, folder, "--samples", str(args.samples)], cwd=ROOT, check=True)
    for name in variants:
        shutil.copy(folder / name / "eval.json", kept / f"{name}.json")
    files = sorted(kept.glob("*.json"))
    table = subprocess.run([*score, *files], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    (args.out / "ablation_cpu.md").write_bytes(table)


if __name__ == "__main__":
    main()
