"""The command that asks: `ask`. It imports no torch unless it trains."""

import argparse
import shlex
from collections.abc import Mapping
from typing import Any

from paretomtl.cli.output import OK, complain, print_result
from paretomtl.cli.rule_options import parse_amounts
from paretomtl.errors import UsageError
from paretomtl.front import Front
from paretomtl.point import Point
from paretomtl.selection.levels import WORDS
from paretomtl.storage.schema import growing
from paretomtl.storage.store import Store


def ask_front(args: argparse.Namespace) -> int:
    """Print the preference that comes nearest to what one would like, and how to train it; or train it."""
    if args.trust and args.train is None:
        raise UsageError("--trust says that code may run, which only --train does; give it, too")
    front = Front.load(args.folder)
    aspiration = parse_amounts("--aspire", args.aspire, WORDS)
    reservation = parse_amounts("--reserve", args.reserve) or None
    answer = front.ask(aspiration, reservation=reservation, at=_find_point(front, args.at))
    if args.train is not None:
        from paretomtl.cli.exploring import resume_study

        complain(answer.why)
        args.names = args.train
        return resume_study(args, answer.preference)
    steps = _list_steps(front, args, answer.preference)
    facts = {**answer._asdict(), "nearest": answer.nearest.id, **steps}
    print_result(args, "\n".join([answer.why, *(f"{name}: {step}" for name, step in steps.items() if step)]), facts)
    return OK


def _find_point(front: Front, id: str | None) -> Point | None:
    if id is None:
        return None
    points = {p.id: p for p in (*front.mean().points, *front.points, *front.corners)}
    if id not in points:
        raise UsageError(f"--at {id}: no such point succeeded; `paretomtl show {front.folder}` lists all of them")
    return points[id]


def _list_steps(front: Front, args: argparse.Namespace, preference: Mapping[str, float]) -> dict[str, Any]:
    """Return the lines that lead to a model there: of Python, and of the command line where that began the study."""
    numbers = [float(x) for x in preference.values()]
    if front.study.get("front_model"):
        return {"python": f"pm.Front.load({str(args.folder)!r}).model_at({numbers}, build)", "command": None}
    if "preferences" not in growing(front.study):
        return {"python": f"explore(…, preferences=[{dict(preference)}])", "command": None}
    command = Store(args.folder).command
    problem = command.get("problem") if isinstance(command, Mapping) else None  # it is checked where it is used
    return {
        "python": f"explore(…, out={str(args.folder)!r}, preferences=[{dict(preference)}])",
        "command": f"{args.line} --train {shlex.quote(problem)}" if isinstance(problem, str) else None,
    }


COMMANDS = {"ask": ask_front}
