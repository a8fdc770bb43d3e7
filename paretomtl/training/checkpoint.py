"""Checkpoints inside a training: all that it is made of, as JSON and tensors, so that another process goes on with it.

A point, a fleet or a network in training says what it has come to (`checkpoint`), and takes that up again (`restore`).
What cannot be written without a pickle, such as a function in an optimizer's state, is not written at all: then that
training starts again.
"""

import dataclasses
import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paretomtl.storage.checkpoints import Encoded
from paretomtl.training.study import Job

MOST_OF_TIME = 0.05  # that goes into checkpoints, where they take long


def encode(value: Any) -> Encoded:
    """A value of dicts, lists, tuples, records, numbers, texts, tensors, arrays and generators.

    Raises:
        TypeError: there is something else in it.
    """
    tensors: dict[str, Tensor] = {}
    return Encoded(_encode(value, tensors), tensors)


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if type(value) is list:
        return [_encode(part, tensors) for part in value]
    if type(value) is tuple:
        return {"tuple": [_encode(part, tensors) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[_encode(key, tensors), _encode(part, tensors)] for key, part in value.items()]}
    if fields := _fields(value):
        return {"record": [_encode(getattr(value, name), tensors) for name in fields]}
    if isinstance(value, Tensor) and value.layout == torch.strided:
        return {"tensor": _put(value, tensors)} | ({} if value.device.type == "cpu" else {"on": str(value.device)})
    if isinstance(value, np.ndarray):
        return {"array": _put(torch.from_numpy(value), tensors)}
    if isinstance(value, torch.Generator):
        return {"generator": _put(value.get_state(), tensors), "on": str(value.device)}
    raise TypeError(f"it holds a {type(value).__module__}.{type(value).__qualname__}")


def _fields(value: Any) -> tuple[str, ...]:
    """The fields of a NamedTuple or a dataclass."""
    if isinstance(value, tuple):
        return getattr(value, "_fields", ())
    return tuple(f.name for f in dataclasses.fields(value)) if dataclasses.is_dataclass(value) else ()


def _put(value: Tensor, tensors: dict[str, Tensor]) -> str:
    name = str(len(tensors))
    tensors[name] = value.detach().to("cpu", copy=True).contiguous()
    return name


def decode(found: Encoded, like: Any = None) -> Any:
    """The value. Its records have the classes that `like`, a value of today, has in their places: none is imported.

    Raises:
        Exception: it was not encoded here, or `like` is built in another way.
    """
    return _decode(found.value, found.tensors, like)


def _decode(value: Any, tensors: dict[str, Tensor], like: Any) -> Any:
    if isinstance(value, list):
        return [_decode(part, tensors, at) for part, at in zip(value, _places(like, len(value)), strict=True)]
    if not isinstance(value, dict):
        return value
    kind = next((key for key in value if key != "on"), "")
    part: Any = value.get(kind)
    if kind == "float":
        return float(part)
    if kind == "tuple":
        return tuple(_decode(part, tensors, like))
    if kind == "dict":
        keys = [_decode(key, tensors, None) for key, _ in part]
        there = like if isinstance(like, dict) else {}
        return {key: _decode(item, tensors, there.get(key)) for key, (_, item) in zip(keys, part, strict=True)}
    if kind == "record":
        names = _fields(like)
        if len(names) != len(part):
            raise ValueError(f"a {type(like).__name__} stands where a record of {len(part)} fields was")
        parts = (_decode(item, tensors, getattr(like, name)) for name, item in zip(names, part, strict=True))
        return type(like)(**dict(zip(names, parts, strict=True)))
    if kind == "tensor":
        return tensors[part].to(value.get("on", "cpu"))
    if kind == "array":
        return tensors[part].numpy()
    if kind == "generator":
        generator = torch.Generator(value["on"])
        generator.set_state(tensors[part])
        return generator
    raise ValueError(f"{str(kind)[:40]!r} is nothing that is encoded")


def _places(like: Any, n: int) -> list[Any]:
    """What stands in n places of a list or a tuple, as far as it is there."""
    there = list(like)[:n] if type(like) in (list, tuple) else []
    return there + [None] * (n - len(there))


def is_identical(one: Encoded, other: Encoded) -> bool:
    """Whether two are the same to the last bit."""
    return (
        one.value == other.value
        and one.tensors.keys() == other.tensors.keys()
        and all(_bits(part) == _bits(other.tensors[name]) for name, part in one.tensors.items())
    )


