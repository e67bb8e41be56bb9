"""Milliseconds a generator step of every method script, against a plain loop on the same network.

    python benchmark/speed.py                           # a table, and results/speed_<device>.json
    python benchmark/speed.py --iters 40 --output DIR   # quicker, to another folder
    python benchmark/speed.py --profile sft             # the ten operations that take longest

The plain loop is written as public ports of WGAN-GP write it: float32, separate critic passes on
real and on fake images, batches from a DataLoader on the host, and .item() in every step. Its
critic's loss is that of sft.py, which is checked before timing. The loop and the scripts run in
turn on MNIST, each as a process of its own. Of every run the steps before --warmup are left out;
the rest is read, as a user would, from the rate in metrics.jsonl.

"images / s" are real ones that the critic sees. "% of peak" are the floating-point operations of
convolutions and matrix products, against those of a product of large matrices in the same time;
for the plain loop, which does more, those of sft.py count. Linux only.
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

# Runs a script with its arguments, and prints the most GPU memory that PyTorch held, in MB
PEAK = """
import runpy, sys, torch
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
print(torch.cuda.max_memory_reserved() / 2**20)
"""
COLUMNS = (
    "",
    "ms a step",
    "min – max",
    "images / s",
    "speed against the plain loop",
    "cost against sft",
    "% of peak",
    "peak MB",
)


def penalty(critic, real, fake, epsilon):
    x_hat = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
    gradient = torch.autograd.grad(critic(x_hat)[0].sum(), x_hat, create_graph=True)[0]
    return ((gradient.norm(2, dim=(1, 2, 3)) - 1) ** 2).mean()


def reference_critic_loss(critic, real, fake, labels, epsilon):
    score_real, logits = critic(real)
    score_fake, _ = critic(fake)
    loss = score_fake.mean() - score_real.mean() + F.cross_entropy(logits, labels)
    return loss + 10 * penalty(critic, real, fake, epsilon)


def plain_leaky_relu(x):
    """PyTorch's, in the place of that of layers.py."""
    return F.leaky_relu(x, 0.2)


def endless_batches(loader):
    while True:
        yield from loader


