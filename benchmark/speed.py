"""Milliseconds per generator iteration of every method script, against a plain loop on the same network.

    python benchmark/speed.py                  # a table, and results/speed_<device>.json
    python benchmark/speed.py --iters 40       # quicker
    python benchmark/speed.py --profile sft    # where the time of one script goes: its ten most expensive operations

The reference below is written as public ports of WGAN-GP write it: float32, separate critic passes on real and on fake
images, batches from a DataLoader on the host, and .item() in every step. It computes the losses of sft.py (checked
before timing). Reference and scripts run in turn, each alone, as processes of their own, on MNIST; of every run the
steps before --warmup are left out, and the rest is read, like a user's, from the rate in metrics.jsonl. "% of peak":
operations of convolutions and matrix products, against those of a product of large matrices in the same time (those of
sft.py for the reference, which does more). "images / s": that the critic sees as real ones. Linux.
"""

import argparse
import contextlib
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import unittest.mock
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import common  # noqa: E402
from common import Critic, Generator, RealImages, load_dataset, normalise  # noqa: E402

# Runs a script of ours with its arguments, and prints the most GPU memory that PyTorch held, in MB.
PEAK = "import runpy, sys, torch; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
PEAK += "; print(torch.cuda.max_memory_reserved() / 2**20)"


def penalty(critic, real, fake, epsilon):
    x_hat = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
    gradient = torch.autograd.grad(critic(x_hat)[0].sum(), x_hat, create_graph=True)[0]
    return ((gradient.norm(2, dim=(1, 2, 3)) - 1) ** 2).mean()


def reference_critic_loss(critic, real, fake, labels, epsilon):
    score_real, logits = critic(real)
    score_fake, _ = critic(fake)
    loss = score_fake.mean() - score_real.mean() + F.cross_entropy(logits, labels)
    return loss + 10 * penalty(critic, real, fake, epsilon)


def reference(args):
    """The plain loop on category 0; prints one JSON line, the milliseconds of each --log-every steps after warm-up."""
    torch.manual_seed(1)
    common.LeakyReLU.apply = lambda x: F.leaky_relu(x, 0.2)  # PyTorch's
    images, labels, names = load_dataset("mnist", args.data_dir, "train")
    data = torch.utils.data.TensorDataset(normalise(images[labels == 0]), labels[labels == 0])
    loader = torch.utils.data.DataLoader(data, 64, shuffle=True, drop_last=True)
    endless = (batch for _ in iter(int, 1) for batch in loader)
    generator, critic = Generator(len(names), 1).to(args.device), Critic(len(names), 1).to(
        args.device
    )
    critic_optimizer = torch.optim.Adam(critic.parameters(), 1e-4, betas=(0.0, 0.9))
    generator_optimizer = torch.optim.Adam(generator.parameters(), 1e-4, betas=(0.0, 0.9))
    y = torch.zeros(1, dtype=torch.long, device=args.device)
    started, windows = time.time(), []
    for step in range(1, args.iters + 1):
        for _ in range(5):
            real, label = (tensor.to(args.device) for tensor in next(endless))
            fake = generator(torch.randn(64, 128, device=args.device), y).detach()
            loss = reference_critic_loss(
                critic, real, fake, label, torch.rand(64, 1, 1, 1, device=args.device)
            )
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
            if step > args.warmup:
                windows.append(1000 * (time.time() - started) / args.log_every)
            started = time.time()
    print(json.dumps(windows))


