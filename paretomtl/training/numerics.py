"""Settings of torch that change the bits of results; they belong to a study, and go with it to workers."""

from typing import Any, NamedTuple

import torch


class Numerics(NamedTuple):
    """The settings of a process that change the bits of results."""

    dtype: str = "float32"
    matmul_precision: str = "highest"
    deterministic: bool = False
    warn_only: bool = False
    cudnn_deterministic: bool = False
    cudnn_benchmark: bool = False

    def changes(self) -> dict[str, Any]:
        """Return the settings that are not torch's own."""
        return {name: value for name, value in self._asdict().items() if value != self._field_defaults[name]}


def read_numerics() -> Numerics:
    """Return the settings of this process."""
    return Numerics(
        dtype=str(torch.get_default_dtype()).removeprefix("torch."),
        matmul_precision=torch.get_float32_matmul_precision(),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn_deterministic=torch.backends.cudnn.deterministic,
        cudnn_benchmark=torch.backends.cudnn.benchmark,
    )


def set_numerics(numerics: Numerics) -> None:
    """Give this process the settings of another."""
    torch.set_default_dtype(getattr(torch, numerics.dtype))
    torch.set_float32_matmul_precision(numerics.matmul_precision)
    torch.use_deterministic_algorithms(numerics.deterministic, warn_only=numerics.warn_only)
    torch.backends.cudnn.deterministic = numerics.cudnn_deterministic
    torch.backends.cudnn.benchmark = numerics.cudnn_benchmark
