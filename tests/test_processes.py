"""Several processes under torchrun: averaged gradients, equal weights, kill and resume, a rank that fails."""

import functools
import json
import os
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT, assert_same_weights, metrics

import dgr
import sft
from common import Critic, Generator

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}

# The second process writes too, beside the first one's files.
BOTH_WRITE = """
import importlib, os, sys
script = importlib.import_module(sys.argv.pop(1))
def write(path, save):
    save(path.with_name(f"rank_{script.RANK}_{path.name}"))
    if script.RANK == 0:
        save(path)
script.write = write
script.main()
"""

# Rank r does critic and generator steps' backward passes on category r alone.
GRADIENTS = """
import os, sys, torch
sys.path.insert(0, os.getcwd())
import sft
from common import Critic, Generator
torch.distributed.init_process_group("gloo")
state = torch.load(sys.argv[1], weights_only=True)
generator, critic = Generator(3, 1, latent_dim=8, width=4).double(), Critic(3, 1, width=4).double()
generator.load_state_dict(state["generator"])
critic.load_state_dict(state["critic"])
y = torch.tensor([sft.RANK])
fake = generator(state["z"].chunk(2)[sft.RANK], y)
sft.critic_loss(critic, state["real"].chunk(2)[sft.RANK], fake.detach(), y, 1.0).backward()
sft.average([weight.grad for weight in critic.parameters()])
of_critic = [weight.grad.clone() for weight in critic.parameters()]
sft.generator_loss(critic, fake, y, 1.0).backward()
sft.average([weight.grad for weight in generator.parameters()])
of_generator = [weight.grad for weight in generator.parameters()]
torch.save([of_critic, of_generator], f"{sys.argv[1]}.{sft.RANK}")
"""


def torchrun(tmp_path, code, *arguments, check=True):
    path = tmp_path / "driver.py"
    path.write_text(code)
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*TORCHRUN, path, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def test_averaged_gradients_are_those_of_one_process_on_the_joined_batch(tmp_path):
    torch.manual_seed(0)
    generator, critic = Generator(3, 1, latent_dim=8, width=4).double(), Critic(3, 1, width=4).double()
    z, real, y = torch.randn(12, 8).double(), torch.rand(12, 1, 32, 32).double(), torch.tensor([0, 1])
    state = {"generator": generator.state_dict(), "critic": critic.state_dict(), "z": z, "real": real}
    torch.save(state, tmp_path / "state")
    torchrun(tmp_path, GRADIENTS, tmp_path / "state")

    fake = generator(z, y)  # both categories, each normalised by itself as in its own process
    expected = [torch.autograd.grad(sft.critic_loss(critic, real, fake.detach(), y, 1.0), list(critic.parameters()))]
    expected += [torch.autograd.grad(sft.generator_loss(critic, fake, y, 1.0), list(generator.parameters()))]
    for rank in (0, 1):
        found = torch.load(tmp_path / f"state.{rank}", weights_only=True)
        for ours, theirs in zip(found, expected, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def together(tiny_options, tmp_path_factory):
    """The run directory of an uninterrupted run by two processes, not to be changed, and what the run printed."""

    @functools.cache
    def run(method):
        folder = tmp_path_factory.mktemp(f"{method}_together")
        done = torchrun(folder, BOTH_WRITE, method, *tiny_options(method, folder / "run"), "--num-tasks", 2)
        return folder / "run", done.stdout

    return run


@pytest.mark.parametrize("method", ["dgr", "rewc"])
def test_both_processes_end_with_the_same_weights_which_one_process_would_not_have(method, finished, together):
    run_dir, output = together(method)
    assert "processes: 2, each with batches of 12" in output and output.count("done in") == 1
    assert len(metrics(run_dir)) == 8 and json.loads((run_dir / "args.json").read_text())["processes"] == 2
    for task in (1, 2):
        ours, theirs = (torch.load(run_dir / f"rank_{rank}_task_{task}.pt", weights_only=True) for rank in (0, 1))
        for part in ["generator", "solver"] if method == "dgr" else ["generator"]:
            assert all(torch.equal(ours[part][name], theirs[part][name]) for name in ours[part])
        alone = torch.load(finished(method) / f"task_{task}.pt", weights_only=True)["generator"]
        assert not torch.equal(ours["generator"]["linear.weight"], alone["linear.weight"])
    first, second = torch.load(run_dir / "checkpoint.pt", weights_only=True)["rng"]
    assert not torch.equal(first["cpu"], second["cpu"])  # noise and batches of their own


def test_a_killed_run_continues_to_the_same_weights_and_no_other_number_of_processes_may(
    together, tiny_options, call_main, tmp_path
):
    (whole, _), parts = together("dgr"), tmp_path / "parts"
    options = [*tiny_options("dgr", parts), "--num-tasks", 2]
    die = BOTH_WRITE.replace("    if script", "    if path.name == 'task_2.pt': os.kill(os.getpid(), 9)\n    if script")
    done = torchrun(tmp_path, die, "dgr", *options, check=False)
    assert done.returncode != 0 and not (parts / "task_2.pt").exists() and (parts / "checkpoint.pt").exists()
    assert "processes: 2 there, 1 here" in call_main(dgr, *options)
    torchrun(tmp_path, BOTH_WRITE, "dgr", *options)
    assert_same_weights(parts, whole)
    losses = [[(line["generator"], line["solver"]) for line in metrics(d)] for d in (parts, whole)]
    assert losses[0] == losses[1]


def test_a_rank_that_fails_ends_the_run_with_its_error(tiny_options, tmp_path):
    fail = "import sft\nif sft.RANK == 1: sft.generator_loss = None\nsft.main()"
    started = time.monotonic()
    done = torchrun(tmp_path, fail, *tiny_options("sft", tmp_path / "run"), check=False)
    assert done.returncode != 0 and "TypeError" in done.stderr
    assert time.monotonic() - started < 120
    assert not (tmp_path / "run" / "task_1.pt").exists()
