"""The command line: run, show, select, plot, methods. Results go to stdout, progress and errors to stderr."""

import argparse
import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import torch

from paretomtl.exploration import explore
from paretomtl.front.front import Front, Pick
from paretomtl.front.select import Knee
from paretomtl.problem import Problem
from paretomtl.solver import Aggregation, Scalarization, Solver, Stepper, Weighting

OK, FAILED, USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130
KINDS = (Scalarization, Weighting, Aggregation, Stepper)


class Usage(Exception):
    """The command line asks for something that is not there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0 ok, 1 failed, 2 bad usage, 3 front incomplete, 130 interrupted."""
    asked = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *rest: print(f"warning: {message}", file=sys.stderr)
            return asked.command(asked)
    except Usage as error:
        print(f"paretomtl {asked.name}: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        print(f"paretomtl {asked.name}: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paretomtl", description="Explore, score and choose on trade-off fronts.")
    parser.add_argument("--version", action="version", version=f"paretomtl {version('paretomtl')}")
    commands = parser.add_subparsers(dest="name", required=True)

    run = _command(commands, "run", _run, "explore a problem and print its front")
    run.add_argument("problem", metavar="MODULE:PROBLEM", help="a Problem, or a function that makes one")
    run.add_argument("--method", required=True, help="a name from `paretomtl methods`")
    run.add_argument("--preferences", type=int, required=True, help="how many, evenly laid out")
    budget = run.add_mutually_exclusive_group(required=True)
    budget.add_argument("--epochs", type=int, help="over the training data")
    budget.add_argument("--steps", type=int, help="of the optimizer")
    run.add_argument("--out", type=Path, required=True, help="a new folder for the front")
    run.add_argument("--lr", type=float, default=1e-3, help="learning rate of Adam (default: %(default)s)")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--device", default="cpu", help='"cpu", "cuda", or "auto" (default: %(default)s)')
    run.add_argument("--ray", action="store_true", help="compute the points on Ray")

    _on_front(_command(commands, "show", _show, "print a front: its points and its figures"))

    select = _on_front(_command(commands, "select", _select, "choose a point by a rule"))
    _add_rule(select, required=True)

    plot = _on_front(_command(commands, "plot", _plot, "draw a front"))
    plot.add_argument("-o", "--output", type=Path, required=True, help="an .svg, .pdf or .png file")
    plot.add_argument(
        "--kind", choices=["matrix", "parallel"], help="a panel a pair of objectives; an axis an objective"
    )
    _add_rule(plot, required=False)

    _command(commands, "methods", _methods, "list the methods that are installed")
    return parser


def _command(commands: Any, name: str, command: Callable, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(command=command)
    return parser


def _on_front(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a front's folder")
    return parser


def _add_rule(parser: argparse.ArgumentParser, required: bool) -> None:
    rule = parser.add_mutually_exclusive_group(required=required)
    rule.add_argument("--best", metavar="OBJECTIVE", help="the best in this one …")
    rule.add_argument("--knee", action="store_true", help="where the front bulges most")
    parser.add_argument(
        "--subject-to", metavar="OBJECTIVE=BOUND", action="append", default=[], help="… of those no worse than this"
    )


def _run(asked: argparse.Namespace) -> int:
    problem, solver = _problem(asked.problem), _method(asked.method)
    executor = None
    if asked.ray:
        from paretomtl import RayTune

        executor = RayTune()
    front = explore(
        problem,
        solver,
        preferences=asked.preferences,
        epochs=asked.epochs,
        steps=asked.steps,
        optimizer=partial(torch.optim.Adam, lr=asked.lr),
        seed=asked.seed,
        out=asked.out,
        device=asked.device,
        executor=executor,
    )
    _print(front)
    print(f"\nwritten: {front.folder}")
    return INCOMPLETE if front.failed else OK


def _show(asked: argparse.Namespace) -> int:
    front = Front.load(asked.folder)
    _print(front)
    for warning in front.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    asked_for = len(front.study["points"])
    there = len(front.points) + len(front.corners)
    if there < asked_for:
        print(f"incomplete: {there} of {asked_for} points", file=sys.stderr)
        return INCOMPLETE
    return OK


def _print(front: Front) -> None:
    print(front.table(), end="\n\n")
    print(front.score())


def _select(asked: argparse.Namespace) -> int:
    pick = _pick(Front.load(asked.folder), asked)
    assert pick is not None
    if pick.point is None:
        print(pick.why)
        return FAILED
    print(f"chosen: {pick.why}")
    print(f"weights: {asked.folder / 'weights' / f'{pick.point.weights}.safetensors'}")
    return OK


def _plot(asked: argparse.Namespace) -> int:
    front = Front.load(asked.folder)
    figure = front.plot(asked.output, _pick(front, asked), asked.kind)
    print(f"written: {figure} and {figure.with_suffix('.csv')}")
    return OK


def _pick(front: Front, asked: argparse.Namespace) -> Pick | None:
    if asked.subject_to and asked.best is None:
        raise Usage("--subject-to goes with --best")
    if asked.knee:
        return front.select(Knee())
    if asked.best is None:
        return None
    return front.select(best=asked.best, subject_to=dict(map(_bound, asked.subject_to)))


def _bound(text: str) -> tuple[str, float]:
    name, equals, number = text.rpartition("=")
    try:
        if equals and name:
            return name, float(number)
    except ValueError:
        pass
    raise Usage(f"--subject-to {text!r}: write OBJECTIVE=NUMBER, such as left=0.35")


def _methods(asked: argparse.Namespace) -> int:
    del asked
    found = _installed()
    width = max(map(len, found), default=0)
    for name, method in sorted(found.items()):
        kind = next(kind.__name__ for kind in KINDS if issubclass(method, kind))
        print(f"{name:<{width}}  {kind:<13}  {(inspect.getdoc(method) or '').splitlines()[0]}")
    return OK


def _installed() -> dict[str, type[Solver]]:
    """Every method of every module that is registered under `paretomtl.methods`, by name."""
    modules = [entry.load() for entry in entry_points(group="paretomtl.methods")]
    return {name: getattr(module, name) for module in modules for name in module.__all__}


def _method(name: str) -> Solver:
    found = _installed()
    if name not in found:
        raise Usage(f"--method {name!r} is not one of {', '.join(sorted(found))}")
    return found[name]()


def _problem(text: str) -> Problem:
    """The problem that MODULE:PROBLEM names; a module beside the user comes first, as with `python`."""
    module_name, colon, name = text.partition(":")
    if not (colon and module_name and name):
        raise Usage(f"{text!r}: write MODULE:PROBLEM, such as studies.digit_pairs:digit_pairs")
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise
        raise Usage(f"{text!r}: there is no module {module_name!r} here or in the environment") from error
    if not hasattr(module, name):
        raise Usage(f"{text!r}: module {module_name!r} has no {name!r}")
    found = getattr(module, name)
    problem = found if isinstance(found, Problem) else found() if callable(found) else found
    if not isinstance(problem, Problem):
        raise Usage(f"{text!r} is a {type(problem).__name__}, not a Problem or a function that makes one")
    return problem
