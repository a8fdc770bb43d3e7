"""The errors of the library, all on one root; each is also the built-in error that describes it.

`Interrupted` is not one of them: it is a KeyboardInterrupt, which no `except Exception` should swallow.
"""

from paretomtl.point import Point


def escape_controls(text: str, keep: str = "") -> str:
    """Escape line breaks and other unprintable characters: with them, a text from elsewhere could pose as another."""
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


class ParetomtlError(Exception):
    """The root of the library's errors."""


class EmptyFrontError(ParetomtlError, ValueError):
    """A front without a single point that succeeded."""


class NoFeasiblePointError(ParetomtlError, ValueError):
    """No point keeps the bounds; `nearest` is the point that breaks them least."""

    def __init__(self, message: str, nearest: Point):
        super().__init__(message)
        self.nearest = nearest


class DamagedFileError(ParetomtlError, ValueError):
    """A file that is not as it was written."""


class StepError(ParetomtlError):
    """A step cannot be taken, and the numbers of one point are to blame.

    Args:
        message: the value, and what it is a value of.
        point: the index of the point, where there are several.
    """

    def __init__(self, message: str, point: int | None = None):
        super().__init__(message)
        self.point = point


class NonFiniteError(StepError, ArithmeticError):
    """A loss, a gradient or a weight is NaN or infinite."""


class NegativeLossError(StepError, ValueError):
    """A loss is below zero, and the method needs losses of at least 0."""


class NoLabelError(ParetomtlError):
    """A batch has no label at all, and is skipped."""


class WorkerLostError(ParetomtlError, RuntimeError):
    """A worker died each time it computed a point."""


class StudyFileError(ParetomtlError, ValueError):
    """A study file, or an argument in it, is invalid."""


class UsageError(ParetomtlError):
    """The command line names something that does not exist."""


class UserCodeError(ParetomtlError):
    """The user's own module failed; its traceback is theirs to read."""


NoFeasiblePoint = NoFeasiblePointError  # its name before 0.2