def _bits(value: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    return value.dtype, value.shape, value.reshape(-1).view(torch.uint8).numpy().tobytes()


# --- what a training is made of ---


def random_states(device: str) -> dict[str, Any]:
    """The states of all global generators that a training draws from."""
    on_device = torch.cuda.get_rng_state(device) if torch.device(device).type == "cuda" else None
    version, words, normal = random.getstate()
    return {
        "python": (version, np.array(words, dtype=np.uint32), normal),
        "numpy": np.random.get_state(),  # noqa: NPY002 - users' data sets draw from the global generator
        "torch": torch.get_rng_state(),
        "device": on_device,
    }


def restore_random_states(found: dict[str, Any], device: str) -> None:
    """Set the global generators."""
    version, words, normal = found["python"]
    random.setstate((version, tuple(words.tolist()), normal))
    np.random.set_state(found["numpy"])  # noqa: NPY002
    torch.set_rng_state(found["torch"])
    if found["device"] is not None:
        torch.cuda.set_rng_state(found["device"], device)


def learner_state(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any) -> dict[str, Any]:
    """The states of a model, of its optimizer, and of its scheduler or None."""
    weights = dict(model.state_dict())
    return {
        "model": weights,
        "buffers": {name: buffer for name, buffer in model.named_buffers() if name not in weights},
        "numbers": {name: _numeric_attributes(part) for name, part in model.named_modules()},
        "optimizer": optimizer.state_dict(),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
    }


def _numeric_attributes(module: nn.Module) -> dict[str, Any]:
    """What a module counts in attributes of its own, such as its calls."""
    return {name: x for name, x in vars(module).items() if name[0] != "_" and type(x) in (bool, int, float)}


def restore_learner(found: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
    """Put them back."""
    model.load_state_dict(found["model"])
    buffers, modules = dict(model.named_buffers()), dict(model.named_modules())
    for name, buffer in found["buffers"].items():
        buffers[name].copy_(buffer)
    for name, numbers in found["numbers"].items():
        vars(modules[name]).update({key: x for key, x in numbers.items() if key in _numeric_attributes(modules[name])})
    optimizer.load_state_dict(found["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(found["scheduler"])


# --- who keeps it ---


class Checkpointer(ABC):
    """Keeps where a training is, every so many seconds of it, and gives it to whoever trains the same next.

    Args:
        seconds: between two checkpoints, at least; 0 keeps one after every step.
    """

    def __init__(self, seconds: float):
        self._seconds, self._next, self._warned = seconds, 0.0, False

    @abstractmethod
    def write(self, name: str, asked: list, found: Encoded) -> None:
        """Keep what is encoded in the place of what was kept under that name; `asked` says of which points it is.

        Raises:
            OSError: it cannot be written now; what was kept before still is.
        """

    @abstractmethod
    def read(self, name: str, asked: list) -> Encoded | None:
        """What was kept last under that name, if it is whole and of the same points."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Forget what was kept; its points have their records."""

    @abstractmethod
    def warn(self, text: str) -> None:
        """Say what was not kept, or not gone on with."""

    def begin(self) -> None:
        """Count the seconds from now on, for a training that begins."""
        self._next, self._warned = time.monotonic() + self._seconds, False

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() >= self._next

    def keep(self, work: "Resumable") -> None:
        """Keep a checkpoint; where that fails the training goes on, with a warning."""
        start, wait = time.monotonic(), 0.0
        try:
            self.write(work.name, work.asked, encode(work.checkpoint()))
        except OSError as error:  # a full disk, say: there may be room the next time
            self._warn_once(f"no checkpoint of {work.name} could be written: {error}")
        except Exception as error:
            self._warn_once(f"{work.name} has no checkpoints, and starts again if it is stopped: {error}")
            wait = math.inf
        now = time.monotonic()
        if self._seconds:
            wait = max(wait, self._seconds, (now - start) / MOST_OF_TIME)
        self._next = now + wait

    def _warn_once(self, text: str) -> None:
        if not self._warned:
            self.warn(text)
        self._warned = True


class Resumable(ABC):
    """What is trained in one loop: a point, a fleet, or a network."""

    name: str  # of its checkpoint
    keeper: Checkpointer | None = None

    @property
    @abstractmethod
    def asked(self) -> list:
        """Of which points it is; see `asked_of`."""

    @abstractmethod
    def begin(self) -> None:
        """All as it is before the first step; what was there is forgotten."""

    @abstractmethod
    def checkpoint(self) -> dict[str, Any]:
        """All that its steps so far have come to."""

    @abstractmethod
    def restore(self, found: dict[str, Any]) -> None:
        """Go from where it began to where it was."""

    def start(self) -> None:
        """Begin, or go on where the last checkpoint was written, if that fits."""
        self.begin()
        if self.keeper is None:
            return
        self.keeper.begin()
        why = "what was put back is not what was kept"
        try:
            found = self.keeper.read(self.name, self.asked)
            if found is None:
                return
            self.restore(decode(found, self.checkpoint()))
            if is_identical(encode(self.checkpoint()), found):
                return
        except Exception as error:
            why = (str(error).splitlines() or [""])[0] or type(error).__name__
        self.keeper.warn(f"the checkpoint of {self.name} does not fit, so it starts again: {why}")
        self.begin()

    def keep(self) -> None:
        """Keep a checkpoint, if it is time; called between two steps."""
        if self.keeper is not None and self.keeper.due():
            self.keeper.keep(self)


def describe_jobs(jobs: Sequence[Job]) -> list:
    """Jobs as a checkpoint names them: their id, preference and corner."""
    return [[job.id, job.preference.tolist(), job.corner] for job in jobs]
