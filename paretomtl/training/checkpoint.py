"""Checkpoints of a training in the middle: its state as JSON and tensors, from which another process goes on.

A point, a fleet or a network in training returns its state (`checkpoint`) and restores it (`restore`). A state that
cannot be written without a pickle, such as a function in an optimizer's state, is not written at all; such a training
starts again.
"""

import dataclasses
import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paretomtl.solver import EpochMeans
from paretomtl.storage.checkpoints import Encoded
from paretomtl.training.study import Job
from paretomtl.training.watch import upgrade_means

MOST_OF_TIME = 0.05  # the largest share of the time that goes into checkpoints


def encode(value: Any) -> Encoded:
    """Encode a value of dicts, lists, tuples, records, numbers, texts, tensors, arrays and generators.

    Raises:
        TypeError: it holds something else.
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
        return {"tensor": _store(value, tensors)} | ({} if value.device.type == "cpu" else {"on": str(value.device)})
    if isinstance(value, np.ndarray):
        return {"array": _store(torch.from_numpy(value), tensors)}
    if isinstance(value, torch.Generator):
        return {"generator": _store(value.get_state(), tensors), "on": str(value.device)}
    raise TypeError(f"it holds a {type(value).__module__}.{type(value).__qualname__}")


def _fields(value: Any) -> tuple[str, ...]:
    """Return the field names of a NamedTuple or a dataclass; none for anything else."""
    if isinstance(value, tuple):
        return getattr(value, "_fields", ())
    return tuple(f.name for f in dataclasses.fields(value)) if dataclasses.is_dataclass(value) else ()


def _store(value: Tensor, tensors: dict[str, Tensor]) -> str:
    """Add a copy of a tensor to the tensors, and return its name there."""
    name = str(len(tensors))
    tensors[name] = value.detach().to("cpu", copy=True).contiguous()
    return name


def decode(encoded: Encoded, like: Any = None) -> Any:
    """Return the value that was encoded.

    Its records get the classes that the present value `like` has in the same places, so that no class is imported.

    Raises:
        Exception: `encoded` is malformed, or `like` has another structure.
    """
    return _decode(encoded.value, encoded.tensors, like)


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
        likes = like if isinstance(like, dict) else {}
        return {key: _decode(item, tensors, likes.get(key)) for key, (_, item) in zip(keys, part, strict=True)}
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
    """Return the first n items of a list or a tuple, filled up with None."""
    items = list(like)[:n] if type(like) in (list, tuple) else []
    return items + [None] * (n - len(items))


def is_identical(one: Encoded, other: Encoded) -> bool:
    """Whether two encoded values are the same to the last bit."""
    return (
        one.value == other.value
        and one.tensors.keys() == other.tensors.keys()
        and all(_bits(part) == _bits(other.tensors[name]) for name, part in one.tensors.items())
    )


def _bits(value: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    return value.dtype, value.shape, value.reshape(-1).view(torch.uint8).numpy().tobytes()


# --- the state of a training ---


def random_states(device: str) -> dict[str, Any]:
    """Return the states of all global random generators that a training draws from."""
    on_device = torch.cuda.get_rng_state(device) if torch.device(device).type == "cuda" else None
    version, words, normal = random.getstate()
    return {
        "python": (version, np.array(words, dtype=np.uint32), normal),
        "numpy": np.random.get_state(),  # noqa: NPY002 - users' data sets draw from the global generator
        "torch": torch.get_rng_state(),
        "device": on_device,
    }


def restore_random_states(states: dict[str, Any], device: str) -> None:
    """Set the global random generators to the states that `random_states` returned."""
    version, words, normal = states["python"]
    random.setstate((version, tuple(words.tolist()), normal))
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["device"] is not None:
        torch.cuda.set_rng_state(states["device"], device)


def learner_state(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any) -> dict[str, Any]:
    """Return the states of a model, of its optimizer, and of its scheduler, which may be None."""
    weights = dict(model.state_dict())
    return {
        "model": weights,
        "buffers": {name: buffer for name, buffer in model.named_buffers() if name not in weights},
        "numbers": {name: _numeric_attributes(part) for name, part in model.named_modules()},
        "optimizer": optimizer.state_dict(),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
    }


def _numeric_attributes(module: nn.Module) -> dict[str, Any]:
    """Return the attributes of a module that are numbers, such as a count of its calls."""
    return {name: x for name, x in vars(module).items() if name[0] != "_" and type(x) in (bool, int, float)}


def restore_learner(states: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
    """Restore the states that `learner_state` returned."""
    model.load_state_dict(states["model"])
    buffers, modules = dict(model.named_buffers()), dict(model.named_modules())
    for name, buffer in states["buffers"].items():
        buffers[name].copy_(buffer)
    for name, attributes in states["numbers"].items():
        own = _numeric_attributes(modules[name])
        vars(modules[name]).update({key: x for key, x in attributes.items() if key in own})
    optimizer.load_state_dict(states["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(states["scheduler"])


def pack_epochs(epochs: Sequence[EpochMeans]) -> tuple[Tensor, ...] | None:
    """Pack the means of all epochs into three tensors."""
    return tuple(map(torch.stack, zip(*epochs, strict=True))) if epochs else None


def unpack_epochs(packed: tuple[Tensor, ...] | None) -> list[EpochMeans]:
    """Return the means of each epoch that `pack_epochs` packed."""
    return [] if packed is None else [EpochMeans(*means) for means in zip(*packed, strict=True)]


def upgrade_epochs(packed: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
    """Return packed epochs, also from those of 0.2, which kept no standard errors: how noisy they were is unknown."""
    return packed if packed is None or len(packed) == 3 else (*packed, torch.full_like(packed[0], torch.inf))


UPGRADES: dict[str, Callable[[Any], Any]] = {"means": upgrade_means, "epochs": upgrade_epochs}

# --- writing and restoring it ---


class Checkpointer(ABC):
    """Writes the checkpoints of a training at intervals, and reads the last one for a training that goes on with it.

    Args:
        seconds: the least time between two checkpoints; 0 writes one after every step.
    """

    def __init__(self, seconds: float):
        self._seconds, self._next, self._warned = seconds, 0.0, False

    @abstractmethod
    def write(self, name: str, jobs: list, encoded: Encoded) -> None:
        """Replace the checkpoint of that name.

        Args:
            name: of the checkpoint.
            jobs: its points, as `describe_jobs` returns them.
            encoded: its content.

        Raises:
            OSError: it cannot be written now; the previous checkpoint is still there.
        """

    @abstractmethod
    def read(self, name: str, jobs: list) -> Encoded | None:
        """Return the last checkpoint of that name, if it is whole and of the same points; else None."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Delete the checkpoint of that name; its points have their records."""

    @abstractmethod
    def warn(self, text: str) -> None:
        """Warn of a checkpoint that could not be written or used."""

    def begin(self) -> None:
        """Count the seconds from now on; called when a training begins."""
        self._next, self._warned = time.monotonic() + self._seconds, False

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() >= self._next

    def keep(self, work: "Resumable") -> None:
        """Write a checkpoint; where that fails the training goes on, with a warning."""
        start, wait = time.monotonic(), 0.0
        try:
            self.write(work.name, work.jobs_key, encode(work.checkpoint()))
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
    """A training in one loop, of a point, a fleet or a network, that a checkpoint can store and restore."""

    name: str  # the name of its checkpoint
    keeper: Checkpointer | None = None

    @property
    @abstractmethod
    def jobs_key(self) -> list:
        """The points in training, as `describe_jobs` returns them."""

    @abstractmethod
    def begin(self) -> None:
        """Set everything to the state before the first step."""

    @abstractmethod
    def checkpoint(self) -> dict[str, Any]:
        """Return all that the steps so far have changed."""

    @abstractmethod
    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `checkpoint` returned, after `begin`."""

    def upgrade(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """Return a checkpoint with what an earlier version did not write, as it is before the first step."""
        renewed = {key: upgrade(checkpoint[key]) for key, upgrade in UPGRADES.items() if key in checkpoint}
        return self.checkpoint() | checkpoint | renewed

    def start(self) -> None:
        """Begin, and go on from the last checkpoint if there is one and it fits."""
        self.begin()
        if self.keeper is None:
            return
        self.keeper.begin()
        why = "the restored state is not the stored one"
        try:
            stored = self.keeper.read(self.name, self.jobs_key)
            if stored is None:
                return
            checkpoint = self.upgrade(decode(stored, self.checkpoint()))
            expected = encode(checkpoint)  # before schedulers take things out of it
            self.restore(checkpoint)
            if is_identical(encode(self.checkpoint()), expected):
                return
        except Exception as error:
            why = (str(error).splitlines() or [""])[0] or type(error).__name__
        self.keeper.warn(f"the checkpoint of {self.name} does not fit, so it starts again: {why}")
        self.begin()

    def keep(self) -> None:
        """Write a checkpoint if it is time; called between two steps."""
        if self.keeper is not None and self.keeper.due():
            self.keeper.keep(self)


def describe_jobs(jobs: Sequence[Job]) -> list:
    """Return the id, preference and corner of each job, as a checkpoint stores them."""
    return [[job.id, job.preference.tolist(), job.corner] for job in jobs]
