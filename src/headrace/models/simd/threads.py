"""Sets up the threads that kernels run on: the same pool that PyTorch computes with."""

import numba
import torch


def set_threads(num_threads: int) -> None:
    """Compute with this many threads, in PyTorch and in the kernels alike.

    PyTorch brings an OpenMP library; Numba's OpenMP layer finds it loaded and shares it, so that
    the two never keep a set of threads each.
    """
    numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]
    torch.set_num_threads(num_threads)
    numba.set_num_threads(min(num_threads, numba.config.NUMBA_NUM_THREADS))
