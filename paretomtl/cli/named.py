"""From the names of the command line and of study files to what they stand for: a problem, a method."""

import importlib
import traceback
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from paretomtl.cli.study_file import Named, build
from paretomtl.conditioned.front_model import FrontModel
from paretomtl.conditioned.kinds import KINDS
from paretomtl.conditioned.sampling import Sampling
from paretomtl.errors import StudyFileError, UsageError, UserCodeError
from paretomtl.preflight.fingerprint import is_users_own
from paretomtl.problem import Problem
from paretomtl.solver import Solver


def installed() -> dict[str, type[Solver]]:
    """Every method of every module that is registered under `paretomtl.methods`, by name."""
    modules = [entry.load() for entry in entry_points(group="paretomtl.methods")]
    return {name: getattr(module, name) for module in modules for name in module.__all__}


def method_of(named: Named) -> Solver:
    """The method of a name, with its arguments."""
    found = installed()
    if named.name not in found:
        raise UsageError(f"method {named.name!r} is not one of {', '.join(sorted(found))}")
    return built("method", found[named.name], named.arguments)


def front_model_of(named: Named) -> FrontModel:
    """The front model of a name, with its arguments; its sampling is a table of its own."""
    if named.name not in KINDS:
        raise UsageError(f"front_model {named.name!r} is not one of {', '.join(KINDS)}")
    arguments = {key: tuple(given) if isinstance(given, list) else given for key, given in named.arguments.items()}
    if "sampling" in arguments:
        if not isinstance(arguments["sampling"], dict):
            raise UsageError(f"front_model, sampling = {arguments['sampling']!r}: give a table such as {{ n = 4 }}")
        arguments["sampling"] = built("front_model, sampling", Sampling, arguments["sampling"])
    return built("front_model", KINDS[named.name], arguments)


def problem_of(named: Named) -> Problem:
    """The problem that MODULE:PROBLEM names."""
    module_name, colon, name = named.name.partition(":")
    if not (colon and module_name and name):
        raise UsageError(
            f"{named.name!r}: write MODULE:PROBLEM, such as studies.digit_pairs:digit_pairs, or a .toml file"
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        absent = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
        if absent and f"{module_name}.".startswith(f"{absent}."):
            raise UsageError(
                f"{named.name!r}: there is no module {module_name!r} here or in the environment"
            ) from error
        raise UserCodeError(f"module {module_name!r} failed while it was imported: {said(error)}") from error
    if not hasattr(module, name):
        raise UsageError(f"{named.name!r}: module {module_name!r} has no {name!r}")
    found = getattr(module, name)
    if isinstance(found, Problem):
        if named.arguments:
            raise UsageError(
                f"{named.name!r} is a Problem and takes no arguments; leave {', '.join(named.arguments)} out"
            )
        return found
    problem = found
    if callable(found):
        try:
            problem = build("problem", found, named.arguments)
        except (StudyFileError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise UserCodeError(f"{named.name} failed: {said(error)}") from error
    if not isinstance(problem, Problem):
        raise UsageError(f"{named.name!r} is a {type(problem).__name__}, not a Problem or a function that makes one")
    return problem


def built(kind: str, made: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """What one of our own classes makes of the arguments that a study file gives."""
    try:
        return build(kind, made, arguments)
    except StudyFileError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"{kind} = {made.__name__} with {arguments}: {error}") from error


def of_users_code(error: Exception) -> bool:
    """Whether code that is neither ours nor installed raised an error, or called what did."""
    return any(is_users_own(frame.f_globals) for frame, _ in traceback.walk_tb(error.__traceback__))


def said(error: Exception) -> str:
    """An error's kind and text."""
    return f"{type(error).__name__}: {error}"
