"""Milliseconds a generator step of every method script, against a plain loop on the same networks.

    python benchmark/speed.py                        # a table, and results/speed_<device>.json
    python benchmark/speed.py --iters 40 --rounds 1 --output DIR      # quicker, elsewhere

The plain loop is written as public ports of WGAN-GP write it: separate critic passes on real and on
fake images, batches from a DataLoader on the host, and .item() in every step. Its critic's loss is
that of sft.py, which is checked before timing. Everything takes five critic steps. In each round
the loop and the scripts run in turn on MNIST, each as a process of its own, and a script's speed is
the ratio of the loop's time to its own in that round. Of every task the steps before --warmup are
left out; the second task counts, as there every method does its own work.

On a CPU that multiplies bfloat16, the scripts run with --amp bf16 too. On a GPU sft.py also runs
without a CUDA graph, without TF32 and in bfloat16, at 32×32 and, on random images, at 64×64.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import common  # noqa: E402
from support.files import write_json  # noqa: E402

SCRIPTS = ("sft", "ewc", "rewc", "dgr", "mergan_jtr", "mergan_ra")
LOOP = "plain loop"

# --------------------------------------------------------------------------------------------------
# The plain loop


def penalty(critic, real, fake, epsilon):
    x_hat = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
    gradient = torch.autograd.grad(critic(x_hat)[0].sum(), x_hat, create_graph=True)[0]
    return ((gradient.norm(2, dim=(1, 2, 3)) - 1) ** 2).mean()


def loop_critic_loss(critic, real, fake, labels, epsilon):
    score_real, logits = critic(real)
    score_fake, _ = critic(fake)
    loss = score_fake.mean() - score_real.mean() + F.cross_entropy(logits, labels)
    return loss + 10 * penalty(critic, real, fake, epsilon)


def plain_leaky_relu(x):
    """PyTorch's, in the place of that of common.py."""
    return F.leaky_relu(x, 0.2)


def endless_batches(loader):
    while True:
        yield from loader


def loop(args):
    """The plain loop on category 0; prints as JSON the milliseconds a step of each window."""
    torch.manual_seed(1)
    common.LeakyReLU.apply = plain_leaky_relu
    images, labels, names = common.load_dataset("mnist", args.data_dir, "train")
    of_category = common.normalise(images[labels == 0]), labels[labels == 0]
    data = torch.utils.data.TensorDataset(*of_category)
    loader = torch.utils.data.DataLoader(data, 64, shuffle=True, drop_last=True)
    batches = endless_batches(loader)
    generator = common.Generator(len(names), 1).to(args.device)
    critic = common.Critic(len(names), 1).to(args.device)
    critic_optimizer = torch.optim.Adam(critic.parameters(), 1e-4, betas=(0.0, 0.9))
    generator_optimizer = torch.optim.Adam(generator.parameters(), 1e-4, betas=(0.0, 0.9))
    y = torch.zeros(1, dtype=torch.long, device=args.device)
    started = time.perf_counter()
    windows = []
    for step in range(1, args.iters + 1):
        for _ in range(5):
            real, label = (tensor.to(args.device) for tensor in next(batches))
            fake = generator(torch.randn(64, 128, device=args.device), y).detach()
            epsilon = torch.rand(64, 1, 1, 1, device=args.device)
            loss = loop_critic_loss(critic, real, fake, label, epsilon)
            critic_optimizer.zero_grad()
            loss.backward()
            critic_optimizer.step()
            loss.item()
        score, logits = critic(generator(torch.randn(64, 128, device=args.device), y))
        loss = -score.mean() + F.cross_entropy(logits, label)
        generator_optimizer.zero_grad()
        loss.backward()
        generator_optimizer.step()
        loss.item()
        if step % args.log_every == 0:
            now = time.perf_counter()
            if step > args.warmup:
                windows.append(1000 * (now - started) / args.log_every)
            started = now
    print(json.dumps(windows))


def check_loop():
    """The loop's critic loss and its gradient are those of sft.py, in float64."""
    sft = importlib.import_module("sft")
    torch.manual_seed(0)
    critic = common.Critic(10, 1).double()
    real = torch.rand(8, 1, 32, 32).double()
    fake = torch.rand(8, 1, 32, 32).double()
    y = torch.tensor([3])
    torch.manual_seed(7)
    of_sft = sft.critic_loss(critic, real, fake, y, 1.0)
    of_sft = of_sft + 10 * sft.gradient_penalty(critic, real, fake)
    torch.manual_seed(7)
    of_loop = loop_critic_loss(critic, real, fake, y.expand(8), torch.rand(8, 1, 1, 1))
    weights = list(critic.parameters())
    gradients = [torch.autograd.grad(loss, weights) for loss in (of_sft, of_loop)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


# --------------------------------------------------------------------------------------------------
# Timing


def native_bfloat16(device):
    return device == "cuda" or torch.cpu._is_avx512_bf16_supported()


def cases(device, photographs):
    """What is timed: {name: (script, options, environment)}. photographs: a folder of images."""
    found = {}
    for script in SCRIPTS:
        found[script] = (script, [], {})
        if device == "cpu" and native_bfloat16(device):
            found[f"{script}, bfloat16"] = (script, ["--amp", "bf16"], {})
    if device == "cuda":
        large = ["--dataset", "folder", "--data-dir", photographs]
        for size, options in (("32×32", []), ("64×64", large)):
            if options:  # without, it is the script above
                found[f"sft, {size}"] = ("sft", options, {})
            found[f"sft, {size}, no graph"] = ("sft", [*options, "--cuda-graph", "off"], {})
            found[f"sft, {size}, no TF32"] = ("sft", options, {"NVIDIA_TF32_OVERRIDE": "0"})
            found[f"sft, {size}, bfloat16"] = ("sft", [*options, "--amp", "bf16"], {})
    return found


def make_photographs(folder):
    """Two categories of random images."""
    random = np.random.default_rng(0)
    for category in ("a", "b"):
        (folder / category).mkdir(parents=True)
        for number in range(200):
            pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / category / f"{number}.png")


