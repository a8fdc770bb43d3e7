"""The errors of the library, all of them on one root; each is also the built-in error that describes it.

`Interrupted` is not among them: it is a KeyboardInterrupt, which no `except Exception` should swallow.
"""

from paretomtl.point import Point


class ParetomtlError(Exception):
    """The root of the library's errors."""


class EmptyFrontError(ParetomtlError, ValueError):
    """A front without a single point that succeeded."""


class NoFeasiblePointError(ParetomtlError, ValueError):
    """No point keeps the bounds; `nearest` is the one that breaks them least."""

    def __init__(self, message: str, nearest: Point):
        super().__init__(message)
        self.nearest = nearest


class DamagedFileError(ParetomtlError, ValueError):
    """A file that is not as it was written."""


class NonFiniteError(ParetomtlError, ArithmeticError):
    """A loss or a gradient is NaN or infinite.

    Args:
        message: which, and of what.
        point: of which point, where there are several.
    """

    def __init__(self, message: str, point: int | None = None):
        super().__init__(message)
        self.point = point


class NoLabelError(ParetomtlError):
    """A batch has no label at all, and takes no part."""


class WorkerLostError(ParetomtlError, RuntimeError):
    """A worker died each time that it computed a point."""


class StudyFileError(ParetomtlError, ValueError):
    """A study file, or an argument that it gives, is not as it should be."""


class UsageError(ParetomtlError):
    """The command line asks for something that is not there."""


class UserCodeError(ParetomtlError):
    """The user's own module failed; its traceback is theirs to read."""


NoFeasiblePoint = NoFeasiblePointError  # its name before 0.2
