"""Which way of running a generator step is the fastest on this device, at 32×32 and at 64×64.

    python benchmark/variants.py                    # on a GPU: all variants in about five minutes
    python benchmark/variants.py --sizes 64 --width 16 --batch-size 16 --iters 1    # on a CPU

A step is that of sft.py, on random images. Each variant changes one thing of what scripts do: a
CUDA graph, TF32 in convolutions, cuDNN's own choice of kernels, channels last in memory, and the
second derivatives of layers.py. In every round each variant is set up anew, warmed up and timed,
so slow minutes of a shared machine slow all of them. Writes results/speed_variants_<device>.json
after each, and continues there when it is started again; then, for each size, the operations that
take the most time of single launches, to results/speed_profile_<device>_<size>.txt.
"""

import argparse
import contextlib
import dataclasses
import gc
import json
import statistics
import sys
import time
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from speed import device_name  # noqa: E402

import common  # noqa: E402
import sft  # noqa: E402


@dataclasses.dataclass
class Variant:
    """A way to run a step. The defaults are what scripts do on a GPU."""

    graph: bool = True
    bf16: bool = False
    tf32: bool = True
    cudnn_benchmark: bool = False
    channels_last: bool = True
    own_derivatives: bool = True  # those of layers.py, else PyTorch's


BASE = "as scripts run"
VARIANTS = {
    BASE: Variant(),
    "each kernel launched": Variant(graph=False),
    "float32 without TF32": Variant(tf32=False),
    "bfloat16": Variant(bf16=True),
    "cudnn.benchmark": Variant(cudnn_benchmark=True),
    "bfloat16 and cudnn.benchmark": Variant(bf16=True, cudnn_benchmark=True),
    "channels first": Variant(channels_last=False),
    "PyTorch's second derivatives": Variant(own_derivatives=False),
}
KEPT_OUT = ("output", "rounds", "variants")  # options that may differ when it continues
ON_A_CPU = (BASE, "bfloat16", "channels first", "PyTorch's second derivatives")


# PyTorch's own layers, in the place of those of layers.py


class PlainLeakyReLU:
    @staticmethod
    def apply(x):
        return F.leaky_relu(x, 0.2)


def plain_convolve(layer, x, weight=None, stride=1):
    return layer(x)


def plain_down_block(self, x):
    h = self.convs[0](F.relu(self.norms[0](x)))
    h = self.convs[1](F.relu(self.norms[1](h)))
    return self.shortcut(F.avg_pool2d(x, 2)) + F.avg_pool2d(h, 2)


def plain_norm(channels):
    return torch.nn.GroupNorm(1, channels)


@contextlib.contextmanager
def set_up(variant):
    """PyTorch's switches and the layers of common.py as a variant has them."""
    backend = torch.backends.cudnn
    before = backend.benchmark, backend.allow_tf32
    backend.benchmark, backend.allow_tf32 = variant.cudnn_benchmark, variant.tf32
    with contextlib.ExitStack() as patches:
        if not variant.own_derivatives:
            replaced = {
                "convolve": plain_convolve,
                "LayerNorm": plain_norm,
                "LeakyReLU": PlainLeakyReLU,
            }
            patches.enter_context(mock.patch.multiple(common, **replaced))
            patches.enter_context(mock.patch.object(common.DownBlock, "forward", plain_down_block))
        try:
            yield
        finally:
            backend.benchmark, backend.allow_tf32 = before


