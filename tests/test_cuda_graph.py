"""update() as a CUDA graph: on a GPU if there is one, and in an imitation that replays operations.

The imitation holds every method script to what a graph demands: no value is taken from the device,
and what is replayed does what the recorded operations would have done, random numbers included.
"""

import argparse
import contextlib
import importlib
import signal

import pytest
import torch
import torch.nn.functional as F
from conftest import METHODS, assert_same_weights, call_main, losses, metrics
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import common

aten = torch.ops.aten
can_capture = common.can_capture
TAKES_A_VALUE = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.equal,
    aten.masked_select,
    aten._unique2,
}
TAKES_A_VALUE |= {aten.unique_consecutive, aten.unique_dim, aten.repeat_interleave}


class Tape(TorchDispatchMode):
    """Records every operation of a block; replay() does them again on the same tensors."""

    def __init__(self):
        super().__init__()
        self.calls, self.replays = [], 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        packet = operation.overloadpacket
        masks = []
        if packet in (aten.index, aten.index_put):
            indices = [index for index in tree_leaves(args[1]) if torch.is_tensor(index)]
            masks = [index for index in indices if index.dtype == torch.bool]
        taken = packet in TAKES_A_VALUE or masks
        assert not taken, f"{operation} takes a value from the device"
        assert packet != aten.lift_fresh, "a tensor is made from values on the host"
        result = operation(*args, **(kwargs or {}))
        self.calls.append((operation, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        if self.replays == 1:  # a capture does not run what it records, this recording did
            return
        for operation, args, kwargs, result in self.calls:
            # What changes a shape in place, as PyTorch 2.11 does, has done so for good
            if torch.Tag.inplace_view in operation.tags:
                continue
            for old, new in zip(tree_leaves(result), tree_leaves(operation(*args, **kwargs))):
                if torch.is_tensor(old) and old.data_ptr() != new.data_ptr():
                    old.copy_(new.reshape(old.shape))


class Stream:
    def wait_stream(self, other):
        pass


class RandomNumbers:
    """Stands for the GPU's generator of random numbers."""

    def __init__(self):
        self.restored = 0

    def clone_state(self):
        return self

    def graphsafe_set_state(self, state):
        self.restored += 1


def one_hot(y, num_classes):
    """F.one_hot as a GPU runs it; on a CPU it looks at its input."""
    return (y[:, None] == torch.arange(num_classes, device=y.device)).long()


def as_on_a_gpu(args, processes):
    """common.can_capture, for a run on a CPU."""
    return can_capture(argparse.Namespace(**{**vars(args), "device": "cuda"}), processes)


@pytest.fixture
def tapes(monkeypatch):
    """All that are recorded where CudaGraph would capture."""
    made = []

    def new_tape():
        made.append(Tape())
        return made[-1]

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", new_tape)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: graph)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "default_generators", [RandomNumbers()])
    monkeypatch.setattr(F, "one_hot", one_hot)
    monkeypatch.setattr(common, "can_capture", as_on_a_gpu)
    monkeypatch.setattr(common.CudaGraph, "stream", None)
    monkeypatch.setattr(common.CudaGraph, "works", True)
    return made


def compare_replayed_with_ordinary(method, options, tmp_path, tapes, critic_steps=2):
    """Run a script with and without the imitated graph; options: a function of method, run_dir."""
    script = importlib.import_module(method)
    more = ["--iters", 5, "--critic-steps", critic_steps, "--num-tasks", 2, "--snapshots", "tasks"]
    ordinary = [*options(method, tmp_path / "off"), *more, "--cuda-graph", "off"]
    assert call_main(script, *ordinary) is None
    assert not tapes
    assert call_main(script, *options(method, tmp_path / "on"), *more) is None
    # Three calls of each task come before the capture
    assert [tape.replays for tape in tapes] == ([7] if method == "joint" else [2, 2])
    assert_same_weights(tmp_path / "on", tmp_path / "off")
    assert losses(tmp_path / "on") == losses(tmp_path / "off")
    assert len({line["critic"] for line in losses(tmp_path / "on")}) > 4


@pytest.mark.parametrize("method", METHODS)
def test_replayed_steps_give_the_weights_and_losses_of_ordinary_ones(
    method, tapes, tiny_options, tmp_path
):
    compare_replayed_with_ordinary(method, tiny_options, tmp_path, tapes)


def test_so_they_do_with_two_categories_per_task(tapes, tiny_options, tmp_path):
    def options(method, run_dir):
        return [*tiny_options(method, run_dir), "--categories-per-task", 2]

    compare_replayed_with_ordinary("mergan_jtr", options, tmp_path, tapes)


def test_so_they_do_at_64x64_with_concat_in_bfloat16(tapes, photo_options, tmp_path):
    def options(method, run_dir):
        more = ["--conditioning", "concat", "--amp", "bf16", "--batch-size", 4]
        return [*photo_options(method, run_dir), *more]

    compare_replayed_with_ordinary("mergan_ra", options, tmp_path, tapes, critic_steps=1)


def test_the_imitation_notices_what_a_graph_cannot_do():
    x = torch.ones(2)
    for take in (
        lambda: x.sum().item(),
        lambda: x[x > 0],
        lambda: x.unique(),
        lambda: x.masked_select(x > 0),
        lambda: x.repeat_interleave(torch.tensor([1, 2])),
        lambda: torch.tensor([1.0]),
    ):
        with pytest.raises(AssertionError, match="takes a value|on the host"), Tape():
            take()
    state = {"weight": torch.ones(2)}

    def update():
        state["weight"] = state["weight"] + 1  # not in place

    with Tape() as tape:
        update()
    tape.replay(), tape.replay()
    assert state["weight"].tolist() == [2, 2]  # three, had it run again


def test_several_processes_and_a_cpu_run_without_a_graph():
    args = argparse.Namespace(cuda_graph="auto", device="cuda")
    assert can_capture(args, 1) and not can_capture(args, 2)
    args.device = "cpu"
    assert not can_capture(args, 1)


class FailingTape(Tape):
    """A capture that fails in the middle of update(), of whose operations nothing has run."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.after -= 1
        if self.after < 0:
            raise RuntimeError(
                "operation not permitted when stream is capturing\nCUDA errors might"
            )
        return operation(*args, **(kwargs or {}))

    def __exit__(self, *error):
        super().__exit__(*error)
        raise RuntimeError("capture failed due to a previous error")  # as the end of a capture does


def test_after_a_capture_that_fails_training_goes_on_with_one_warning(
    tapes, photo_options, tmp_path, monkeypatch, capsys
):
    method = "mergan_ra"
    script = importlib.import_module(method)
    more = ["--iters", 5, "--num-tasks", 2, "--critic-steps", 1, "--image-size", 32]
    options = photo_options(method, tmp_path / "off")
    assert call_main(script, *options, *more, "--cuda-graph", "off") is None
    captures = []

    def capture():
        # The first operations of update() only make images and noise: nothing that lasts
        captures.append(FailingTape(after=20))
        return captures[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", capture)
    state = []
    numbers = torch.cuda.default_generators[0]
    monkeypatch.setattr(numbers, "clone_state", lambda: state.append(torch.get_rng_state()))
    monkeypatch.setattr(numbers, "graphsafe_set_state", lambda _: torch.set_rng_state(state[0]))
    capsys.readouterr()
    assert call_main(script, *photo_options(method, tmp_path / "on"), *more) is None
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warnings == [
        "warning: no CUDA graph could be captured (operation not permitted when stream is "
        "capturing); each kernel is launched"
    ]
    assert len(captures) == 1  # the second task does not try again
    assert_same_weights(tmp_path / "on", tmp_path / "off")
    assert losses(tmp_path / "on") == losses(tmp_path / "off")


def test_all_captures_of_a_process_share_one_stream(tapes):
    first, second = (common.CudaGraph(dict) for _ in range(2))
    assert first.stream is second.stream


# On a GPU

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@needs_cuda
@pytest.mark.parametrize("method", METHODS)
def test_on_a_gpu_replayed_steps_agree_with_ordinary_ones(
    method, tiny_options, tmp_path, monkeypatch
):
    """Losses within 1 % over two tasks of seven steps: equal random numbers, sums in any order."""
    script = importlib.import_module(method)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(common.CudaGraph, "works", True)
    for name in ("auto", "off"):
        options = ["--iters", 7, "--num-tasks", 2, "--device", "cuda", "--cuda-graph", name]
        assert call_main(script, *tiny_options(method, tmp_path / name), *options) is None
    assert common.CudaGraph.works  # no capture has failed
    for ours, theirs in zip(metrics(tmp_path / "auto"), metrics(tmp_path / "off"), strict=True):
        for name in ("critic", "gradient_penalty", "generator"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-2, abs=1e-3)
    assert len({line["critic"] for line in metrics(tmp_path / "auto")}) == len(
        metrics(tmp_path / "auto")
    )


@needs_cuda
def test_on_a_gpu_a_replay_draws_the_random_numbers_of_its_seed(monkeypatch):
    monkeypatch.setattr(common.CudaGraph, "works", True)

    def update():
        return {"x": torch.randn(5, device="cuda") + torch.randint(9, (5,), device="cuda")}

    def drawn(iterate):
        rows = []
        for step in range(8):
            torch.manual_seed(step)
            rows.append(iterate()["x"].clone())
        return torch.stack(rows).cpu()

    graph = common.CudaGraph(update)
    ordinary, replayed = drawn(update), drawn(graph)
    assert graph.graph is not None
    torch.testing.assert_close(replayed, ordinary, rtol=0, atol=0)
    assert len({tuple(row.tolist()) for row in replayed}) == 8


@needs_cuda
def test_on_a_gpu_a_run_continues_from_its_checkpoint(train, tmp_path):
    # Replays before and after the kill
    options = ["--device", "cuda", "--iters", 12, "--checkpoint-every", 5]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = train("mergan_ra", whole, *options)
    assert done.returncode == 0 and "no CUDA graph" not in done.stderr
    killed = train("mergan_ra", parts, *options, at=("task_2_step_000008.png", signal.SIGKILL))
    assert killed.returncode == -signal.SIGKILL
    assert train("mergan_ra", parts, *options).returncode == 0
    for ours, theirs in zip(metrics(parts), metrics(whole), strict=True):
        for name in ("critic", "gradient_penalty", "generator", "alignment"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-2, abs=1e-3)