def check_reference():
    """The reference's critic loss and its gradient are those of sft.py, in float64."""
    sft = importlib.import_module("sft")
    torch.manual_seed(0)
    critic = Critic(10, 1).double()
    real, fake, y = (
        torch.rand(8, 1, 32, 32).double(),
        torch.rand(8, 1, 32, 32).double(),
        torch.tensor([3]),
    )
    torch.manual_seed(7)
    ours = sft.critic_loss(critic, real, fake, y, 1.0) + 10 * sft.gradient_penalty(
        critic, real, fake
    )
    torch.manual_seed(7)
    theirs = reference_critic_loss(critic, real, fake, y.expand(8), torch.rand(8, 1, 1, 1))
    for a, b in zip(
        *(torch.autograd.grad(loss, list(critic.parameters())) for loss in (ours, theirs))
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def child(command, log, device="cpu"):
    """Run a command; returns its output and its peak memory in MB: what PyTorch held on a GPU, else resident."""
    command = ["-c", PEAK, *command] if device == "cuda" else command
    with open(log, "w+") as file:
        process = subprocess.Popen([sys.executable, *map(str, command)], stdout=file, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        file.seek(0)
        output = file.read().splitlines()
    if status:
        sys.exit(f"error: {' '.join(map(str, command))} failed")
    return output, float(output.pop()) if device == "cuda" else usage.ru_maxrss / 1024


def measure(script, tasks, args, scratch):
    """{task: milliseconds of each window after warm-up} and peak memory of one run of a script."""
    run_dir = Path(scratch) / f"{script}-{time.time_ns()}"
    options = [
        "--data-dir",
        args.data_dir,
        "--run-dir",
        run_dir,
        "--num-tasks",
        tasks,
        "--iters",
        args.iters,
    ]
    options += ["--log-every", args.log_every, "--checkpoint-every", 10**6, "--device", args.device]
    _, memory = child([f"{script}.py", *options], Path(scratch) / "log", args.device)
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {
        task: [
            1000 / line["it_per_s"]
            for line in lines
            if line["task"] == task and line["step"] > args.warmup
        ]
        for task in sorted({line["task"] for line in lines})
    }, memory


class Operations(TorchDispatchMode):
    """Counts the floating-point operations of matrix products and convolutions, backward passes included."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if operation.overloadpacket in flop_registry:
            self.count += flop_registry[operation.overloadpacket](
                *args, **(kwargs or {}), out_val=result
            )
        return result


def operations(script, args):
    """Print the floating-point operations of one generator iteration of a script's second task."""
    counts, module = [], importlib.import_module(script)

    def counted(update):  # in the place of a CUDA graph
        def call():
            with Operations() as operations:
                values = update()
            counts.append(operations.count)
            return values

        return call

    with tempfile.TemporaryDirectory() as scratch, unittest.mock.patch("common.CudaGraph", counted):
        options = [
            "--data-dir",
            args.data_dir,
            "--run-dir",
            scratch,
            "--num-tasks",
            2,
            "--iters",
            1,
            "--device",
            "cpu",
        ]
        sys.argv = [
            f"{script}.py",
            *map(str, options),
            *(["--fisher-samples", "2"] if "ewc" in script else []),
        ]
        with unittest.mock.patch.object(RealImages, "static", True), contextlib.redirect_stdout(
            None
        ):
            module.main()
    print(counts[-1])


def matrix_peak(device):
    """Floating-point operations per second of a product of large matrices, as the scripts multiply (README: --amp)."""
    bf16 = device == "cpu" and torch.cpu._is_avx512_bf16_supported()
    torch.set_float32_matmul_precision(
        "highest" if device == "cpu" else "high"
    )  # TF32, as in convolutions
    size, seconds = 2048 if device == "cpu" else 8192, []
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16 if bf16 else torch.float32)
    for _ in range(20):
        started = time.perf_counter()
        b = a @ a
        b[0, 0].item()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds[5:])


