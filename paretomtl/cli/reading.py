"""The commands that read a front, and the list of methods. Reading imports no torch; a method's module does."""

import argparse
import shutil
import sys

from paretomtl.cli import rule_options
from paretomtl.cli.output import FAILED, INCOMPLETE, OK, complain, print_result, reserve_stdout
from paretomtl.front import Front
from paretomtl.selection.pick import Pick
from paretomtl.show import report
from paretomtl.storage.migrate import migrate
from paretomtl.storage.schema import expected_ids
from paretomtl.storage.verify import verify


def show_front(args: argparse.Namespace) -> int:
    """Print a front: its points and its figures."""
    front = Front.load(args.folder)
    print_result(args, report.format_report(front), report.report_as_json(front))
    for warning in front.warnings():
        complain(f"warning: {warning}")
    expected = len(expected_ids(front.study, front.every))
    done = len(front.points) + len(front.corners)
    if done < expected:
        complain(f"incomplete: {done} of {expected} points")
        return INCOMPLETE
    return OK


def select_point(args: argparse.Namespace) -> int:
    """Print the point that a rule chooses."""
    pick = _pick(Front.load(args.folder), args)
    assert pick is not None
    choice = report.choice_as_json(pick, args.folder)
    if pick.point is None:
        print_result(args, pick.why, choice)
        return FAILED
    lines = [f"chosen: {pick.why}", *(f"next: {r}" for r in pick.runners_up), f"weights: {choice['weights'] or 'none'}"]
    print_result(args, "\n".join(lines), choice)
    return OK


def plot_front(args: argparse.Namespace) -> int:
    """Draw a front, or write it as a page."""
    front = Front.load(args.folder)
    figure = front.plot(args.output, _pick(front, args), args.kind, args.width)
    data = figure.with_suffix(".csv")
    print_result(args, f"written: {figure} and {data}", {"figure": str(figure), "data": str(data)})
    return OK


def _pick(front: Front, args: argparse.Namespace) -> Pick | None:
    rule = rule_options.rule(args)
    return None if rule is None else front.select(rule)


def verify_front(args: argparse.Namespace) -> int:
    """Check every file of a front."""
    health = verify(args.folder)
    print_result(args, str(health), health._asdict())
    return FAILED if health.damaged else INCOMPLETE if health.absent or health.stale else OK


def migrate_front(args: argparse.Namespace) -> int:
    """Write a front of an older version anew in the present schema."""
    before, after = migrate(args.folder)
    text = f"{args.folder}: schema {before} → {after}" if before < after else f"{args.folder} is of schema {after}"
    print_result(args, text, {"folder": str(args.folder), "before": before, "after": after})
    return OK


def list_methods(args: argparse.Namespace) -> int:
    """Print the installed methods. They are imported, torch with them: so each in the list is one that can be used."""
    from paretomtl.cli.method_list import describe, format_methods
    from paretomtl.cli.named import find_methods, find_not_reproduced

    with reserve_stdout(args.json):
        methods, absent = sorted(find_methods().items()), find_not_reproduced()
    facts = [describe(name, method) for name, method in methods]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print_result(args, format_methods(facts, absent, width), [row._asdict() for row in facts])
    return OK


COMMANDS = {
    "show": show_front,
    "select": select_point,
    "plot": plot_front,
    "verify": verify_front,
    "migrate": migrate_front,
    "methods": list_methods,
}
