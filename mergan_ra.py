"""MeRGAN-RA, replay alignment: the generator keeps painting the past pixel by pixel.

Memory Replay GANs (Wu et al., NeurIPS 2018, arXiv 1809.02058, "MeRGAN"), section 4.2. An AC-GAN
with a Wasserstein critic and gradient penalty learns one category after another. A frozen copy from
the end of the task before says what the past looked like; the critic sees only the new category.
A stopped run continues when its command is given again.

    python mergan_ra.py --dataset mnist
    python eval.py runs
"""

import argparse
import contextlib
import copy
import json
import math
import os
import shlex
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import common

METHOD = Path(__file__).stem

# --------------------------------------------------------------------------------------------------
# Options


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    common.add_data_options(parser)
    # Training; defaults are the paper's or the authors' code's (docs/choices.md has the steps)
    add("--schedule", choices=("paper", "short"), help="sets the next three [paper; CPU: short]")
    add("--iters", type=int, help="generator steps per task [8000; lsun: 20000; short: 1600]")
    add("--learning-rate", type=float, help="Adam's [1e-4; short: 5e-4]")
    add("--critic-steps", type=int, help="per generator step [5; short: 2]")
    add("--num-tasks", type=int, default=0, help="tasks to learn; 0: all [%(default)s]")
    add("--categories-per-task", type=int, default=1, help="learned together [%(default)s]")
    add("--batch-size", type=int, default=64, help="images per process [%(default)s]")
    add("--lambda-gp", type=float, default=10.0, help="gradient penalty [%(default)s]")
    add("--lambda-cls", type=float, default=1.0, help="class terms [%(default)s]")
    # Networks
    add("--latent-dim", type=int, default=128, help="dimension of z [%(default)s]")
    add("--width", type=int, help="channels next to the image [32; 64×64: 64]")
    add("--conditioning", choices=("cbn", "concat"), help="of G on c [cbn; 64×64: concat]")
    # Machine
    add("--seed", type=int, default=1, help="of weights, noise, batches [%(default)s]")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="[%(default)s]")
    add("--amp", choices=("off", "bf16"), default="off", help="precision [%(default)s]")
    add("--cuda-graph", choices=("auto", "off"), default="auto", help="on one GPU [%(default)s]")
    # Run directory
    add("--run-dir", help="where results go [runs/<dataset>__<method>__<seed>]")
    add("--snapshots", choices=("log", "tasks"), default="log", help="log: at steps 1, 2, 4, … too")
    add("--log-every", type=int, default=25, help="in steps [%(default)s]")
    add("--checkpoint-every", type=int, default=500, help="in steps [%(default)s]")
    # The method's own
    add("--lambda-ra", type=float, help="weight of the alignment [1e-3; svhn: 1e-2]")
    add("--alignment", choices=("equation", "code"), default="equation", help="paper's or authors'")
    add("--replay", choices=("share", "full"), help="shared batch, or one each [share; lsun: full]")
    args = common.parse(parser, __file__)

    # Defaults that depend on the machine and the data set
    args.schedule = args.schedule or ("paper" if args.device == "cuda" else "short")
    short = args.schedule == "short"
    args.image_size = args.image_size or common.DATASETS[args.dataset]
    long = 20000 if args.dataset == "lsun" else 8000
    args.iters = args.iters or (1600 if short else long)
    if args.learning_rate is None:
        args.learning_rate = 5e-4 if short else 1e-4
    args.critic_steps = args.critic_steps or (2 if short else 5)
    args.width = args.width or (32 if args.image_size == 32 else 64)
    args.conditioning = args.conditioning or ("cbn" if args.image_size == 32 else "concat")
    if args.lambda_ra is None:
        args.lambda_ra = 1e-2 if args.dataset == "svhn" else 1e-3
    args.replay = args.replay or ("full" if args.dataset == "lsun" else "share")
    return args


def categories_in_batch(args, total):
    """How many categories share a batch at most, of so many that the run learns in total."""
    return total if args.replay == "share" else args.categories_per_task


# --------------------------------------------------------------------------------------------------
# Losses: real and fake are images [K·n, C, H, W]; y, int64 [K], has their categories: the first n
# images are of y[0], the next n of y[1], and so on