def make_step(variant, size, args):
    """A function that takes one generator step, as sft.py does."""
    torch.manual_seed(1)
    device = torch.device(args.device)
    channels = 1 if size == 32 else 3
    width = args.width or size
    memory_format = torch.channels_last if variant.channels_last else torch.contiguous_format
    layout = {"device": device, "memory_format": memory_format}
    sizes = {"num_categories": 4, "channels": channels, "image_size": size, "width": width}
    conditioning = "cbn" if size == 32 else "concat"
    generator = common.make_generator(**sizes, conditioning=conditioning).to(**layout)
    critic = common.make_critic(**sizes).to(**layout)
    images = torch.randint(256, (1024, channels, size, size), dtype=torch.uint8)
    real_images = common.RealImages(images, torch.arange(1024) // 256, device)
    autocast = torch.autocast(args.device, torch.bfloat16, enabled=variant.bf16)
    capturable = args.device == "cuda"
    adam = {"lr": 1e-4, "betas": (0.0, 0.9), "fused": True, "capturable": capturable}
    critic_weights, generator_weights = list(critic.parameters()), list(generator.parameters())
    critic_optimizer = torch.optim.Adam(critic_weights, **adam)
    generator_optimizer = torch.optim.Adam(generator_weights, **adam)
    y, n = torch.tensor([0], device=device), args.batch_size
    real_images.begin(y, n)

    def update():
        # Train the critic
        for _ in range(5):
            with autocast:
                real = real_images.draw(y, n)
                with torch.no_grad():
                    fake = generator(torch.randn(n, 128, device=device), y)
                penalty = sft.gradient_penalty(critic, real, fake)
                loss_critic = sft.critic_loss(critic, real, fake, y, 1.0) + 10 * penalty
            critic_optimizer.zero_grad()
            loss_critic.backward(inputs=critic_weights)
            critic_optimizer.step()

        # Train the generator
        with autocast:
            fake = generator(torch.randn(n, 128, device=device), y)
            loss_generator = sft.generator_loss(critic, fake, y, 1.0)
        generator_optimizer.zero_grad()
        loss_generator.backward(inputs=generator_weights)
        generator_optimizer.step()
        return {"critic": loss_critic, "generator": loss_generator}

    graphed = variant.graph and real_images.static
    return common.CudaGraph(update, real_images) if graphed else update


def wait_for(device):
    if device == "cuda":
        torch.cuda.synchronize()


def measure(variant, size, args):
    """Milliseconds a step in each window, most memory in MB, and whether a graph was captured."""
    common.CudaGraph.works = True
    if args.device == "cuda":
        gc.collect()  # the graph of the variant before
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with set_up(variant):
        step = make_step(variant, size, args)
        for _ in range(args.warmup):
            step()
        windows = []
        for _ in range(args.windows):
            wait_for(args.device)
            started = time.perf_counter()
            for _ in range(args.iters):
                step()
            wait_for(args.device)
            windows.append(1000 * (time.perf_counter() - started) / args.iters)
    memory = torch.cuda.max_memory_reserved() / 2**20 if args.device == "cuda" else None
    return {"ms": windows, "peak_mb": memory, "graph": getattr(step, "graph", None) is not None}


def profile(size, args):
    """A table of the operations that take the most time in two steps, each kernel launched."""
    variant = dataclasses.replace(VARIANTS[BASE], graph=False)
    with set_up(variant):
        step = make_step(variant, size, args)
        step()
        wait_for(args.device)
        with torch.profiler.profile() as profiler:
            step()
            step()
            wait_for(args.device)
    by = f"self_{args.device}_time_total"
    return profiler.key_averages().table(sort_by=by, row_limit=25, max_name_column_width=60)


def table(rows):
    """Markdown: medians over all windows, and against BASE within each round."""
    lines = ["| size | variant | ms a step | min – max | speed, the scripts' = 1 |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for size, variants in rows.items():
        for name, rounds in variants.items():
            windows = [ms for row in rounds for ms in row.get("ms", [])]
            if not windows:
                lines.append(f"| {size} | {name} | failed: {rounds[-1]['error']} | | |")
                continue
            ratios = [
                statistics.median(base["ms"]) / statistics.median(row["ms"])
                for base, row in zip(variants[BASE], rounds)
                if "ms" in base and "ms" in row
            ]
            speed = "–"  # where the scripts' own way failed in every round
            if ratios:
                speed = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
            lines.append(
                f"| {size} | {name} | {statistics.median(windows):.4g} "
                f"| {min(windows):.4g} – {max(windows):.4g} | {speed} |"
            )
    return "\n".join(lines)


def parse_args():
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=about)
    add = parser.add_argument
    device = "cuda" if torch.cuda.is_available() else "cpu"
    add("--device", choices=("cpu", "cuda"), default=device, help="[%(default)s]")
    add("--sizes", type=int, nargs="+", choices=(32, 64), default=[32, 64], help="[32 64]")
    names = VARIANTS if device == "cuda" else ON_A_CPU
    add("--variants", nargs="+", choices=VARIANTS, default=list(names), help="[all that apply]")
    add("--width", type=int, help="of the networks [32; 64×64: 64]")
    add("--batch-size", type=int, default=64, help="[%(default)s]")
    add("--warmup", type=int, default=8 if device == "cuda" else 1, help="steps [%(default)s]")
    add("--iters", type=int, default=10, help="steps in a window [%(default)s]")
    add("--windows", type=int, default=3, help="in a round [%(default)s]")
    add("--rounds", type=int, default=2, help="[%(default)s]")
    add("--output", type=Path, default=ROOT / "results", help="folder [results]")
    args = parser.parse_args()
    if BASE not in args.variants:
        found = ", ".join(args.variants)
        parser.error(f"--variants is {found}; expected '{BASE}' too, as speeds are against it")
    return args


def main():
    args = parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / f"speed_variants_{args.device}.json"
    report = {
        "device": device_name(args.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "arguments": {k: v for k, v in vars(args).items() if k not in KEPT_OUT},
        "rows": {},
    }
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if {**before, "rows": {}} != report:
            sys.exit(f"error: {path} is of another device, PyTorch or other options; move it away")
        report = before
    for done in range(args.rounds):
        for size in args.sizes:
            rows = report["rows"].setdefault(str(size), {})
            for name in args.variants:
                rounds = rows.setdefault(name, [])
                if len(rounds) > done:
                    continue
                try:
                    rounds.append(measure(VARIANTS[name], size, args))
                except RuntimeError as error:  # too little memory, or an operation that is missing
                    rounds.append({"error": str(error).splitlines()[0]})
                print(f"{size}×{size}, {name}: {rounds[-1]}", file=sys.stderr, flush=True)
                path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for size in args.sizes:
        profile_path = args.output / f"speed_profile_{args.device}_{size}.txt"
        if not profile_path.exists():
            profile_path.write_text(profile(size, args), encoding="utf-8")
    print(table(report["rows"]))


if __name__ == "__main__":
    main()
