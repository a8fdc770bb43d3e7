"""Callbacks: called after steps, after points and at the end of a run; and one that writes for TensorBoard."""

import tempfile
from pathlib import Path
from typing import Any

from paretomtl.front import Front
from paretomtl.point import Point
from paretomtl.training.study import Step


class Callback:
    """A callback with a method for each event; override those that you need.

    It is pickled for the workers. `step` is called where a point is trained, and an error in it fails that point.
    `point` and `end` are called where `explore` was called. An error in them is only a warning, for the models are
    trained by then.
    """

    def __call__(self, step: Step) -> None:
        """Call `step`, as for a callback that is a function."""
        self.step(step)

    def step(self, step: Step) -> None:
        """Called after each step."""

    def point(self, point: Point) -> None:
        """Called after a point was computed and recorded, "done" or "failed"; not for points of an earlier run."""

    def end(self, front: Front) -> None:
        """Called when the front is whole, also if nothing was left to compute; not if all points failed."""


class TensorBoard(Callback):
    """A callback that writes for TensorBoard: losses and weights by step, then the measures, the score and the figure.

    Each point is a run in a folder named by its id. Every process writes files of its own, so that workers are
    independent; workers on other machines need shared storage. Steps that are computed again after a stop replace the
    earlier ones.

    Args:
        folder: the folder for `tensorboard --logdir`.
        every: of each point, the first step and then every so many steps are written.
    """

    def __init__(self, folder: str | Path, every: int = 1):
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ValueError(f"every={every!r}: give a whole number of steps of at least 1")
        _import_writer()  # raises here rather than in each worker
        self.folder, self.every = Path(folder).absolute(), every  # a worker has another working directory
        self._writers: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_writers": {}}  # open files stay in this process

    def step(self, step: Step) -> None:
        """Write the losses and weights of a step."""
        new = step.point not in self._writers
        if not new and step.step % self.every:
            return
        if new:
            self._writers[step.point] = self._open(step.point, step.step)
        writer = self._writers[step.point]
        for what, values in (("loss", step.losses), ("weight", step.weights)):
            for name, value in values.items():
                writer.add_scalar(f"{what}/{name}", value, step.step)
        writer.flush()  # a worker may be killed at any time

    def end(self, front: Front) -> None:
        """Write each point's measures, and the front's score, table and figure."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
        for point in (*front.points, *front.corners):
            with self._open(point.id) as writer:
                self._write_measures(writer, front, point)
        with self._open("front") as writer:
            figures = {
                name: value for name, value in front.score()._asdict().items() if isinstance(value, (int, float))
            }
            for name, value in figures.items():
                writer.add_scalar(f"score/{name}", value)
            writer.add_text("table", _indent(front.table()))
            writer.add_text("score", _indent(str(front.score())))
            writer.add_image("front", _draw(front), dataformats="HWC")

    def _open(self, name: str, first: int | None = None) -> Any:
        return _import_writer()(str(self.folder / name), purge_step=first)

    def _write_measures(self, writer: Any, front: Front, point: Point) -> None:
        steps = point.counts.get("steps", 0)
        for split, losses in point.losses.items():
            for name, loss in zip(front.names, losses, strict=True):
                writer.add_scalar(f"{split} loss/{name}", loss, steps)
        for split, values in point.values.items():
            for name, value in zip(front.names, values, strict=True):
                writer.add_scalar(f"{split} measure/{name}", value, steps)
        if point.control_error is not None:
            writer.add_scalar("control error", point.control_error, steps)


def _import_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and optional
    except ImportError as error:
        raise ImportError("TensorBoard needs tensorboard: pip install 'paretomtl[tensorboard]'") from error
    return SummaryWriter


def _indent(text: str) -> str:
    """Indent text by four spaces, so that Markdown, which TensorBoard reads, leaves the lines as they are."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _draw(front: Front) -> Any:
    """Draw the front's figure, in pixels."""
    from matplotlib.image import imread

    with tempfile.TemporaryDirectory() as folder:
        return imread(front.plot(Path(folder) / "front.png"))
