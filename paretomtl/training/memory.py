"""Running out of memory: how it is told from other errors, what is said of it, and how all that was held is let go."""

import gc
import re
import sys
import traceback

import torch

OOM = "oom: "  # how the reason of a point begins that ran out of memory
MESSAGES = re.compile(r"DefaultCPUAllocator: .*memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED")
ASKED = re.compile(r"allocate ((?:more than )?[\d.]+ ?(?:bytes|[KMGTPE]?i?B))\b")


def out_of_memory_reason(error: Exception) -> str | None:
    """The reason that an error gives which is, or was raised from, one of a lack of memory; None of another."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, (MemoryError, torch.cuda.OutOfMemoryError)) or MESSAGES.search(str(found)):
            return _reason(found)
        found = found.__cause__
    return None


def _reason(error: BaseException) -> str:
    asked = ASKED.search(str(error))
    number = "how many bytes were asked for is not said"
    if asked:
        number = f"{re.sub(r'^[0-9]+(?= bytes)', lambda n: f'{int(n[0]):,}', asked[1])} were asked for"
    on_cpu = isinstance(error, MemoryError) or "CPUAllocator" in str(error)
    peak = f"{_peak():,} bytes of this process" if on_cpu else f"{_peak_of_gpus():,} bytes on a GPU"
    return (
        f"{OOM}{number}, and the most in use so far was {peak}; smaller batches help, fewer points in a fleet, or "
        "fewer workers a GPU or node"
    )


def _peak() -> int:
    """The most bytes that this process has held in memory at once."""
    import resource  # which not every system has

    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else 1024 * found


def _peak_of_gpus() -> int:
    """The most bytes that tensors of this process have had at once on one GPU."""
    return max((torch.cuda.max_memory_allocated(k) for k in range(torch.cuda.device_count())), default=0)


def forget(error: BaseException | None) -> None:
    """Let go of what the frames hold through which an error came, and those that led to it: graphs, batches, models."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def release() -> None:
    """Give back what nothing refers to any more, also to others on the GPU."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
