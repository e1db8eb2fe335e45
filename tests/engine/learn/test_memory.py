"""A lack of memory is recognised by what the libraries really raise."""

from __future__ import annotations

import numpy as np
import psutil
import pytest
import torch

from napari_medssl.learn.memory import available, gibibytes, peak_memory, ran_out

HUGE = 2**55


def test_the_errors_of_torch_and_numpy_are_recognised() -> None:
    with pytest.raises(RuntimeError) as torch_error:
        torch.empty(HUGE, dtype=torch.uint8)
    with pytest.raises(MemoryError) as numpy_error:
        np.empty(HUGE, dtype=np.uint8)
    assert ran_out(torch_error.value)
    assert ran_out(numpy_error.value)
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory."))
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_limit_on_the_process_counts() -> None:
    assert 0 < available() <= psutil.virtual_memory().total
    resource = pytest.importorskip("resource")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, hard))
    try:
        assert available() <= 2**28
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, hard))


def test_the_peak_is_seen_although_it_is_over() -> None:
    size = 200 * 2**20
    before = psutil.Process().memory_info().rss
    with peak_memory(torch.device("cpu")) as peak:
        filled = np.ones(size, dtype=np.uint8)
        del filled
    assert peak.bytes >= before + 0.9 * size


def test_sizes_for_people() -> None:
    assert gibibytes(1.1 * 2**30) == "1.1 GiB"
    assert gibibytes(210 * 2**20) == "210 MiB"