def reference(args):
    """The plain loop on category 0; prints as JSON the milliseconds a step of each window."""
    torch.manual_seed(1)
    common.LeakyReLU.apply = plain_leaky_relu
    images, labels, names = load_dataset("mnist", args.data_dir, "train")
    data = torch.utils.data.TensorDataset(normalise(images[labels == 0]), labels[labels == 0])
    loader = torch.utils.data.DataLoader(data, 64, shuffle=True, drop_last=True)
    batches = endless_batches(loader)
    generator = Generator(len(names), 1).to(args.device)
    critic = Critic(len(names), 1).to(args.device)
    critic_optimizer = torch.optim.Adam(critic.parameters(), 1e-4, betas=(0.0, 0.9))
    generator_optimizer = torch.optim.Adam(generator.parameters(), 1e-4, betas=(0.0, 0.9))
    y = torch.zeros(1, dtype=torch.long, device=args.device)
    started, windows = time.time(), []
    for step in range(1, args.iters + 1):
        for _ in range(5):
            real, label = (tensor.to(args.device) for tensor in next(batches))
            fake = generator(torch.randn(64, 128, device=args.device), y).detach()
            epsilon = torch.rand(64, 1, 1, 1, device=args.device)
            loss = reference_critic_loss(critic, real, fake, label, epsilon)
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
    real = torch.rand(8, 1, 32, 32).double()
    fake = torch.rand(8, 1, 32, 32).double()
    y = torch.tensor([3])
    torch.manual_seed(7)
    of_sft = sft.critic_loss(critic, real, fake, y, 1.0)
    of_sft = of_sft + 10 * sft.gradient_penalty(critic, real, fake)
    torch.manual_seed(7)
    of_loop = reference_critic_loss(critic, real, fake, y.expand(8), torch.rand(8, 1, 1, 1))
    weights = list(critic.parameters())
    gradients = [torch.autograd.grad(loss, weights) for loss in (of_sft, of_loop)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def child(command, log, device="cpu"):
    """Run a command. Returns the lines that it prints and its peak memory in MB.

    On a GPU that is what PyTorch held there, else the resident memory.
    """
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
    """One run of a script: {task: milliseconds a step of each window}, and its peak memory."""
    run_dir = Path(scratch) / f"{script}-{time.time_ns()}"
    options = ["--data-dir", args.data_dir, "--run-dir", run_dir, "--num-tasks", tasks]
    options += ["--iters", args.iters, "--log-every", args.log_every, "--device", args.device]
    options += ["--checkpoint-every", 10**6]
    _, memory = child([f"{script}.py", *options], Path(scratch) / "log", args.device)
    windows = {}
    for line in (run_dir / "metrics.jsonl").read_text().splitlines():
        line = json.loads(line)
        if line["step"] > args.warmup:
            windows.setdefault(line["task"], []).append(1000 / line["it_per_s"])
    return windows, memory


class Operations(TorchDispatchMode):
    """Counts floating-point operations of matrix products and convolutions, backward too."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = operation(*args, **kwargs)
        formula = flop_registry.get(operation.overloadpacket)
        if formula:
            self.count += formula(*args, **kwargs, out_val=result)
        return result


def operations(script, args):
    """Print the floating-point operations of one generator step of a script's second task."""
    counts, module = [], importlib.import_module(script)

    def counted(update, real_images):  # in the place of a CUDA graph
        def step():
            with Operations() as operations:
                values = update()
            counts.append(operations.count)
            return values

        return step

    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        options = ["--data-dir", args.data_dir, "--run-dir", scratch, "--device", "cpu"]
        options += ["--num-tasks", 2, "--iters", 1]
        if script in ("ewc", "rewc"):
            options += ["--fisher-samples", 2]
        sys.argv = [f"{script}.py", *map(str, options)]
        stack.enter_context(unittest.mock.patch("common.CudaGraph", counted))
        stack.enter_context(unittest.mock.patch.object(RealImages, "static", True))
        stack.enter_context(contextlib.redirect_stdout(None))
        module.main()
    print(counts[-1])


def matrix_peak(device):
    """Floating-point operations per second of a product of large matrices, as scripts multiply."""
    bf16 = device == "cpu" and torch.cpu._is_avx512_bf16_supported()
    # On a GPU TF32, as in convolutions
    torch.set_float32_matmul_precision("highest" if device == "cpu" else "high")
    size, seconds = 2048 if device == "cpu" else 8192, []
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16 if bf16 else torch.float32)
    for _ in range(20):
        started = time.perf_counter()
        b = a @ a
        b[0, 0].item()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds[5:])


def profile(script, args):
    """Print the ten operations of --iters steps that take the most time, start-up included."""
    with tempfile.TemporaryDirectory() as scratch:
        options = ["--data-dir", args.data_dir, "--run-dir", scratch, "--device", args.device]
        options += ["--num-tasks", 1, "--iters", args.iters]
        sys.argv = [f"{script}.py", *map(str, options)]
        with torch.profiler.profile() as profiler:
            importlib.import_module(script).main()
    by = f"self_{args.device}_time_total"
    print(profiler.key_averages().table(sort_by=by, row_limit=10, max_name_column_width=40))


