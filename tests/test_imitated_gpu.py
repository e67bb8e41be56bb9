"""Every script from first line to last on an imitated GPU, which knows shapes and no values.

Tensors on the GPU are tensors on PyTorch's `meta` device. The imitation fails where tensors on the
host and on the GPU meet in one operation. A value that is taken from the GPU is a random number.
What a CUDA graph forbids inside update() is in test_cuda_graph.py.
"""

import importlib
import os
import signal
import sys

import pytest
import torch
from conftest import METHODS, call_main
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

import common

aten = torch.ops.aten
HOST, GPU = torch.device("cpu"), torch.device("meta")


def tensors_in(*values):
    return [leaf for leaf in tree_leaves(values) if torch.is_tensor(leaf)]


class Operations(TorchDispatchMode):
    """Looks at every operation, and takes what a real GPU would not allow as an error."""

    def __init__(self):
        super().__init__()
        self.known = WeakTensorKeyDictionary()  # values of tensors that came from the host

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = operation.overloadpacket
        given = tensors_in(args, kwargs)
        on_gpu = [tensor for tensor in given if tensor.device == GPU]
        on_host = [tensor for tensor in given if tensor.device == HOST and tensor.dim()]
        if on_gpu and on_host and packet != aten.copy_:
            shapes = [list(tensor.shape) for tensor in on_host]
            raise AssertionError(f"{operation}: on the host: {shapes}; the rest on the GPU")
        to_host = on_gpu and packet == aten._to_copy and kwargs.get("device") == HOST
        to_host = to_host or on_gpu and packet == aten.copy_ and args[0].device == HOST
        if packet == aten._fused_adam_:
            return None  # PyTorch has no imitation of it
        if on_gpu and packet == aten._local_scalar_dense:
            return self.values_of(args[0]).item()
        if on_gpu and packet == aten.equal:
            return True
        if on_gpu and packet == aten.index and self.masks(args):
            return args[0][: len(args[0]) // 2]
        if to_host and packet == aten.copy_:
            return args[0].copy_(self.values_of(args[1]))
        if to_host:
            return self.values_of(args[0]).to(kwargs.get("dtype") or args[0].dtype)
        result = operation(*args, **kwargs)
        self.remember(packet, args, result)
        return result

    def masks(self, args):
        indices = tensors_in(args[1])
        return [index for index in indices if index.dtype in (torch.bool, torch.uint8)]

    def values_of(self, tensor):
        """Those that are known, else random ones, on the host."""
        if tensor in self.known:
            return self.known[tensor]
        random = torch.Generator().manual_seed(tensor.numel())
        values = torch.rand(tensor.shape, generator=random)
        if not tensor.dtype.is_floating_point:
            values = values.round()
        return values.to(tensor.dtype)

    def remember(self, packet, args, result):
        """Categories go to the GPU and back, so small tensors of integers keep their values."""
        if not torch.is_tensor(result) or result.device != GPU or result.dtype != torch.int64:
            return
        if packet == aten._to_copy and args[0].device == HOST:
            self.known[result] = args[0].clone()
        if packet == aten.arange:
            self.known[result] = torch.arange(*args)


class Devices(TorchFunctionMode):
    """Reads `cuda` as `meta` wherever a device is named."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.device:
            return function(*args, **kwargs)  # scripts shall see that their device is `cuda`
        args = [imitated(value) for value in args]
        kwargs = {name: imitated(value) for name, value in kwargs.items()}
        if function is torch.tensor and kwargs.get("device") == GPU:
            # As PyTorch does, but where the imitation sees it
            del kwargs["device"]
            values = [value.item() if torch.is_tensor(value) else value for value in args[0]]
            return torch.tensor(values, **kwargs).to(GPU)
        return function(*args, **kwargs)


def imitated(value):
    """A device, or its name, as the imitation has it; everything else as it is."""
    if isinstance(value, torch.device) and value.type == "cuda":
        return GPU
    return GPU if isinstance(value, str) and value == "cuda" else value


class Graph:
    """Stands for CudaGraph, and counts the steps."""

    before_step = None  # called with the number of the step in this process
    steps = 0

    def __init__(self, update):
        self.update = update

    def __call__(self):
        Graph.steps += 1
        if Graph.before_step:
            Graph.before_step(Graph.steps)
        return {name: loss.detach() for name, loss in self.update().items()}


@pytest.fixture
def gpu(monkeypatch):
    """An imitated GPU, for as long as a test runs."""
    operations = Operations()
    autocast, is_enabled = torch.autocast, torch.is_autocast_enabled

    def autocast_on_host(device_type, *args, **kwargs):
        return autocast("cpu", *args, **kwargs)

    monkeypatch.setattr(torch, "autocast", autocast_on_host)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device_type: is_enabled("cpu"))
    for name in dir(torch.optim.Optimizer):
        if name.endswith("graph_capture_health_check"):  # its first half differs between versions
            monkeypatch.setattr(torch.optim.Optimizer, name, lambda self: None)
    adam = sys.modules[torch.optim.Adam.__module__]
    monkeypatch.setattr(adam, "_device_dtype_check_for_fused", lambda *_, **__: None)
    for name, value in {
        "is_available": True,
        "device_count": 1,
        "set_device": None,
        "get_device_name": "imitated GPU",
        "synchronize": None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(common, "CudaGraph", Graph)
    monkeypatch.setattr(Graph, "steps", 0)
    with Devices(), operations:
        yield operations


def stop_at(step):
    """A Graph.before_step that sends the signal of a scheduler at this step."""

    def stop(now):
        if now == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return staticmethod(stop)


def on_gpu(options, method, run_dir):
    more = ["--device", "cuda", "--num-tasks", 2, "--iters", 4]
    more += ["--fisher-samples", 16] if method in ("ewc", "rewc") else []
    more += ["--covariance-samples", 16] if method == "rewc" else []
    return [*options(method, run_dir), *more]


@pytest.mark.parametrize(
    "method, together", [*((method, 1) for method in METHODS), ("mergan_jtr", 2)]
)
def test_a_method_trains_stops_and_resumes(
    method, together, gpu, tiny_options, tmp_path, monkeypatch
):
    script = importlib.import_module(method)
    options = [*on_gpu(tiny_options, method, tmp_path), "--categories-per-task", together]
    monkeypatch.setattr(Graph, "before_step", stop_at(3))
    tasks = [2] if method == "joint" else [1, 2]  # joint.py learns all at once
    assert f"stopped at task {tasks[0]}, step 3" in call_main(script, *options)
    assert not list(tmp_path.glob("task_*.pt"))
    monkeypatch.setattr(Graph, "before_step", None)
    assert call_main(script, *options) is None
    for task in tasks:
        assert (tmp_path / f"task_{task}.pt").exists()
        assert (tmp_path / f"samples/task_{task}_step_000004.png").exists()
        assert (tmp_path / f"snapshots/task_{task}_step_000002.pt").exists()


def test_so_does_one_at_64x64_with_concat(gpu, photo_options, tmp_path):
    script = importlib.import_module("mergan_ra")
    options = [*on_gpu(photo_options, "mergan_ra", tmp_path), "--conditioning", "concat"]
    assert call_main(script, *options, "--critic-steps", 1, "--iters", 2) is None
    assert Graph.steps == 4 and (tmp_path / "task_2.pt").exists()


@pytest.mark.parametrize("method", ["sft", "dgr"])
def test_generators_are_drawn_and_scored(method, gpu, tiny_options, tmp_path, monkeypatch):
    script, evaluate = importlib.import_module(method), importlib.import_module("eval")
    options = [*on_gpu(tiny_options, method, tmp_path), "--cache-dir", tmp_path / "cache"]
    assert call_main(script, *options, "--iters", 1) is None
    scoring = ["--samples", 64, "--fid-samples", 32, "--device", "cuda"]
    assert call_main(evaluate, tmp_path, *scoring) is None
    assert (tmp_path / "eval.json").exists()


def test_the_imitation_fails_where_host_and_gpu_meet(gpu, tiny_options, tmp_path, monkeypatch):
    sft = importlib.import_module("sft")
    generator_loss = sft.generator_loss

    def faulty(critic, fake, *arguments):
        fake = fake + torch.zeros(fake.shape)
        return generator_loss(critic, fake, *arguments)

    monkeypatch.setattr(sft, "generator_loss", faulty)
    with pytest.raises(AssertionError, match="on the host"):
        call_main(sft, *on_gpu(tiny_options, "sft", tmp_path))
