"""What recorders have recorded of one training; a checkpoint has it, and a file of the front in the end."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from paretomtl.recorder import Moment, Recorder


class Recordings:
    """Records of one training, by recorder; `explore` keeps them by itself, a loop of one's own calls `take`.

    Args:
        recorders: what is to be recorded.

    Attributes:
        entries: the records of each recorder, in the order of the steps.
        failed: of each recorder that failed, what is said of it; it is not asked again.
        seconds: what each recorder took so far, in this process.
    """

    def __init__(self, recorders: Sequence[Recorder]):
        self._recorders = recorders
        self.entries: dict[str, list[dict[str, Any]]] = {recorder.name: [] for recorder in recorders}
        self.failed: dict[str, str] = {}
        self.seconds: dict[str, float] = dict.fromkeys(self.entries, 0.0)

    def checkpoint(self) -> tuple[Any, ...]:
        """Return the records so far."""
        return self.entries, self.failed

    def restore(self, checkpoint: tuple[Any, ...]) -> None:
        """Restore the records that `checkpoint` returned."""
        self.entries, self.failed = checkpoint

    def take(self, step: int, see: Callable[[], Moment]) -> None:
        """Let the recorders that are due record; random numbers, gradients and the model's mode stay as they are.

        Args:
            step: the step that was taken.
            see: returns what they see; called only if one is due.
        """
        due = [r for r in self._recorders if step % r.every == 0 and r.name not in self.failed]
        if not due:
            return
        moment = see()
        modes = {module: module.training for module in moment.model.modules()}
        moment.model.eval()
        with torch.random.fork_rng(devices=_devices(moment.model)):
            torch.manual_seed(step)  # so that draws do not depend on what was drawn before a stop
            for recorder in due:
                self._record(recorder, moment)
        for module, training in modes.items():
            module.training = training

    def _record(self, recorder: Recorder, moment: Moment) -> None:
        start = time.perf_counter()
        try:
            numbers = {key: _finite(value) for key, value in recorder.record(moment).items()}
        except Exception as error:  # of the user's model, or of an estimator that does not fit it
            first = (str(error).splitlines() or [""])[0]
            self.failed[recorder.name] = (
                f"recorder {recorder.name!r} failed at step {moment.step}, and is left out: {first}"
            )
        else:
            self.entries[recorder.name].append({"epoch": moment.epoch, "step": moment.step, **numbers})
        self.seconds[recorder.name] += time.perf_counter() - start

    @property
    def content(self) -> dict[str, list[dict[str, Any]]] | None:
        """The records, as they are stored; None without recorders."""
        return self.entries if self._recorders else None

    @property
    def warnings(self) -> list[str]:
        """A warning for each recorder that failed."""
        return list(self.failed.values())


def _devices(model: nn.Module) -> list[int]:
    return sorted({p.device.index for p in model.parameters() if p.is_cuda})


def _finite(value: Any) -> Any:
    """Return numbers as JSON has them: lists for tensors and tuples, None for what is not finite."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