def child(command, environment):
    """Run a command. Returns what it prints; exits where it fails, or finds no CUDA graph."""
    words = [sys.executable, *map(str, command)]
    whole = os.environ | environment
    done = subprocess.run(words, env=whole, cwd=ROOT, capture_output=True, text=True)
    if done.returncode or "warning: no CUDA graph" in done.stderr:
        sys.exit(f"error: {' '.join(words)} failed: {done.stderr.strip()}")
    return done.stdout


def time_loop(args):
    """Milliseconds a step of the plain loop: the median over windows."""
    options = ["--iters", args.iters, "--warmup", args.warmup, "--log-every", args.log_every]
    options += ["--device", args.device, "--data-dir", args.data_dir]
    return statistics.median(json.loads(child([__file__, "--loop", *options], {})))


def time_script(script, own_options, environment, args, scratch):
    """Milliseconds a step in a script's second task: the median over windows."""
    run_dir = Path(scratch) / f"{script}-{time.time_ns()}"
    options = ["--schedule", "paper", "--num-tasks", 2, "--iters", args.iters]
    options += ["--log-every", args.log_every, "--checkpoint-every", 10**6]
    options += ["--data-dir", args.data_dir, "--run-dir", run_dir, "--device", args.device]
    child([f"{script}.py", *options, *own_options], environment)
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    counted = [line for line in lines if line["task"] == 2 and line["step"] > args.warmup]
    return statistics.median(1000 / line["it_per_s"] for line in counted)


def device_name(device):
    """The GPU's name, or the CPU's and its instructions."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    bf16 = ", bfloat16" if native_bfloat16(device) else ""
    return f"{common.processor_name()} ({torch.backends.cpu.get_cpu_capability()}{bf16})"


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--iters", type=int, default=60, help="generator steps per task and run [%(default)s]")
    add("--warmup", type=int, default=20, help="steps left out of each task [%(default)s]")
    add("--log-every", type=int, default=10, help="steps per timed window [%(default)s]")
    add("--rounds", type=int, default=3, help="runs of each, in turn [%(default)s]")
    add("--data-dir", type=Path, default=ROOT / "data", help="folder of MNIST [data]")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    add("--device", choices=("cpu", "cuda"), default=device, help="[%(default)s]")
    add("--output", type=Path, default=ROOT / "results", help="folder of the file [results]")
    add("--loop", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.data_dir = args.data_dir.resolve()
    if args.iters // args.log_every * args.log_every <= args.warmup:
        expected = f"a window of --log-every {args.log_every} after --warmup {args.warmup}"
        parser.error(f"--iters is {args.iters}, expected {expected}")
    return args


def main():
    args = parse_args()
    if args.loop:
        loop(args)
        return
    check_loop()
    rows, failures = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        photographs = Path(scratch) / "photographs"
        make_photographs(photographs)
        for _ in range(args.rounds):
            base = time_loop(args)
            add_time(rows, LOOP, base, base)
            for name, case in cases(args.device, photographs).items():
                try:
                    add_time(rows, name, time_script(*case, args, scratch), base)
                except SystemExit as error:
                    failures.append(str(error))
                    continue
                write_report(args, rows)  # what follows may not come to its end

    print("| | ms a step | speed against the plain loop | min – max |\n| --- | --- | --- | --- |")
    for name, row in rows.items():
        speeds = row["speed"]
        middle = f"{statistics.median(row['ms']):.4g} | {statistics.median(speeds):.2f}×"
        print(f"| {name} | {middle} | {min(speeds):.2f} – {max(speeds):.2f} |")
    sys.exit("\n".join(failures) or None)


def add_time(rows, name, milliseconds, base):
    """Add a time and, in the same round, how many times as fast as the plain loop's base it is."""
    row = rows.setdefault(name, {"ms": [], "speed": []})
    row["ms"].append(milliseconds)
    row["speed"].append(base / milliseconds)


def write_report(args, rows):
    report = {
        "device": device_name(args.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "arguments": {k: v for k, v in vars(args).items() if k not in ("data_dir", "output")},
        "rows": rows,
    }
    args.output.mkdir(parents=True, exist_ok=True)
    write_json(args.output / f"speed_{args.device}.json", report)


if __name__ == "__main__":
    main()