def critic_loss(critic, real, fake, y, lambda_cls):
    """min E[D(G(z,c))] − E[D(x)] + λ_CLS · CE(C(x), c): MeRGAN's, without penalty. A scalar."""
    score, logits = critic(torch.cat([real, fake]))
    score_real, score_fake = score.chunk(2)
    labels = y.repeat_interleave(len(real) // len(y))
    classification = F.cross_entropy(logits[: len(real)], labels)
    return score_fake.mean() - score_real.mean() + lambda_cls * classification


def gradient_penalty(critic, real, fake):
    """E[(‖∇D(x̂)‖₂ − 1)²], x̂ = εx + (1 − ε)G(z,c), ε ~ U(0,1) per image (WGAN-GP). A scalar."""
    epsilon = torch.rand(len(real), 1, 1, 1, device=real.device)
    x_hat = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
    score, _ = critic(x_hat)
    # Outside autocast, so that both backward passes of the heads are float32
    with torch.autocast(real.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(score.sum(), x_hat, create_graph=True)
        norms = gradient.flatten(1).norm(dim=1)
        return (norms - 1).square().mean()


def generator_loss(critic, fake, y, lambda_cls):
    """min −E[D(G(z,c))] + λ_CLS · CE(C(G(z,c)), c): MeRGAN's. A scalar, the mean over images."""
    score, logits = critic(fake)
    labels = y.repeat_interleave(len(fake) // len(y))
    return -score.mean() + lambda_cls * F.cross_entropy(logits, labels)


def replay_alignment(fake, replay, divisor):
    """½ Σ ‖G_t(z,c) − G_{t−1}(z,c)‖² over a batch of the past, MeRGAN section 4.2. A scalar.

    As in the authors' code a sum over images and pixels: the paper's expectation times a batch.
    fake, replay: [N, C, H, W], by the generator and its frozen copy from the same z and c.
    """
    return (fake - replay).square().sum() / (2 * divisor)


# --------------------------------------------------------------------------------------------------
# The method


def train(args, run, images, labels, names):
    """Learn all tasks. images: uint8 [N, C, H, W]; labels: int64 [N]; names: of all categories."""
    # Data and networks
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    layout = {"device": device, "memory_format": torch.channels_last}
    autocast = torch.autocast(args.device, torch.bfloat16, enabled=args.amp == "bf16")
    real_images = common.RealImages(images, labels, device, args.seed, RANK)
    sizes = {
        "num_categories": len(names),
        "channels": images.shape[1],
        "image_size": images.shape[2],
        "width": args.width,
    }
    generator = common.make_generator(
        **sizes, latent_dim=args.latent_dim, conditioning=args.conditioning
    ).to(**layout)
    critic = common.make_critic(**sizes).to(**layout)
    generator_weights = list(generator.parameters())
    critic_weights = list(critic.parameters())
    adam = {
        "lr": args.learning_rate,
        "betas": (0.0, 0.9),
        "fused": True,
        "capturable": args.device == "cuda",
    }
    # G of the task before; in training mode, so that each category is normalised by itself
    replay_generator = copy.deepcopy(generator).requires_grad_(False)
    run.restore(generator=generator, critic=critic, replay_generator=replay_generator)

    def noise(y, n):
        """z ~ N(0, I) for n images of each category in y: [K·n, latent_dim]."""
        return torch.randn(len(y) * n, args.latent_dim, device=device)

    # task counts from 0: the papers' t is task + 1
    steps = args.iters
    for task in range(run.first_task, args.num_tasks):
        # All categories so far, the task's own, and how many images of each a batch holds
        first = task * args.categories_per_task
        seen = torch.arange(min(first + args.categories_per_task, len(names)), device=device)
        y = seen[first:]
        n = args.batch_size // len(y)
        past = seen[:first]  # the categories that are replayed
        parts = max(len(past), 1) if args.replay == "share" else 1  # of a batch of replays
        batches = len(past) / parts
        # The equation weighs the past alike in every task: it is the mean over batches. The
        # authors' code takes the sum, and divides a shared batch by its parts.
        divisor = parts if args.alignment == "code" else batches
        real_images.begin(task, y, n, args.critic_steps)

        # Adam starts afresh in every task
        critic_optimizer = torch.optim.Adam(critic_weights, **adam)
        generator_optimizer = torch.optim.Adam(generator_weights, **adam)

        def update():
            """One generator step. Returns its losses, still on the device."""
            # Train the critic
            for batch in real_images.batches:
                with autocast:
                    real = common.normalise(batch)
                    with torch.no_grad():
                        fake = generator(noise(y, n), y)
                    penalty = gradient_penalty(critic, real, fake)
                    loss_critic = critic_loss(critic, real, fake, y, args.lambda_cls)
                    loss_critic += args.lambda_gp * penalty
                critic_optimizer.zero_grad()
                loss_critic.backward(inputs=critic_weights)
                average([weight.grad for weight in critic_weights])
                critic_optimizer.step()

            # Train the generator
            with autocast:
                fake = generator(noise(y, n), y)
                loss_generator = generator_loss(critic, fake, y, args.lambda_cls)
                # Align with the frozen copy on the past
                alignment = torch.zeros((), device=device)
                if len(past):
                    z = noise(past, args.batch_size // parts)
                    with torch.no_grad():
                        replay = replay_generator(z, past)
                    alignment = replay_alignment(generator(z, past), replay, divisor)
                    loss_generator += args.lambda_ra * alignment
            generator_optimizer.zero_grad()
            loss_generator.backward(inputs=generator_weights)
            average([weight.grad for weight in generator_weights])
            generator_optimizer.step()
            losses = {"critic": loss_critic, "gradient_penalty": penalty}
            return losses | {"generator": loss_generator, "alignment": alignment}

        # The steps; on one GPU each of them is one launch of a CUDA graph
        iterate = update
        if common.can_capture(args, PROCESSES):
            iterate = common.CudaGraph(update)
        for step in run.steps(task, steps, critic_optimizer, generator_optimizer):
            real_images.load(step)
            losses = iterate()
            run.log(step, losses)
            run.save_milestone(step, generator, seen)

        # End of the task: keep what the method needs of the past, and save the generator
        generator.update_standing_statistics(seen)
        replay_generator.load_state_dict(generator.state_dict())
        run.end_task(generator, seen)


# --------------------------------------------------------------------------------------------------
# The run directory. The rest is the same in every script; a method changes nothing here.

# Set by torchrun: this process's number overall and on this machine, and how many there are
TORCHRUN = {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys()
RANK = int(os.environ["RANK"]) if TORCHRUN else 0
LOCAL_RANK = int(os.environ["LOCAL_RANK"]) if TORCHRUN else 0
PROCESSES = int(os.environ["WORLD_SIZE"]) if TORCHRUN else 1


def main():
    """All that surrounds train(). What fails in a file or folder ends the run with one line."""
    common.use_any_encoding()
    args = parse_args()
    try:
        images, labels, names = common.load_tasks(args, categories_in_batch)
        with contextlib.ExitStack() as at_end:
            run = Run(args, names, at_end)
            train(args, run, images, labels, names)
            path = shlex.quote(args.run_dir)  # can be pasted, whatever its name is
            common.say(f"{path} is finished; score it with: python eval.py {path}")
    except (OSError, torch.OutOfMemoryError) as error:
        sys.exit(f"error: {error}; fix that, and the same command continues")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command continues")


def average(tensors):
    """Replace tensors by their means over the processes of torchrun, in place."""
    if PROCESSES > 1:
        # One message for all tensors, instead of one for each
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        means = (flat / PROCESSES).split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means):
            tensor.copy_(mean.view_as(tensor))


class Run:
    """Directory, lock, log, samples, saved generators and checkpoint.

    A run that was killed at any moment continues from its checkpoint to the same weights.
    """

    def __init__(self, args, names, at_end):
        """Begin, or continue, or exit if neither can be. at_end: closes what is opened here."""
        self.args = args
        self.names = names
        self.directory = Path(args.run_dir)
        self.printed = -math.inf  # the time of the last line of progress
        args.processes = PROCESSES
        args.hardware = common.choose_device(args, LOCAL_RANK)

        # The first process speaks, and holds the directory; every process reads the checkpoint
        if PROCESSES > 1:
            torch.distributed.init_process_group()
            at_end.callback(torch.distributed.destroy_process_group)
        if RANK:
            sys.stdout = open(os.devnull, "w")
        else:
            common.hold_directory(self.directory, args, at_end)
        self.checkpoint = common.read_checkpoint(self.directory / "checkpoint.pt")
        self.first_task = self.checkpoint["task"]
        self.saved = f"task {self.first_task + 1}, step {self.checkpoint['step']}"
        self.started = time.perf_counter() - self.checkpoint["elapsed"]
        log = os.devnull if RANK else self.directory / "metrics.jsonl"
        self.log_file = at_end.enter_context(open(log, "ab", 0))
        if not RANK:  # the log loses the lines of steps that are about to be repeated
            self.log_file.truncate(min(self.checkpoint["log_bytes"], self.log_file.tell()))
        self.signals = common.catch_signals(at_end, PROCESSES)  # one ends the run at a checkpoint
        common.introduce(args, self.saved)

    def restore(self, **networks):
        """Name all modules that a checkpoint holds; they get their weights from it."""
        self.networks = networks
        if self.checkpoint["networks"]:
            common.load_networks(self.directory, self.checkpoint["networks"], networks)
        else:
            self.save_checkpoint(0, 0)  # whatever else lies there, a run has a checkpoint

    def steps(self, task, steps, *optimizers):
        """The numbers of the task's steps that are left. Between two of them come checkpoints.

        Random numbers are a function of seed, process, task and step, so no checkpoint holds them.
        """
        self.task, self.last_step, self.optimizers = task, steps, optimizers
        for optimizer, state in zip(optimizers, self.checkpoint["optimizers"]):
            groups = optimizer.state_dict()["param_groups"]  # this machine's may differ
            optimizer.load_state_dict(state | {"param_groups": groups})
        begin = self.checkpoint["step"]
        self.checkpoint = {"step": 0, "optimizers": []}  # the next task starts afresh
        self.timed = (time.perf_counter(), begin)
        for step in range(begin + 1, steps + 1):
            torch.manual_seed(common.mixed_seed(self.args.seed, RANK, task, step))
            yield step
            if self.due:  # as log() has found
                self.save_checkpoint(task, step)

    def log(self, step, losses):
        """Every --log-every steps a line of metrics.jsonl; ends a run that is not finite."""
        self.due = bool(self.signals) or step % self.args.checkpoint_every == 0
        last = step == self.last_step
        if not (self.due or last or step % self.args.log_every == 0):
            return
        # One read from the device for all losses, one for all weights
        values = dict(zip(losses, torch.stack(list(losses.values())).tolist()))
        weights = [w for network in self.networks.values() for w in network.parameters()]
        norm = torch.nn.utils.get_total_norm(weights).item()
        if not all(map(math.isfinite, [norm, *values.values()])):
            where = f"task {self.task + 1}, step {step}; last good checkpoint: {self.saved}"
            found = f"error: losses or weights are not finite at {where} ({values})"
            sys.exit(f"{found}; try a lower --learning-rate in a new --run-dir")

        # A line of the log, and every three seconds one of progress
        now = time.perf_counter()
        rate = (step - self.timed[1]) / (now - self.timed[0])
        self.timed = (now, step)
        line = {"task": self.task + 1, "step": step, **values}
        line |= {"it_per_s": rate, "elapsed": now - self.started}
        with common.writing(self.directory / "metrics.jsonl"):
            self.log_file.write(json.dumps(line).encode() + b"\n")
        if last or now - self.printed > 3:
            self.printed = now
            text = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
            where = f"task {self.task + 1}/{self.args.num_tasks}, step {step}/{self.last_step}"
            left = ((self.args.num_tasks - self.task) * self.last_step - step) / rate / 60
            common.say(f"{where}, {rate:.1f} it/s, {text}, {left:.1f} min left")

    def write(self, name, save, *content):
        """Let save(*content, file) write a file. Of several processes only the first one writes."""
        if not RANK:
            common.write(self.directory / name, lambda file: save(*content, file))

    def save_milestone(self, step, generator, seen, solver=None):
        """At steps 1, 2, 4, 8, … and every --iters: samples, and the generator as it then is."""
        if step.bit_count() > 1 and step % self.args.iters:
            return
        name = f"task_{self.task + 1}_step_{step:06d}"
        rows = common.fixed_samples(generator, seen, solver)
        self.write(f"samples/{name}.png", common.save_rows, rows)
        if self.args.snapshots == "log" and step < self.last_step:
            self.save_generator(f"snapshots/{name}.pt", generator, seen, solver)

    def save_generator(self, name, generator, seen, solver):
        whose = self.names, METHOD, self.args.dataset
        saved = common.saved_generator(generator, seen, *whose, solver)
        self.write(name, torch.save, saved)

    def save_checkpoint(self, task, step):
        """The whole state of training between two steps. Here a run ends that a signal stopped."""
        optimizers = self.optimizers if step else []
        state = {
            "task": task,
            "step": step,
            "elapsed": time.perf_counter() - self.started,
            "log_bytes": self.log_file.tell(),
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        }
        self.write("checkpoint.pt", torch.save, state)
        self.saved = f"task {task + 1}, step {step}"
        if self.signals and task < self.args.num_tasks:
            sys.exit(f"stopped at {self.saved}; the same command continues")

    def end_task(self, generator, seen, solver=None):
        """The task's generator, and a checkpoint at the start of the next task."""
        self.save_generator(f"task_{self.task + 1}.pt", generator, seen, solver)
        self.save_checkpoint(self.task + 1, 0)


if __name__ == "__main__":
    main()