def device_name(device):
    """The GPU's name, or the CPU's and whether it multiplies bfloat16 natively."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    native = {
        "avx512_bf16": torch.cpu._is_avx512_bf16_supported(),
        "amx_tile": torch.cpu._is_amx_tile_supported(),
    }
    native = ", ".join(name for name in native if native[name]) or "no native bfloat16"
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.split(": ")[1] for x in lines if x.startswith("model name")), model)
    return f"{model} ({native})"


def parse_args():
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=about)
    add = parser.add_argument
    add("--scripts", default="sft,ewc,rewc,dgr,mergan_jtr,mergan_ra", help="[%(default)s]")
    add("--iters", type=int, default=60, help="generator steps per task and run [%(default)s]")
    add("--warmup", type=int, default=20, help="steps left out of each task [%(default)s]")
    add("--log-every", type=int, default=10, help="steps per timed window [%(default)s]")
    add("--rounds", type=int, default=3, help="runs of each, in turn [%(default)s]")
    add("--flat", type=int, default=0, help="JTR and RA on so many tasks: task 2 against the last")
    add("--data-dir", type=Path, default=ROOT / "data", help="folder of MNIST [data]")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    add("--device", choices=("cpu", "cuda"), default=device, help="[%(default)s]")
    add("--output", type=Path, default=ROOT / "results", help="folder of the file [results]")
    add("--profile", metavar="SCRIPT", help="print its most expensive operations, and end")
    add("--reference", action="store_true", help=argparse.SUPPRESS)
    add("--operations", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.data_dir = args.data_dir.resolve()
    timed = args.iters // args.log_every * args.log_every > args.warmup
    if not (timed or args.profile or args.operations):
        expected = f"a window of --log-every {args.log_every} after --warmup {args.warmup}"
        parser.error(f"--iters is {args.iters}, expected {expected}")
    return args


def measure_all(args):
    """{name: milliseconds of windows}, {name: peak MB}, {name: operations}, {script: ratio}."""
    times, memory, counts, flat = {}, {}, {}, {}
    scripts = list(dict.fromkeys(["sft", *args.scripts.split(",")]))  # sft.py is the measure
    this_file = Path(__file__)
    data = ["--data-dir", args.data_dir]
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        for script in scripts:
            output, _ = child([this_file, "--operations", script, *data], log)
            counts[script] = int(output[-1])
        for _ in range(args.rounds):
            options = ["--iters", args.iters, "--warmup", args.warmup]
            options += ["--log-every", args.log_every, "--device", args.device]
            command = [this_file, "--reference", *options, *data]
            output, memory["plain loop"] = child(command, log, args.device)
            times.setdefault("plain loop", []).extend(json.loads(output[-1]))
            for script in scripts:
                # In task 2 every method does its own work
                windows, memory[script] = measure(script, 2, args, scratch)
                times.setdefault(script, []).extend(windows[2])
        for script in ("mergan_jtr", "mergan_ra") if args.flat else ():
            windows, _ = measure(script, args.flat, args, scratch)
            flat[script] = statistics.median(windows[args.flat]) / statistics.median(windows[2])
    return times, memory, counts, flat


def main():
    args = parse_args()
    if args.reference:
        return reference(args)
    if args.operations:
        return operations(args.operations, args)
    if args.profile:
        return profile(args.profile, args)
    check_reference()
    times, memory, counts, flat = measure_all(args)
    peak = matrix_peak(args.device)

    # The table
    medians = {name: statistics.median(values) for name, values in times.items()}
    base, sft = medians["plain loop"], medians["sft"]
    digits = 0 if base > 100 else 2
    rows = {}
    print("| " + " | ".join(COLUMNS) + " |\n" + "|" + " --- |" * len(COLUMNS))
    for name, ms in medians.items():
        least, most = min(times[name]), max(times[name])
        gflop = counts.get(name, counts["sft"]) / 1e9
        share = gflop * 1e12 / ms / peak
        images = 5 * 64 * 1000 / ms
        rows[name] = {
            "ms": ms,
            "min": least,
            "max": most,
            "images_per_s": images,
            "speedup": base / ms,
            "cost": ms / sft,
            "gflop": gflop,
            "share_of_peak": share,
            "peak_mb": memory[name],
        }
        cells = [name, f"{ms:.{digits}f}", f"{least:.{digits}f} – {most:.{digits}f}"]
        cells += [f"{images:.0f}", f"{base / ms:.2f}×", f"{ms / sft:.2f}×", f"{100 * share:.0f}"]
        print("| " + " | ".join([*cells, f"{memory[name]:.0f}"]) + " |")
    for script, ratio in flat.items():
        print(f"\n{script}: task {args.flat} costs {ratio:.2f}× task 2")

    # The file
    report = {
        "device": device_name(args.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "arguments": {k: str(v) for k, v in vars(args).items() if k not in ("data_dir", "output")},
        "rows": rows,
        "flat": flat,
        "matrix_peak_gflops": peak / 1e9,
    }
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / f"speed_{args.device}.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"\nwrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
