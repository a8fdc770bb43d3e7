"""What the names of the command line and of study files stand for: a problem, a method, an optimizer."""

import importlib
import inspect
import traceback
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from paretomtl.cli.study_file import build, build_optimizer
from paretomtl.conditioned.front_model import FrontModel
from paretomtl.conditioned.kinds import find_front_model
from paretomtl.conditioned.sampling import Sampling
from paretomtl.errors import StudyFileError, UsageError, UserCodeError
from paretomtl.options import OPTIONS, Named, Options, is_normalise
from paretomtl.preflight.names import is_users_own
from paretomtl.problem import Problem
from paretomtl.solver import Solver
from paretomtl.sweep.here import Executor


def resolve(options: Options) -> dict[str, Any]:
    """Return the arguments of `explore`: the options, with what their names stand for."""
    arguments = {option.argument: getattr(options, name) for name, option in OPTIONS.items()}
    for name, build_named in BUILDERS.items():
        value = getattr(options, name)
        if value is not None:
            arguments[OPTIONS[name].argument] = build_named(value)
    return arguments


def find_methods() -> dict[str, type[Solver]]:
    """Import every module that is registered under `paretomtl.methods`; return their methods by name."""
    modules = [entry.load() for entry in entry_points(group="paretomtl.methods")]
    return {name: getattr(module, name) for module in modules for name in module.__all__}


def find_not_reproduced() -> list[Any]:
    """Return the papers that these modules say cannot be reproduced, each with `name`, `paper`, `why` and `nearest`."""
    modules = [entry.load() for entry in entry_points(group="paretomtl.methods")]
    return [paper for module in modules for paper in getattr(module, "NOT_REPRODUCED", ())]


def build_method(named: Named) -> Solver:
    """Build the method of a name with its arguments."""
    methods = find_methods()
    if named.name not in methods:
        raise UsageError(f"method {named.name!r} is not one of {', '.join(sorted(methods))}")
    return build_own("method", methods[named.name], named.arguments)


def build_front_model(named: Named) -> FrontModel:
    """Build the front model of a name with its arguments; its sampling is a table of its own."""
    if ":" in named.name:
        kind = import_attribute(named.name)
    else:
        try:
            kind = find_front_model(named.name)
        except ValueError as error:
            raise UsageError(str(error)) from error
    if not (isinstance(kind, type) and issubclass(kind, FrontModel)):
        raise UsageError(f"front_model {named.name!r} is a {type(kind).__name__}; give a subclass of pm.FrontModel")
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in named.arguments.items()}
    if "sampling" in arguments:
        if not isinstance(arguments["sampling"], dict):
            raise UsageError(f"front_model, sampling = {arguments['sampling']!r}: give a table such as {{ n = 4 }}")
        arguments["sampling"] = build_own("front_model, sampling", Sampling, arguments["sampling"])
    return build_own("front_model", kind, arguments)


def build_executor(arguments: dict[str, Any]) -> Executor:
    """Build the executor on Ray."""
    from paretomtl.sweep.ray_tune import RayTune

    return build_own("ray", RayTune, arguments)


def import_attribute(name: str) -> Any:
    """Import what MODULE:NAME names."""
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        absent = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
        if absent and f"{module_name}.".startswith(f"{absent}."):
            raise UsageError(f"{name!r}: there is no module {module_name!r} here or in the environment") from error
        raise UserCodeError(f"module {module_name!r} failed while it was imported: {describe_error(error)}") from error
    if not hasattr(module, attribute):
        raise UsageError(f"{name!r}: module {module_name!r} has no {attribute!r}")
    return getattr(module, attribute)


def import_problem(named: Named) -> Problem:
    """Import the problem that MODULE:PROBLEM names, or call what makes it."""
    if not all(named.name.partition(":")):
        raise UsageError(
            f"{named.name!r}: write MODULE:PROBLEM, such as studies.digit_pairs:digit_pairs, or a .toml file"
        )
    problem = factory = import_attribute(named.name)
    if isinstance(problem, Problem):
        if named.arguments:
            raise UsageError(
                f"{named.name!r} is a Problem and takes no arguments; leave {', '.join(named.arguments)} out"
            )
        return problem
    if callable(factory) and not inspect.isbuiltin(factory):  # one of C makes no problem, whatever else it does
        try:
            problem = build("problem", factory, named.arguments)
        except (StudyFileError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise UserCodeError(f"{named.name} failed: {describe_error(error)}") from error
    if not isinstance(problem, Problem):
        raise UsageError(f"{named.name!r} is a {type(problem).__name__}, not a Problem or a function that makes one")
    return problem


def build_own(kind: str, factory: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Build one of our own classes; an argument that it refuses is bad usage."""
    try:
        return build(kind, factory, arguments)
    except StudyFileError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"{kind} = {factory.__name__} with {arguments}: {error}") from error


def read_normalise(value: Any) -> Any:
    """Return the argument of `explore`; a name for nothing is needed where there is no None."""
    if not is_normalise(value):
        raise UsageError(f"normalise = {value!r}: {OPTIONS['normalise'].remedy}")
    return None if value == "none" else value


def is_from_users_code(error: BaseException) -> bool:
    """Whether an error, or what caused it, passed through code that is neither ours nor installed."""
    own = any(is_users_own(frame.f_globals) for frame, _ in traceback.walk_tb(error.__traceback__))
    return own or (error.__cause__ is not None and is_from_users_code(error.__cause__))


def describe_error(error: Exception) -> str:
    """Return an error's kind and text."""
    return f"{type(error).__name__}: {error}"


# Of the options that are written by name, what makes the argument of `explore`.
BUILDERS: dict[str, Callable[[Any], Any]] = {
    "problem": import_problem,
    "method": build_method,
    "front_model": build_front_model,
    "ray": build_executor,
    "optimizer": build_optimizer,
    "normalise": read_normalise,
}
