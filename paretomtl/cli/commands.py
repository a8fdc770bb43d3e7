"""The command line. Results go to stdout, as text or with --json as JSON; progress, warnings and errors to stderr."""

import argparse
import contextlib
import ctypes
import importlib.util
import inspect
import json
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from paretomtl.cli import rule_options
from paretomtl.cli.named import built, front_model_of, installed, method_of, of_users_code, problem_of, said
from paretomtl.cli.study_file import Named, Settings, build_optimizer, read
from paretomtl.errors import StudyFileError, UsageError, UserCodeError
from paretomtl.exploration import explore
from paretomtl.front import Front
from paretomtl.preference import Refine
from paretomtl.selection.pick import Pick
from paretomtl.show import report
from paretomtl.solver import Aggregation, Scalarization, Stepper, Weighting
from paretomtl.storage.migrate import migrate
from paretomtl.storage.schema import expected_ids
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from paretomtl.sweep.interrupt import Interrupted

OK, FAILED, USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130
KINDS = (Scalarization, Weighting, Aggregation, Stepper)
REMEMBERED = ("problem", "method", "preferences", "epochs", "steps", "lr", "seed", "seeds", "device", "ray")
# what older versions did not remember, and how it was then
LATER = {"front_model": None, "fleet": None, "refine": None}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0 ok, 1 failed, 2 bad usage, 3 front incomplete, 130 interrupted."""
    asked = _parser().parse_args(arguments)
    asked.line = shlex.join(["paretomtl", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *rest: _complain(f"warning: {message}")
            return asked.command(asked)
    except (UsageError, StudyFileError) as error:
        _complain(f"paretomtl {asked.name}: {error}")
        return USAGE
    except KeyboardInterrupt as error:
        text = str(error).partition("; call explore")[0] if isinstance(error, Interrupted) else "interrupted"
        _complain(f"\n{text}")
        if getattr(asked, "go_on", None):
            _complain(f"to go on: {asked.go_on if Store(asked.out).holds_front() else asked.line}")
        return INTERRUPTED
    except UserCodeError as error:
        traceback.print_exception(error.__cause__, file=sys.stderr)
        _complain(f"paretomtl {asked.name}: {error}")
        return FAILED
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        _complain(f"paretomtl {asked.name}: {error}")
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paretomtl", description="Explore, score and choose on trade-off fronts.")
    parser.add_argument("--version", action="version", version=f"paretomtl {version('paretomtl')}")
    commands = parser.add_subparsers(dest="name", required=True)

    run = _command(commands, "run", _run, "explore a problem and print its front; goes on where it was stopped")
    run.add_argument("problem", metavar="MODULE:PROBLEM|study.toml", help="a Problem or what makes one; a study file")
    run.add_argument("--method", help="a name from `paretomtl methods`")
    run.add_argument("--preferences", type=int, help="how many, evenly laid out")
    run.add_argument("--refine", metavar="START", type=int, help="how many of them evenly; the rest where gaps are")
    budget = run.add_mutually_exclusive_group()
    budget.add_argument("--epochs", type=int, help="over the training data")
    budget.add_argument("--steps", type=int, help="of the optimizer")
    run.add_argument("--out", type=Path, help="the folder for the front")
    run.add_argument("--front-model", help='one network for all preferences, such as "FiLM" (default: none)')
    run.add_argument("--fleet", type=int, help="how many points to train in one program, for small networks")
    run.add_argument("--lr", type=float, help="learning rate of Adam (default: 0.001)")
    run.add_argument("--seed", type=int, help="of initial weights and data order (default: 0)")
    run.add_argument("--seeds", type=int, help="how often each point is trained, with other seeds (default: 1)")
    run.add_argument("--device", help='"cpu", "cuda", or "auto" (default: cpu)')
    run.add_argument("--ray", action="store_true", default=None, help="compute the points on Ray")

    _on_front(_command(commands, "resume", _resume, "compute what is absent or damaged of a front begun with run"))
    _on_front(_command(commands, "show", _show, "print a front: its points and its figures"))

    select = _on_front(_command(commands, "select", _select, "choose a point by a rule"))
    rule_options.add(select, required=True)

    plot = _on_front(_command(commands, "plot", _plot, "draw a front, or write it as a page to explore"))
    plot.add_argument("-o", "--output", type=Path, required=True, help="an .svg, .pdf or .png file, or an .html page")
    plot.add_argument(
        "--kind",
        choices=["matrix", "parallel", "control"],
        help="a panel a pair of objectives; an axis an objective; what was asked for against what was reached",
    )
    plot.add_argument("--width", type=float, metavar="INCHES", help="3.25 is a paper's column, 6.75 two")
    rule_options.add(plot, required=False)

    _on_front(_command(commands, "verify", _verify, "check every file of a front; 1 if any is damaged"))
    _on_front(_command(commands, "migrate", _migrate, "write a front of an older version anew in the present schema"))
    _command(commands, "methods", _methods, "list the methods that are installed")
    return parser


def _command(commands: Any, name: str, command: Callable, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(command=command)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _on_front(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a front's folder")
    return parser


def _say(asked: argparse.Namespace, text: str, value: Any) -> None:
    try:
        print(json.dumps(value, indent=1, allow_nan=False) if asked.json else _harmless(text), flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain(text: str) -> None:
    print(_harmless(text), file=sys.stderr)


def _harmless(text: str) -> str:
    """Without control characters, by which a front from elsewhere could drive the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


