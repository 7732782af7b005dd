"""Kernels for CPUs, compiled at run time by Numba: vectors, tiles, products, norms, attention.

Kernels take addresses (int64) and sizes, never arrays, so that a call costs a few microseconds;
the classes in models.ops and models.attention hold the tensors. What a kernel takes is declared
once, as a NamedTuple (see kernel), and sizes are checked before a kernel is called. An ``Element``
tag, which is a number whose type alone counts, says what the addresses point to.
"""
