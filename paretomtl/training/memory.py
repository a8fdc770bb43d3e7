"""Lack of memory: recognised among other errors, described with the amounts, and followed by a release."""

import gc
import re
import sys
import traceback

import torch

OOM = "oom: "  # the beginning of the reason of a point that ran out of memory
MESSAGES = re.compile(r"DefaultCPUAllocator: .*memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED")
AMOUNT = re.compile(r"allocate ((?:more than )?[\d.]+ ?(?:bytes|[KMGTPE]?i?B))\b")


def out_of_memory_reason(error: Exception) -> str | None:
    """Return the reason of an error that is, or was raised from, a lack of memory; None for any other error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (MemoryError, torch.cuda.OutOfMemoryError)) or MESSAGES.search(str(cause)):
            return _describe(cause)
        cause = cause.__cause__
    return None


def _describe(error: BaseException) -> str:
    amount = AMOUNT.search(str(error))
    request = "how many bytes were asked for is not said"
    if amount:
        request = f"{re.sub(r'^[0-9]+(?= bytes)', lambda n: f'{int(n[0]):,}', amount[1])} were asked for"
    on_cpu = isinstance(error, MemoryError) or "CPUAllocator" in str(error)
    peak = f"{_peak():,} bytes of this process" if on_cpu else f"{_gpu_peak():,} bytes on a GPU"
    return (
        f"{OOM}{request}, and the most in use so far was {peak}; smaller batches help, fewer points in a fleet, or "
        "fewer workers a GPU or node"
    )


def _peak() -> int:
    """Return the most bytes that this process has had in memory at once."""
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _gpu_peak() -> int:
    """Return the most bytes that tensors of this process have had at once on one GPU."""
    return max((torch.cuda.max_memory_allocated(k) for k in range(torch.cuda.device_count())), default=0)


def forget(error: BaseException | None) -> None:
    """Clear the frames of an error and of its causes, which hold graphs, batches and models."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def release() -> None:
    """Free the memory that nothing refers to any more, also for other processes on the GPU."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