def profile(script, args):
    """Print the ten operations of --iters steps of a script that take the most time, start-up included."""
    with tempfile.TemporaryDirectory() as scratch:
        options = [
            "--data-dir",
            args.data_dir,
            "--run-dir",
            scratch,
            "--num-tasks",
            1,
            "--iters",
            args.iters,
        ]
        sys.argv = [f"{script}.py", *map(str, options), "--device", args.device]
        with torch.profiler.profile() as profiler:
            importlib.import_module(script).main()
    by = f"self_{args.device}_time_total"
    print(profiler.key_averages().table(sort_by=by, row_limit=10, max_name_column_width=40))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scripts", default="sft,ewc,rewc,dgr,mergan_jtr,mergan_ra", help="which")
    parser.add_argument(
        "--iters", type=int, default=60, help="generator steps per task and run [60]"
    )
    parser.add_argument("--warmup", type=int, default=20, help="steps left out of each task [20]")
    parser.add_argument("--log-every", type=int, default=10, help="steps per timed window [10]")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn [3]")
    parser.add_argument(
        "--flat",
        type=int,
        default=0,
        help="also JTR and RA on this many tasks, task 2 against the last",
    )
    parser.add_argument(
        "--data-dir",
        type=lambda path: Path(path).resolve(),
        default=ROOT / "data",
        help="folder of MNIST [data]",
    )
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda"
    )
    parser.add_argument(
        "--profile", metavar="SCRIPT", help="print a script's most expensive operations, and end"
    )
    parser.add_argument("--reference", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--operations", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.reference:
        return reference(args)
    if args.operations:
        return operations(args.operations, args)
    if args.profile:
        return profile(args.profile, args)
    check_reference()
    times, memory, counts = {}, {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for script in ["sft", *args.scripts.split(",")]:
            command = [Path(__file__), "--operations", script, "--data-dir", args.data_dir]
            counts[script] = int(child(command, Path(scratch) / "log")[0][-1])
        for _ in range(args.rounds):
            same = ["--iters", args.iters, "--warmup", args.warmup, "--log-every", args.log_every]
            command = [
                Path(__file__),
                "--reference",
                *same,
                "--data-dir",
                args.data_dir,
                "--device",
                args.device,
            ]
            output, memory["reference"] = child(command, Path(scratch) / "log", args.device)
            times.setdefault("reference", []).extend(json.loads(output[-1]))
            for script in args.scripts.split(","):
                windows, memory[script] = measure(
                    script, 2, args, scratch
                )  # task 2: every method does its own work
                times.setdefault(script, []).extend(windows[2])
        flat = {}
        for script in ("mergan_jtr", "mergan_ra") if args.flat else ():
            windows, _ = measure(script, args.flat, args, scratch)
            flat[script] = statistics.median(windows[args.flat]) / statistics.median(windows[2])
    base, sft = statistics.median(times["reference"]), statistics.median(
        times.get("sft", times["reference"])
    )
    rows, peak = {}, matrix_peak(args.device)
    columns = (
        "",
        "ms per iteration",
        "min – max",
        "images / s",
        "reference / it",
        "it / sft",
        "% of peak",
        "peak MB",
    )
    print("| " + " | ".join(columns) + " |\n" + "|" + " --- |" * len(columns))
    for name, values in times.items():
        ms = statistics.median(values)
        row = dict(
            ms=ms,
            min=min(values),
            max=max(values),
            images_per_s=5 * 64 * 1000 / ms,
            speedup=base / ms,
        )
        row |= dict(cost=ms / sft, gflop=counts.get(name, counts["sft"]) / 1e9)
        rows[name] = row | dict(share_of_peak=row["gflop"] * 1e12 / ms / peak, peak_mb=memory[name])
        share = f"{100 * rows[name]['share_of_peak']:.0f}"
        median, least, most = (
            f"{value:.{0 if base > 100 else 2}f}" for value in (ms, min(values), max(values))
        )
        print(f"| {name} | {median} | {least} – {most} | {row['images_per_s']:.0f} "
              f"| {base / ms:.2f}× | {ms / sft:.2f}× | {share} | {memory[name]:.0f} |")  # fmt: skip
    for script, ratio in flat.items():
        print(f"\n{script}: task {args.flat} costs {ratio:.2f}× task 2")
    device = torch.cuda.get_device_name() if args.device == "cuda" else cpu_name()
    report = dict(
        device=device,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        python=platform.python_version(),
    )
    report |= dict(
        arguments={k: str(v) for k, v in vars(args).items() if k != "data_dir"},
        rows=rows,
        flat=flat,
    )
    report["matrix_peak_gflops"] = peak / 1e9
    (ROOT / "results").mkdir(exist_ok=True)
    path = ROOT / "results" / f"speed_{args.device}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nwrote {path.relative_to(ROOT)}")


def cpu_name():
    """The processor's name and whether it multiplies bfloat16 natively."""
    features = [
        name
        for name in ("avx512_bf16", "amx_tile")
        if getattr(torch.cpu, f"_is_{name}_supported")()
    ]
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.split(": ")[1] for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    return f"{model} ({', '.join(features) or 'no native bfloat16'})"


if __name__ == "__main__":
    main()
