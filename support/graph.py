"""A method script's update() as a CUDA graph: hundreds of kernels, one launch."""

import sys
import warnings

import torch

from support.files import reason

# Adam's warning, which comes before the capture
warnings.filterwarnings("ignore", "This instance was constructed with capturable")


def can_capture(args, processes):
    """Whether update() can become a CUDA graph: on one GPU, unless --cuda-graph is off."""
    return args.cuda_graph == "auto" and args.device == "cuda" and processes == 1


class CudaGraph:
    """A method script's update() as a CUDA graph: hundreds of kernels, one launch.

    The first calls run as they are, on the stream of the capture. The next call is recorded without
    running and is replayed from then on. update() must take no value from the GPU, use the same
    tensors in every call, and draw random numbers from the GPU's default generator, whose seed
    holds for a replay as for kernels. Where the capture fails, each kernel is launched.
    Returns what update() does, a dict of tensors; a replay overwrites those of the last.
    """

    stream = None  # one for all captures: each new one would keep a workspace of its own
    works = True  # until a capture fails

    def __init__(self, update, warm_up=3):
        self.update = update
        self.warm_up = warm_up
        self.graph = None
        CudaGraph.stream = CudaGraph.stream or torch.cuda.Stream()

    def __call__(self):
        if self.graph is None and self.warm_up == 0 and CudaGraph.works:
            self.capture()
        if self.graph is not None:
            self.graph.replay()
            return self.values
        self.warm_up = max(self.warm_up - 1, 0)
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            values = self.run()
        torch.cuda.current_stream().wait_stream(self.stream)
        return values

    def run(self):
        return {name: value.detach() for name, value in self.update().items()}

    def capture(self):
        """Record update(), or, where that fails, leave everything as it was and say so."""
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        before = generator.clone_state()
        graph = torch.cuda.CUDAGraph()
        try:
            # The outer context brings back the current stream also where the capture's end fails
            with torch.cuda.stream(torch.cuda.current_stream()):
                with torch.cuda.graph(graph, stream=self.stream):
                    self.values = self.run()
            self.graph = graph
        except RuntimeError as error:
            CudaGraph.works = False
            generator.graphsafe_set_state(before)  # the failed capture has left it half-way
            cause = reason(error.__context__ or error)  # the capture's end fails as well
            text = f"warning: no CUDA graph could be captured ({cause}); each kernel is launched"
            print(text, file=sys.stderr, flush=True)
