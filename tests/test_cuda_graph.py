"""update() as a CUDA graph: on a GPU where there is one, everywhere in an imitation that replays recorded operations.

The imitation holds every method script to what a graph demands: no value is taken from the device, and what is replayed
does the same as what was recorded would have done again, random numbers included.
"""

import contextlib
import importlib
import signal

import pytest
import torch
from conftest import METHODS, assert_same_weights, metrics
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import common

aten = torch.ops.aten
TAKES_A_VALUE = {aten._local_scalar_dense, aten.nonzero, aten.equal, aten.masked_select, aten._unique2}
TAKES_A_VALUE |= {aten.unique_consecutive, aten.unique_dim, aten.repeat_interleave}


class Tape(TorchDispatchMode):
    """Records every operation of a block; replay() does them again on the same tensors."""

    def __init__(self):
        super().__init__()
        self.calls, self.replays = [], 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        masks = [i for i in tree_leaves(args[1:2]) if operation.overloadpacket in (aten.index, aten.index_put)
                 and torch.is_tensor(i) and i.dtype == torch.bool]  # fmt: skip
        assert operation.overloadpacket not in TAKES_A_VALUE and not masks, f"{operation} takes a value from the device"
        assert operation.overloadpacket != aten.lift_fresh, "a tensor is made from values on the host"
        result = operation(*args, **(kwargs or {}))
        self.calls.append((operation, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        if self.replays == 1:  # a capture does not run what it records, this recording did
            return
        for operation, args, kwargs, result in self.calls:
            for old, new in zip(tree_leaves(result), tree_leaves(operation(*args, **kwargs))):
                if torch.is_tensor(old) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Stream:
    def wait_stream(self, other):
        pass


@pytest.fixture
def tapes(monkeypatch):
    """All that are recorded where CudaGraph would capture."""
    made = []
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: made.append(Tape()) or made[-1])
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: graph)
    monkeypatch.setattr(common.RealImages, "static", True)
    return made


@pytest.mark.parametrize("method", METHODS)
def test_replayed_steps_give_the_weights_and_losses_of_ordinary_ones(method, tapes, call_main, tiny_options, tmp_path):
    script = importlib.import_module(method)
    options = lambda name: [*tiny_options(method, tmp_path / name), "--iters", 7, "--critic-steps", 1, "--num-tasks", 2]
    assert call_main(script, *options("ordinary"), "--cuda-graph", "off") is None and not tapes
    assert call_main(script, *options("replayed")) is None
    assert [tape.replays for tape in tapes] == ([11] if method == "joint" else [4, 4])  # after three warm-up calls
    assert_same_weights(tmp_path / "replayed", tmp_path / "ordinary")
    ours, theirs = (
        [{k: v for k, v in line.items() if k not in ("it_per_s", "elapsed")} for line in metrics(tmp_path / name)]
        for name in ("replayed", "ordinary")
    )
    assert ours == theirs and len({line["critic"] for line in ours}) == len(ours)


def test_the_imitation_notices_what_a_graph_cannot_do():
    x = torch.ones(2)
    for take in (lambda: x.sum().item(), lambda: x[x > 0], lambda: x.unique(), lambda: x.masked_select(x > 0),
                 lambda: x.repeat_interleave(torch.tensor([1, 2])), lambda: torch.tensor([1.0])):  # fmt: skip
        with pytest.raises(AssertionError, match="takes a value|on the host"), Tape():
            take()
    state = {"weight": torch.ones(2)}

    def update():
        state["weight"] = state["weight"] + 1  # not in place

    with Tape() as tape:
        update()
    tape.replay(), tape.replay()
    assert state["weight"].tolist() == [2, 2]  # three, had it run again


def test_several_processes_run_without_a_graph(tapes, call_main, tiny_options, tmp_path, monkeypatch):
    sft = importlib.import_module("sft")
    for name in ("init_process_group", "broadcast_object_list", "all_gather_object", "destroy_process_group"):
        monkeypatch.setattr(torch.distributed, name, lambda *arguments: None)
    monkeypatch.setattr(sft, "average", lambda tensors: None)
    for processes, recorded in [(2, 0), (1, 1)]:
        monkeypatch.setattr(sft, "PROCESSES", processes)
        options = [*tiny_options("sft", tmp_path / str(processes)), "--num-tasks", 1]
        assert call_main(sft, *options) is None and len(tapes) == recorded


def test_images_that_are_read_ahead_run_without_a_graph():
    images, labels = torch.zeros(4, 1, 32, 32, dtype=torch.uint8), torch.tensor([0, 0, 1, 1])
    real_images = common.RealImages(images, labels, torch.device("cpu"))
    assert not real_images.static
    real_images.device = torch.device("cuda")
    assert real_images.static
    real_images.held = None
    assert not real_images.static


def test_a_capture_that_fails_ends_in_one_line(monkeypatch, tapes):
    def fail():
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be …")
        finally:
            raise RuntimeError("capture failed due to a previous error")  # as the end of the capture does

    graph = common.CudaGraph(fail, warm_up=0)
    with pytest.raises(SystemExit, match="not permitted when stream is capturing\\); continue with --cuda-graph off"):
        graph()


# On a GPU

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@needs_cuda
@pytest.mark.parametrize("method", METHODS)
def test_on_a_gpu_replayed_steps_agree_with_ordinary_ones(method, call_main, tiny_options, tmp_path, monkeypatch):
    """Losses within 1 % over two tasks of seven steps: the same random numbers, sums in whatever order kernels take."""
    script = importlib.import_module(method)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    for name in ("auto", "off"):
        options = ["--iters", 7, "--num-tasks", 2, "--device", "cuda", "--cuda-graph", name]
        assert call_main(script, *tiny_options(method, tmp_path / name), *options) is None
    for ours, theirs in zip(metrics(tmp_path / "auto"), metrics(tmp_path / "off"), strict=True):
        for name in ("critic", "gradient_penalty", "generator"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-2, abs=1e-3)
    assert len({line["critic"] for line in metrics(tmp_path / "auto")}) == len(metrics(tmp_path / "auto"))


@needs_cuda
def test_on_a_gpu_random_numbers_go_on_from_replay_to_replay_as_in_ordinary_calls():
    def drawn(iterate):
        torch.manual_seed(1)
        return torch.stack([iterate()["x"].clone() for _ in range(8)]).cpu()

    update = lambda: {"x": torch.randn(5, device="cuda") + torch.randint(9, (5,), device="cuda")}
    ordinary, replayed = drawn(update), drawn(common.CudaGraph(update))
    torch.testing.assert_close(replayed, ordinary, rtol=0, atol=0)
    assert len({tuple(row.tolist()) for row in replayed}) == 8


@needs_cuda
def test_on_a_gpu_a_run_continues_from_its_checkpoint(train, call_main, tiny_options, tmp_path):
    options = ["--device", "cuda", "--iters", 12, "--checkpoint-every", 5]  # replays before and after the kill
    assert train("mergan_ra", tmp_path / "whole", *options).returncode == 0
    assert train("mergan_ra", tmp_path / "parts", *options, at=("task_2_step_000008.png", signal.SIGKILL)).returncode
    assert train("mergan_ra", tmp_path / "parts", *options).returncode == 0
    for ours, theirs in zip(metrics(tmp_path / "parts"), metrics(tmp_path / "whole"), strict=True):
        for name in ("critic", "gradient_penalty", "generator", "alignment"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-2, abs=1e-3)
