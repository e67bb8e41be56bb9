"""How strongly MeRGAN-RA's two losses pull at the generator, at the end of a run.

    python mergan_ra.py --schedule short --width 16 --iters 400 --num-tasks 9 \\
        --run-dir runs/small_equation
    python mergan_ra.py --schedule short --width 16 --iters 400 --num-tasks 9 \\
        --run-dir runs/small_code --alignment code
    python eval.py runs/small_equation runs/small_code --samples 1280
    python benchmark/alignment.py runs/small_equation runs/small_code

A row for each run: the norm of the generator's gradient of the adversarial loss and of λ_RA times
the alignment with the generator of the task before, means over 16 batches; and, from eval.json,
accuracy and FID of the categories of earlier tasks. Writes results/alignment.json.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from common import load_generator, make_critic, write  # noqa: E402
from mergan_ra import generator_loss, replay_alignment  # noqa: E402

BATCHES = 16


def gradient_norms(directory, arguments):
    """Means of ‖∇ adversarial loss‖ and ‖∇ λ_RA · alignment‖ over batches, after the last task."""
    tasks = arguments["num_tasks"]
    generator, _, saved = load_generator(directory / f"task_{tasks}.pt")
    frozen, _, before = load_generator(directory / f"task_{tasks - 1}.pt")
    config = saved["config"]
    sizes = {name: config[name] for name in ("num_categories", "channels", "image_size", "width")}
    critic = make_critic(**sizes)
    checkpoint = torch.load(directory / "checkpoint.pt", map_location="cpu", weights_only=True)
    critic.load_state_dict(checkpoint["networks"]["critic"])

    past = torch.tensor(before["seen"])
    y = torch.tensor(saved["seen"][len(past) :])
    batch = arguments["batch_size"]
    divisor = len(past) if arguments["alignment"] == "code" else 1
    torch.manual_seed(0)
    norms = []
    for _ in range(BATCHES):
        fake = generator(torch.randn(batch, config["latent_dim"]), y)
        adversarial = generator_loss(critic, fake, y, arguments["lambda_cls"])
        z = torch.randn(batch // len(past) * len(past), config["latent_dim"])
        with torch.no_grad():
            replay = frozen(z, past)
        alignment = replay_alignment(generator(z, past), replay, divisor)
        row = []
        for loss in (adversarial, arguments["lambda_ra"] * alignment):
            gradients = torch.autograd.grad(loss, list(generator.parameters()))
            row.append(torch.nn.utils.get_total_norm(gradients).item())
        norms.append(row)
    return [statistics.fmean(column) for column in zip(*norms)]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="finished and scored runs of mergan_ra")
    parser.add_argument("--output", type=Path, default=ROOT / "results", help="folder [results]")
    args = parser.parse_args()
    rows = {}
    print("| alignment | task | ‖∇ adversarial‖ | ‖∇ alignment‖ | past accuracy % | past FID |")
    print("| --- | --- | --- | --- | --- | --- |")
    for run in args.runs:
        arguments = json.loads((run / "args.json").read_text())
        scores = json.loads((run / "eval.json").read_text())
        adversarial, alignment = gradient_norms(run, arguments)
        past = arguments["num_tasks"] - 1
        accuracy = statistics.fmean(scores["accuracy"][-1][:past])
        fid = statistics.fmean(scores["fid"]["test"]["matrix"][-1][:past])
        name = arguments["alignment"]
        rows[name] = {
            "adversarial": adversarial,
            "alignment": alignment,
            "past_accuracy": accuracy,
            "past_fid": fid,
            "arguments": scores["arguments"],
        }
        print(
            f"| {name} | {past + 1} | {adversarial:.2f} | {alignment:.2f} "
            f"| {accuracy:.2f} | {fid:.2f} |"
        )
    args.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rows, indent=1) + "\n"
    write(args.output / "alignment.json", lambda file: file.write_text(text))


if __name__ == "__main__":
    main()
