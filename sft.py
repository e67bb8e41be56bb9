"""Sequential fine-tuning (SFT): each task starts from the weights of the task before, and nothing guards the past.

The baseline of Memory Replay GANs (Wu et al., NeurIPS 2018, arXiv 1809.02058, "MeRGAN"), section 3.2: an AC-GAN with a
Wasserstein critic and gradient penalty learns one category of images after another.

    python sft.py --dataset mnist                                      # the paper's ten tasks
    python sft.py --num-tasks 5 --iters 400 --learning-rate 5e-4       # minutes on two CPU cores
    python eval.py runs                                                # score every run

Run the same command again, less --overwrite, to continue a stopped run.
"""

import argparse
import io
import json
import math
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torchvision.utils import save_image

import common
from common import DATASETS, RealImages, add_data_options, fingerprint, load_dataset, make_critic, make_generator

METHOD = Path(__file__).stem
TORCHRUN = "LOCAL_RANK" in os.environ
RANK, PROCESSES = (int(os.environ[n]) for n in ("RANK", "WORLD_SIZE")) if TORCHRUN else (0, 1)


def parse_args():
    """The command line, checked; derived values are not options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = lambda *names, **kwargs: parser.add_argument(*names, **{**kwargs, "help": kwargs["help"] + " [%(default)s]"})
    add_data_options(parser)
    add("--num-tasks", type=int, default=0, help="categories to learn, of those of the data; 0: all")
    add("--iters", type=int, default=None, help="generator steps per task; None: 8000, lsun 20000 (README: choices)")
    add("--batch-size", type=int, default=64, help="images per batch and process; paper: 64")
    add("--learning-rate", type=float, default=1e-4, help="of Adam with betas (0, 0.9); paper: 1e-4")
    add("--critic-steps", type=int, default=5, help="critic updates per generator update; authors' code: 5")
    add("--lambda-gp", type=float, default=10.0, help="weight of the gradient penalty; authors' code: 10")
    add("--lambda-cls", type=float, default=1.0, help="weight of the class terms; paper: 1 (README: choices)")
    add("--latent-dim", type=int, default=128, help="dimension of z; paper: 128")
    add("--width", type=int, default=None, help="channels next to the image; None: 32, at 64×64 64 (authors' code)")
    add("--conditioning", choices=("cbn", "concat"), default=None, help="None: cbn, at 64×64 concat (authors' code)")
    add("--seed", type=int, default=1, help="of weights, noise and batches")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: cuda where there is one")
    add("--amp", choices=("auto", "off", "bf16"), default="auto", help="auto: bf16 on CPUs that multiply it natively")
    add("--cuda-graph", choices=("auto", "off"), default="auto", help="auto: on a GPU, one launch per generator step")
    add("--run-dir", default=None, help="where results go; None: runs/<dataset>__<method>__<seed>")
    add("--snapshots", choices=("log", "tasks"), default="log", help="log: also at steps 1, 2, 4, … of a task")
    add("--log-every", type=int, default=25, help="generator steps between lines of metrics.jsonl")
    add("--checkpoint-every", type=int, default=500, help="generator steps between checkpoints")
    add("--overwrite", action="store_true", help="delete the run in --run-dir and start anew")
    args = parser.parse_args()
    args.image_size, args.processes = args.image_size or DATASETS[args.dataset], PROCESSES
    width, conditioning = (32, "cbn") if args.image_size == 32 else (64, "concat")
    defaults = dict(iters=20000 if args.dataset == "lsun" else 8000, width=width, conditioning=conditioning)
    for name in (name for name in defaults if getattr(args, name) is None):
        setattr(args, name, defaults[name])
    for name in ("iters", "critic_steps", "latent_dim", "width", "log_every", "checkpoint_every"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}, expected at least 1")
    for name in ("learning_rate", "lambda_gp", "lambda_cls"):
        if not 0 <= getattr(args, name) < float("inf"):
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}, expected a number of at least 0")
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.device == "cuda" and (gpus := torch.cuda.device_count()) <= int(os.environ.get("LOCAL_RANK", 0)):
        parser.error(f"PyTorch sees {gpus} CUDA GPUs, expected one a process; use --device cpu, or a CUDA build")
    args.run_dir = args.run_dir or f"runs/{args.dataset}__{METHOD}__{args.seed}"
    return args


def critic_loss(critic, real, fake, y, lambda_cls):
    """min E[D(G(z,c))] − E[D(x)] + λ_CLS · CE(C(x), c): MeRGAN's critic loss without its gradient penalty.

    real, fake: [K·n, C, H, W], n images of each category in y (int64 [K]). Returns a scalar, the mean over images.
    """
    score, logits = critic(torch.cat([real, fake]))
    score_real, score_fake = score.chunk(2)
    labels = y.repeat_interleave(len(real) // len(y))
    return score_fake.mean() - score_real.mean() + lambda_cls * F.cross_entropy(logits[: len(real)], labels)


def gradient_penalty(critic, real, fake):
    """E[(‖∇D(x̂)‖₂ − 1)²], x̂ = εx + (1 − ε)G(z,c), ε ~ U(0,1) per image (WGAN-GP; MeRGAN's critic loss). A scalar."""
    epsilon = torch.rand(len(real), 1, 1, 1, device=real.device)
    x_hat = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
    score, _ = critic(x_hat)
    with torch.autocast(real.device.type, enabled=False):  # the heads' products in both backward passes: float32
        (gradient,) = torch.autograd.grad(score.sum(), x_hat, create_graph=True)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def generator_loss(critic, fake, y, lambda_cls):
    """min −E[D(G(z,c))] + λ_CLS · CE(C(G(z,c)), c). fake: [K·n, C, H, W], y: int64 [K]. A scalar, mean over images."""
    score, logits = critic(fake)
    return -score.mean() + lambda_cls * F.cross_entropy(logits, y.repeat_interleave(len(fake) // len(y)))


def average(tensors):
    """Replace tensors by their means over the processes of torchrun, in place."""
    if PROCESSES > 1:
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        for tensor, mean in zip(tensors, (flat / PROCESSES).split([tensor.numel() for tensor in tensors])):
            tensor.copy_(mean.view_as(tensor))


def write(path, save):
    """Let save(temporary path) write a file, then put it in place in one step: a kill never leaves half a file."""
    if RANK:
        return
    temporary = path.with_name(path.name + ".tmp")
    save(temporary)
    os.replace(temporary, path)


def open_run(args):
    """Lock the run directory, compare its arguments with ours, and return the checkpoint to continue from, or None."""
    run_dir = Path(args.run_dir)
    try:
        for folder in ("samples", "snapshots"):
            (run_dir / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"error: --run-dir {run_dir} cannot be made ({error.strerror}); choose another")
    try:  # a lock that works on any system and that the system frees when the process dies
        open_run.lock = sqlite3.connect(run_dir / "lock", timeout=0)
        open_run.lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError as error:
        sys.exit(f"error: {run_dir} is in use by another process ({error}); wait for it, or choose another --run-dir")
    path, checkpoint = run_dir / "checkpoint.pt", None
    if args.overwrite:
        names = "args.json metrics.jsonl samples/*.png snapshots/*.pt task_*.pt checkpoint.pt eval*.json"
        for pattern in names.split():
            for old in run_dir.glob(pattern):
                old.unlink()
    cpu = f"{torch.backends.cpu.get_cpu_capability()} CPU, threads: {torch.get_num_threads()}"
    ours = {"method": METHOD, "hardware": torch.cuda.get_device_name() if args.device == "cuda" else cpu, **vars(args)}
    if (run_dir / "args.json").exists():
        try:
            theirs = dict(json.loads((run_dir / "args.json").read_text()))
        except (ValueError, TypeError):
            sys.exit(f"error: {run_dir / 'args.json'} is damaged or not ours; restore it, or --overwrite")
        free = {*"run_dir data_dir cache_dir overwrite snapshots cuda_graph hardware".split()}  # may change on the way
        names = sorted((ours.keys() | theirs.keys()) - free)
        differing = [f"{n}: {theirs.get(n)} there, {ours.get(n)} here" for n in names if ours.get(n) != theirs.get(n)]
        if differing:
            sys.exit(f"error: {run_dir} holds a run with other arguments ({'; '.join(differing)}); "
                     "choose another --run-dir, or --overwrite it")  # fmt: skip
    elif path.exists():
        sys.exit(f"error: {path} has no args.json beside it; choose another --run-dir, or --overwrite it")
    else:
        write(run_dir / "args.json", lambda file: file.write_text(json.dumps(ours, indent=2) + "\n"))
    if path.exists():
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            if checkpoint["method"] != METHOD:
                raise ValueError
        except Exception as error:
            sys.exit(f"error: {path} is damaged or not ours ({type(error).__name__}); restore it, or --overwrite")
    return checkpoint


@torch.no_grad()
def save_samples(generator, categories, path):
    """Write a PNG grid: one row per category (int64 [K]), ten fixed z, normalised among 64 as in training."""
    z = torch.randn(64, generator.config["latent_dim"], generator=torch.Generator().manual_seed(0))
    images = generator(z.to(categories.device).repeat(len(categories), 1), categories)
    grid = images.unflatten(0, (len(categories), 64))[:, :10].flatten(0, 1)
    write(path, lambda file: save_image(grid, file, format="png", nrow=10, normalize=True, value_range=(-1, 1)))


def main():
    args = parse_args()
    if PROCESSES > 1:
        if args.device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group("nccl" if args.device == "cuda" else "gloo")
    images, labels, names = load_dataset(split="train", **vars(args))
    sys.stdout = open(os.devnull, "w") if RANK else sys.stdout
    args.data = fingerprint(images, labels, names)
    args.num_tasks = args.num_tasks or len(names)
    if not 1 <= args.num_tasks <= len(names):
        sys.exit(f"error: --num-tasks is {args.num_tasks}, expected 1 to {len(names)}, the number of categories")
    if args.batch_size < 2 * args.num_tasks:
        sys.exit(f"error: --batch-size is {args.batch_size}, expected at least 2 images for each of the tasks")
    opened = [None if RANK else open_run(args)]
    if PROCESSES > 1:
        torch.distributed.broadcast_object_list(opened)
    run_dir, checkpoint = Path(args.run_dir), opened[0]
    if checkpoint and checkpoint["task"] == args.num_tasks:
        print(f"{run_dir} is finished; score it with: python eval.py {run_dir} (or --overwrite it)")
        return

    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    bf16 = args.amp == "bf16" or (args.amp == "auto" and args.device == "cpu" and torch.cpu._is_avx512_bf16_supported())
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
    real_images = RealImages(images, labels, device, args.seed + 10**6 * RANK)
    layout = dict(device=device, memory_format=torch.channels_last)
    options = dict(num_categories=len(names), channels=images.shape[1], image_size=images.shape[2], width=args.width)
    generator = make_generator(**options, latent_dim=args.latent_dim, conditioning=args.conditioning).to(**layout)
    critic = make_critic(**options).to(**layout)
    if RANK:
        torch.manual_seed(args.seed + 10**6 * RANK)  # the same weights everywhere, noise and batches of its own
    networks = {"generator": generator, "critic": critic}
    generator_weights, critic_weights = list(generator.parameters()), list(critic.parameters())

    def noise(y, n):
        return torch.randn(len(y) * n, args.latent_dim, device=device)

    def update():
        """One generator iteration on the task's categories y, n images of each; returns losses, still on the device."""
        for _ in range(args.critic_steps):
            with autocast:
                real = real_images.draw(y, n)
                with torch.no_grad():
                    fake = generator(noise(y, n), y)
                penalty = gradient_penalty(critic, real, fake)
                loss_critic = critic_loss(critic, real, fake, y, args.lambda_cls) + args.lambda_gp * penalty
            critic_optimizer.zero_grad()
            loss_critic.backward(inputs=critic_weights)
            average([weight.grad for weight in critic_weights])
            critic_optimizer.step()
        with autocast:
            loss_generator = generator_loss(critic, generator(noise(y, n), y), y, args.lambda_cls)
        generator_optimizer.zero_grad()
        loss_generator.backward(inputs=generator_weights)
        average([weight.grad for weight in generator_weights])
        generator_optimizer.step()
        return {"critic": loss_critic, "gradient_penalty": penalty, "generator": loss_generator}

    def save_checkpoint(task, step):
        rng = {"cpu": torch.get_rng_state()} | ({"cuda": torch.cuda.get_rng_state()} if args.device == "cuda" else {})
        rngs = [rng] * PROCESSES
        if PROCESSES > 1:
            torch.distributed.all_gather_object(rngs, rng)
        state = dict(method=METHOD, task=task, step=step, elapsed=time.perf_counter() - start, log_bytes=log.tell())
        state |= {"rng": rngs, "networks": {name: network.state_dict() for name, network in networks.items()}}
        state |= {"optimizers": [critic_optimizer.state_dict(), generator_optimizer.state_dict()]}
        write(run_dir / "checkpoint.pt", lambda file: torch.save(state, file))
        nonlocal saved
        saved = f"task {task + 1}, step {step}"

    def save_snapshot(name):
        """The generator as eval.py loads it; inside a task, its standing statistics are those of the task before."""
        snapshot = {"method": METHOD, "dataset": args.dataset, "categories": names, "seen": seen.tolist()}
        snapshot |= {"config": generator.config, "generator": generator.state_dict()}
        write(run_dir / name, lambda file: torch.save(snapshot, file))

    start, first_task, first_step = time.perf_counter(), 0, 0
    log = io.BytesIO() if RANK else open(run_dir / "metrics.jsonl", "ab", buffering=0)
    if checkpoint:
        start, first_task, first_step = start - checkpoint["elapsed"], checkpoint["task"], checkpoint["step"]
        for name, network in networks.items():
            network.load_state_dict(checkpoint["networks"][name])
        torch.set_rng_state(checkpoint["rng"][RANK]["cpu"])
        if args.device == "cuda":
            torch.cuda.set_rng_state(checkpoint["rng"][RANK]["cuda"])
    log.truncate(min(checkpoint["log_bytes"], log.tell()) if checkpoint else 0)

    stopped = []  # by Ctrl-C or a scheduler's SIGTERM, which take effect after a checkpoint; a second one, at once
    for number in (signal.SIGINT, signal.SIGTERM) if PROCESSES == 1 else ():
        signal.signal(number, lambda number, _: stopped.append((number, signal.signal(number, signal.SIG_DFL))))
    sizes = (f"{name} {sum(w.numel() for w in network.parameters()):,}" for name, network in networks.items())
    print(f"{METHOD}: {args.num_tasks} tasks of {args.iters} steps, seed {args.seed}; parameters: {', '.join(sizes)}")
    print(f"device: {args.device}, {'bfloat16' if bf16 else 'float32'}, {torch.get_num_threads()} CPU threads")
    print(f"processes: {PROCESSES}, each with batches of {args.batch_size}")
    print(f"data: {args.dataset}, {len(images)} images {list(images.shape[1:])}, {len(names)} categories")
    saved = f"task {first_task + 1}, step {first_step}" if checkpoint else "none"
    print(f"results: {run_dir}, last checkpoint: {saved}", flush=True)
    steps, printed, timed = args.iters, -math.inf, (time.perf_counter(), first_step)
    for task in range(first_task, args.num_tasks):
        y = torch.tensor([task], device=device)  # the task's categories
        seen = torch.arange(task + 1, device=device)
        n = args.batch_size // len(y)
        real_images.begin(y, n, first_step * args.critic_steps)
        adam = dict(lr=args.learning_rate, betas=(0.0, 0.9), fused=True, capturable=args.device == "cuda")
        critic_optimizer = torch.optim.Adam(critic_weights, **adam)
        generator_optimizer = torch.optim.Adam(generator_weights, **adam)
        if first_step:
            critic_optimizer.load_state_dict(checkpoint["optimizers"][0])
            generator_optimizer.load_state_dict(checkpoint["optimizers"][1])

        graphed = args.cuda_graph == "auto" and PROCESSES == 1 and real_images.static
        iterate = common.CudaGraph(update) if graphed else update
        for step in range(first_step + 1, steps + 1):
            losses = iterate()
            due = stopped or step % args.checkpoint_every == 0
            if due or step % args.log_every == 0 or step == steps:
                values = dict(zip(losses, torch.stack([*losses.values()]).tolist()))
                norm = torch.nn.utils.get_total_norm(generator_weights + critic_weights).item()
                if not all(map(math.isfinite, [norm, *values.values()])):
                    sys.exit(f"error: losses or weights are not finite at task {task + 1}, step {step} ({values}); "
                             f"last good checkpoint: {saved}, in {run_dir}; try a lower --learning-rate "
                             "in a new --run-dir")  # fmt: skip
                now = time.perf_counter()
                rate, timed = (step - timed[1]) / (now - timed[0]), (now, step)
                line = {"task": task + 1, "step": step, **values, "it_per_s": rate, "elapsed": now - start}
                log.write((json.dumps(line) + "\n").encode())
                if now - printed > 3 or step == steps:
                    left, printed = ((args.num_tasks - task) * steps - step) / rate, now
                    text = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
                    print(f"task {task + 1}/{args.num_tasks} (category {', '.join(names[c] for c in y)}), "
                          f"step {step}/{steps}, {rate:.1f} it/s, {text}, {left / 60:.1f} min left",
                          flush=True)  # fmt: skip
            if step & (step - 1) == 0 or step == steps:
                save_samples(generator, seen, run_dir / "samples" / f"task_{task + 1}_step_{step:06d}.png")
                if args.snapshots == "log" and step < steps:
                    save_snapshot(f"snapshots/task_{task + 1}_step_{step:06d}.pt")
            if due:
                save_checkpoint(task, step)
                if stopped:
                    sys.exit(f"stopped at {saved}; run the same command again, less --overwrite, to continue")

        generator.update_standing_statistics(seen)
        save_snapshot(f"task_{task + 1}.pt")
        first_step, timed = 0, (time.perf_counter(), 0)
        save_checkpoint(task + 1, 0)
    print(f"done in {(time.perf_counter() - start) / 60:.1f} min; score it with: python eval.py {run_dir}")
    if PROCESSES > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
