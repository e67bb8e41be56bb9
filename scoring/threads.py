"""Arithmetic that gives the same bits on any number of CPU threads.

PyTorch splits an operation over its threads, and a sum split otherwise is rounded otherwise. So
every operation here runs on one thread, and several of them run at once: as many as PyTorch was
given threads (OMP_NUM_THREADS, or the cores).
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import torch


@contextlib.contextmanager
def one_thread_each():
    """Let PyTorch use one thread for an operation; yields map(function, *iterables), which runs
    several calls at once and gives their results in order.

    The number of threads is restored at the end. Gradients are off or on by thread: a function
    that wants no gradients says so itself.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = dict(initializer=torch.set_num_threads, initargs=(1,))
        with ThreadPoolExecutor(threads, **start) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(threads)