# --- exploring ---


def _run(asked: argparse.Namespace) -> int:
    if not asked.problem.endswith(".toml"):
        sys.path.insert(0, "")
        asked.go_on = f"paretomtl resume {shlex.quote(str(asked.out))}"
        return _explore(asked, _settings(asked), {name: getattr(asked, name) for name in (*REMEMBERED, *LATER)})
    options = (*REMEMBERED[1:], *LATER, "out")
    given = [f"--{name.replace('_', '-')}" for name in options if getattr(asked, name) is not None]
    if given:
        raise UsageError(f"{', '.join(given)}: a study file says it all; change {asked.problem}")
    path = Path(asked.problem)
    settings = read(path)
    sys.path.insert(0, str(path.resolve().parent))
    asked.out, asked.go_on = settings.out, asked.line
    try:
        return _explore(asked, settings, None)
    except (UsageError, StudyFileError) as error:
        raise UsageError(f"{path}: {error}") from error


def _settings(asked: argparse.Namespace) -> Settings:
    """What the options of `run` ask for."""
    missing = [f"--{name}" for name in ("method", "preferences", "out") if getattr(asked, name) is None]
    missing += ["--epochs or --steps"] if asked.epochs is None and asked.steps is None else []
    if missing:
        raise UsageError(f"{', '.join(missing)} must be given with MODULE:PROBLEM")
    return Settings(
        Named(asked.problem, {}),
        Named(asked.method, {}),
        asked.preferences
        if asked.refine is None
        else built("--refine", Refine, {"start": asked.refine, "total": asked.preferences}),
        asked.epochs,
        asked.steps,
        asked.out,
        Named("Adam", {"lr": 1e-3 if asked.lr is None else asked.lr}),
        0 if asked.seed is None else asked.seed,
        1 if asked.seeds is None else asked.seeds,
        asked.device or "cpu",
        None,
        {} if asked.ray else None,
        None if asked.front_model is None else Named(asked.front_model, {}),
        asked.fleet,
    )


def _resume(asked: argparse.Namespace) -> int:
    command = Store(asked.folder).command
    if not isinstance(command, dict) or not set(REMEMBERED) <= command.keys():
        raise UsageError(
            f"{asked.folder} does not say how it was begun with `paretomtl run MODULE:PROBLEM`; run that again, "
            "or the same study file, or call the same explore(…) again with this out="
        )
    _refuse_inside(str(command["problem"]), asked.folder)
    asked.out, asked.go_on = asked.folder, f"paretomtl resume {shlex.quote(str(asked.folder))}"
    remembered = LATER | {name: command[name] for name in (*REMEMBERED, *LATER) if name in command}
    settings = _settings(argparse.Namespace(**remembered, out=asked.folder))
    return _explore(asked, settings, command)


def _refuse_inside(problem: str, folder: Path) -> None:
    """No code is taken from a front's folder, which may come from anyone; what else it names is told before it runs."""
    module = problem.partition(":")[0]
    if Path.cwd().resolve().is_relative_to(folder.resolve()):  # what is imported here could come from there
        raise UsageError(
            f"{folder} is where you are; start from the folder of {module!r}: no code is run from a front's folder"
        )
    sys.path.insert(0, "")
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError, AttributeError) as error:
        raise UsageError(f"module {module!r} cannot be found here: {error}") from error
    origins = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    if any(Path(o).resolve().is_relative_to(folder.resolve()) for o in origins if o):
        raise UsageError(f"module {module!r} lies in the front's folder {folder}; code is never run from there")
    _complain(f"running {problem}, as {folder} says, from {origins[0] if origins else 'nowhere'}")


