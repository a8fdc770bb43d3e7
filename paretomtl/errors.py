"""The errors of the library, all on one root; each is also the built-in error that describes it.

`Interrupted` is not among them: it is a KeyboardInterrupt, which no `except Exception` should swallow.
"""

from paretomtl.point import Point


class ParetomtlError(Exception):
    """The root of the library's errors."""


class EmptyFrontError(ParetomtlError, ValueError):
    """No point of a front succeeded."""


class NoFeasiblePointError(ParetomtlError, ValueError):
    """No point keeps the bounds.

    Args:
        message: the bounds.
        nearest: the point that breaks them least.
    """

    def __init__(self, message: str, nearest: Point):
        super().__init__(message)
        self.nearest = nearest


class DamagedFileError(ParetomtlError, ValueError):
    """A file is not as it was written."""


class NonFiniteError(ParetomtlError, ArithmeticError):
    """A loss, a gradient or a residual is NaN or infinite.

    Args:
        message: which one, and where.
        point: the place of its point among several that are trained together.
    """

    def __init__(self, message: str, point: int | None = None):
        super().__init__(message)
        self.point = point


class NoLabelError(ParetomtlError):
    """A batch has no label at all, and is skipped."""


class WorkerLostError(ParetomtlError, RuntimeError):
    """A worker died each time that it computed a point."""


class StudyFileError(ParetomtlError, ValueError):
    """A study file, or an argument in it, is invalid."""


class UsageError(ParetomtlError):
    """The command line names something that does not exist, or lacks something."""


class UserCodeError(ParetomtlError):
    """The user's own module failed; its traceback is theirs to read."""


NoFeasiblePoint = NoFeasiblePointError  # its name before 0.2
