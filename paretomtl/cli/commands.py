"""The command line: its commands and flags, and the exit code of what they do.

What a command needs is imported when it is called: only `run`, `resume`, `ask --train`, `measure`, `diagnose` and
`methods` import torch.
"""

import argparse
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from paretomtl.cli.output import FAILED, INTERRUPTED, USAGE, complain
from paretomtl.errors import StudyFileError, UsageError, UserCodeError
from paretomtl.options import BUDGETS, FLAGS, OPTIONS
from paretomtl.show import FIGURE_KINDS
from paretomtl.sweep.interrupt import Interrupted

TRUST = "run whatever code the folder names; a folder may lie"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 ok, 1 failed, 2 bad usage, 3 front incomplete, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    args = build_parser(next((word for word in words if not word.startswith("-")), None)).parse_args(words)
    args.line = shlex.join(["paretomtl", *words])
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *rest: complain(f"warning: {message}")
            return _import_command(args.name)(args)
    except (UsageError, StudyFileError) as error:
        complain(f"paretomtl {args.name}: {error}")
        return USAGE
    except KeyboardInterrupt as error:
        text = str(error).partition("; call explore")[0] if isinstance(error, Interrupted) else "interrupted"
        complain(f"\n{text}")
        if getattr(args, "go_on", None):
            from paretomtl.storage.store import Store

            complain(f"to go on: {args.go_on if Store(args.out).holds_front() else args.line}")
        return INTERRUPTED
    except UserCodeError as error:
        traceback.print_exception(error.__cause__, file=sys.stderr)
        complain(f"paretomtl {args.name}: {error}")
        return FAILED
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        complain(f"paretomtl {args.name}: {error}")
        return FAILED


def _import_command(name: str) -> Callable[[argparse.Namespace], int]:
    if name in ("run", "resume"):
        from paretomtl.cli.exploring import COMMANDS
    elif name == "measure":
        from paretomtl.cli.measuring import COMMANDS
    elif name == "diagnose":
        from paretomtl.cli.diagnosing import COMMANDS
    elif name == "ask":
        from paretomtl.cli.asking import COMMANDS
    else:
        from paretomtl.cli.reading import COMMANDS
    return COMMANDS[name]


def build_parser(name: str | None) -> argparse.ArgumentParser:
    """Build the parser of all commands; the flags of rules, which take an import, only for the command of a name."""
    parser = argparse.ArgumentParser(prog="paretomtl", description="Explore, score and choose on trade-off fronts.")
    parser.add_argument("--version", action="version", version=f"paretomtl {version('paretomtl')}")
    commands = parser.add_subparsers(dest="name", required=True)

    run = _add_command(commands, "run", "explore a problem and print its front; goes on where it was stopped")
    run.add_argument("problem", metavar="MODULE:PROBLEM|study.toml", help=OPTIONS["problem"].help)
    _add_flags(run)

    resume = _add_front_command(commands, "resume", "compute what is absent or damaged of a front begun with run")
    resume.add_argument(
        "names",
        nargs="*",
        metavar="MODULE:PROBLEM",
        help="the code that the front was begun with; says that it may run",
    )
    resume.add_argument("--trust", action="store_true", help=TRUST)
    measure = _add_front_command(commands, "measure", "measure a front's points again, such as with another measure")
    measure.add_argument("problem", metavar="MODULE:PROBLEM", help="the problem that they were trained for")
    _add_front_command(commands, "show", "print a front: its points and its figures")

    select = _add_front_command(commands, "select", "choose a point by a rule")
    plot = _add_front_command(commands, "plot", "draw a front, or write it as a page to explore")
    plot.add_argument("-o", "--output", type=Path, required=True, help="an .svg, .pdf or .png file, or an .html page")
    plot.add_argument(
        "--kind",
        choices=list(FIGURE_KINDS),
        help="; ".join(FIGURE_KINDS.values()),
    )
    plot.add_argument("--width", type=float, metavar="INCHES", help="3.25 is a paper's column, 6.75 two")
    if name in ("select", "plot"):
        from paretomtl.cli import rule_options

        rule_options.add(select, required=True)
        rule_options.add(plot, required=False)

    ask = _add_front_command(commands, "ask", "say which preference comes nearest to what one would like; train it")
    amounts = {"metavar": "OBJECTIVE=VALUE", "action": "append", "default": []}
    aspire = "what one would like; with --at, the value may be improve, keep or free"
    ask.add_argument("--aspire", help=aspire, required=True, **amounts)
    ask.add_argument("--reserve", help="what just about does, for each objective", **amounts)
    ask.add_argument("--at", metavar="POINT", help="the point to start from, such as point-003; the others are kept")
    ask.add_argument(
        "--train", nargs="*", metavar="MODULE:PROBLEM", help="train there, in DIR, with the code that run began it with"
    )
    ask.add_argument("--trust", action="store_true", help=TRUST)

    diagnose = _add_command(commands, "diagnose", "print what tasks do to one another; trains nothing")
    diagnose.add_argument("folder", type=Path, metavar="DIR", help="the folder that pm.diagnose(…, out=) wrote")
    diagnose.add_argument("-o", "--output", type=Path, help="an .svg, .pdf or .png file, or an .html page, to write")

    _add_front_command(commands, "verify", "check every file of a front; 1 if any is damaged")
    _add_front_command(commands, "migrate", "write a front of an older version anew in the present schema")
    _add_command(commands, "methods", "list the methods that are installed")
    return parser


def _add_command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _add_front_command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser = _add_command(commands, name, text)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a front's folder")
    return parser


def _add_flags(run: argparse.ArgumentParser) -> None:
    """Give `run` a flag for each that the options declare; None says that it was left out."""
    budget = run.add_mutually_exclusive_group()
    for flag in FLAGS:
        group = budget if flag.name in BUDGETS else run
        more: dict[str, Any] = {"type": flag.type, "metavar": flag.metavar}
        if flag.type is None:
            more = {"action": "store_true", "default": None}
        group.add_argument(f"--{flag.name.replace('_', '-')}", help=flag.help, **more)
