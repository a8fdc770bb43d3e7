"""Callbacks: called after steps, after points and at the end of a run; and one that writes for TensorBoard."""

import tempfile
from pathlib import Path
from typing import Any

from paretomtl.front import Front
from paretomtl.point import Point
from paretomtl.training.study import Step


class Callback:
    """A callback that is told of more than steps; write over what you need.

    It travels to the workers as it is, so what it holds must be picklable. `step` is called where a point is trained,
    and what it raises fails that point; the others where `explore` was called, and what they raise is a warning, for
    the models are there by then.
    """

    def __call__(self, step: Step) -> None:
        """A callback is called with a step."""
        self.step(step)

    def step(self, step: Step) -> None:
        """After each step."""

    def point(self, point: Point) -> None:
        """After a point was computed and recorded, whether it is "done" or "failed"; not for one that was there."""

    def end(self, front: Front) -> None:
        """When the front is whole, also where nothing was left to compute; not if all points failed."""


class TensorBoard(Callback):
    """Losses and weights by step, a run a point; at the end the measures, the score and the figure.

    Every process writes files of its own, each point's in a folder by its id, so that workers need nothing of one
    another; on other machines the folder must be on storage that they share. What is computed again after a stop
    replaces what was written of those steps.

    Args:
        folder: for `tensorboard --logdir`.
        every: how many steps of a point lie between two that are written; the first one always is.
    """

    def __init__(self, folder: str | Path, every: int = 1):
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ValueError(f"every={every!r}: give a whole number of steps of at least 1")
        _writer_class()  # an error now, rather than in each of the workers
        self.folder, self.every = Path(folder).absolute(), every  # a worker has another working directory
        self._writers: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_writers": {}}  # files that are open stay here

    def step(self, step: Step) -> None:
        """Write its losses and weights."""
        new = step.point not in self._writers
        if not new and step.step % self.every:
            return
        if new:
            self._writers[step.point] = self._open(step.point, step.step)
        writer = self._writers[step.point]
        for what, values in (("loss", step.losses), ("weight", step.weights)):
            for name, value in values.items():
                writer.add_scalar(f"{what}/{name}", value, step.step)
        writer.flush()  # a worker may be ended at any time

    def end(self, front: Front) -> None:
        """Write what came of it: each point's measures, the score, the table, the figure."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
        for point in (*front.points, *front.corners):
            with self._open(point.id) as writer:
                self._measured(writer, front, point)
        with self._open("front") as writer:
            figures = {
                name: value for name, value in front.score()._asdict().items() if isinstance(value, (int, float))
            }
            for name, value in figures.items():
                writer.add_scalar(f"score/{name}", value)
            writer.add_text("table", _fixed(front.table()))
            writer.add_text("score", _fixed(str(front.score())))
            writer.add_image("front", _picture(front), dataformats="HWC")

    def _open(self, name: str, first: int | None = None) -> Any:
        return _writer_class()(str(self.folder / name), purge_step=first)

    def _measured(self, writer: Any, front: Front, point: Point) -> None:
        steps = point.counts.get("steps", 0)
        for split, losses in point.losses.items():
            for name, loss in zip(front.names, losses, strict=True):
                writer.add_scalar(f"{split} loss/{name}", loss, steps)
        for split, values in point.values.items():
            for name, value in zip(front.names, values, strict=True):
                writer.add_scalar(f"{split} measure/{name}", value, steps)
        if point.control_error is not None:
            writer.add_scalar("control error", point.control_error, steps)


def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and optional
    except ImportError as error:
        raise ImportError("TensorBoard needs tensorboard: pip install 'paretomtl[tensorboard]'") from error
    return SummaryWriter


def _fixed(text: str) -> str:
    """As it stands: TensorBoard reads Markdown, where four spaces keep a line as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _picture(front: Front) -> Any:
    """The front's figure, in pixels."""
    from matplotlib.image import imread

    with tempfile.TemporaryDirectory() as folder:
        return imread(front.plot(Path(folder) / "front.png"))