def _explore(asked: argparse.Namespace, settings: Settings, command: dict[str, Any] | None) -> int:
    with _stdout_is_for_results(asked.json):
        problem = problem_of(settings.problem)
        method = method_of(settings.method)
        front_model = None if settings.front_model is None else front_model_of(settings.front_model)
        executor = None
        if settings.ray is not None:
            from paretomtl import RayTune

            executor = built("ray", RayTune, settings.ray)
        optimizer = build_optimizer(settings.optimizer)
        try:
            front = explore(
                problem,
                method,
                preferences=settings.preferences,
                epochs=settings.epochs,
                steps=settings.steps,
                optimizer=optimizer,
                seed=settings.seed,
                seeds=settings.seeds,
                out=settings.out,
                device=settings.device,
                clip=settings.clip,
                executor=executor,
                front_model=front_model,
                fleet=settings.fleet,
                command=command,
            )
        except Exception as error:
            if of_users_code(error):
                raise UserCodeError(f"the code of {settings.problem.name} failed: {said(error)}") from error
            raise
    _say(asked, f"{report.format_report(front)}\n\nwritten: {front.folder}", report.report_as_json(front))
    return INCOMPLETE if front.failed else OK


@contextlib.contextmanager
def _stdout_is_for_results(only: bool) -> Iterator[None]:
    """With --json, whatever the user's code and the solvers' libraries print goes to stderr."""
    if not only:
        yield
        return
    _flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)


def _flush() -> None:
    """Write out what was printed so far, by C code too, before standard output is turned elsewhere."""
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None:
            stream.flush()
    with contextlib.suppress(OSError, TypeError, AttributeError):  # where there is no C library under no name
        ctypes.CDLL(None).fflush(None)


# --- reading ---


def _show(asked: argparse.Namespace) -> int:
    front = Front.load(asked.folder)
    _say(asked, report.format_report(front), report.report_as_json(front))
    for warning in front.warnings():
        _complain(f"warning: {warning}")
    asked_for = len(expected_ids(front.study, front.every))
    there = len(front.points) + len(front.corners)
    if there < asked_for:
        _complain(f"incomplete: {there} of {asked_for} points")
        return INCOMPLETE
    return OK


def _select(asked: argparse.Namespace) -> int:
    pick = _pick(Front.load(asked.folder), asked)
    assert pick is not None
    if pick.point is None:
        _say(asked, pick.why, report.choice_as_json(pick, asked.folder))
        return FAILED
    chosen = report.choice_as_json(pick, asked.folder)
    lines = [f"chosen: {pick.why}", *(f"next: {r}" for r in pick.runners_up), f"weights: {chosen['weights'] or 'none'}"]
    _say(asked, "\n".join(lines), chosen)
    return OK


def _plot(asked: argparse.Namespace) -> int:
    front = Front.load(asked.folder)
    figure = front.plot(asked.output, _pick(front, asked), asked.kind, asked.width)
    data = figure.with_suffix(".csv")
    _say(asked, f"written: {figure} and {data}", {"figure": str(figure), "data": str(data)})
    return OK


def _pick(front: Front, asked: argparse.Namespace) -> Pick | None:
    rule = rule_options.rule(asked)
    return None if rule is None else front.select(rule)


def _verify(asked: argparse.Namespace) -> int:
    found = verify(asked.folder)
    _say(asked, str(found), found._asdict())
    return FAILED if found.damaged else INCOMPLETE if found.absent or found.stale else OK


def _migrate(asked: argparse.Namespace) -> int:
    before, after = migrate(asked.folder)
    text = f"{asked.folder}: schema {before} → {after}" if before < after else f"{asked.folder} is of schema {after}"
    _say(asked, text, {"folder": str(asked.folder), "before": before, "after": after})
    return OK


def _methods(asked: argparse.Namespace) -> int:
    with _stdout_is_for_results(asked.json):
        found = sorted(installed().items())
    rows = [
        {
            "name": name,
            "kind": next(kind.__name__ for kind in KINDS if issubclass(method, kind)),
            "about": (inspect.getdoc(method) or "").splitlines()[0],
        }
        for name, method in found
    ]
    width = max((len(row["name"]) for row in rows), default=0)
    _say(asked, "\n".join(f"{row['name']:<{width}}  {row['kind']:<13}  {row['about']}" for row in rows), rows)
    return OK
