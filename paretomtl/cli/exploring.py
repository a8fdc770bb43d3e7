"""The commands that explore: `run` and `resume`."""

import argparse
import importlib.util
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretomtl.cli.named import build_own, describe_error, is_from_users_code, resolve
from paretomtl.cli.output import INCOMPLETE, OK, complain, print_result, reserve_stdout
from paretomtl.cli.study_file import read_study_file
from paretomtl.errors import StudyFileError, UsageError, UserCodeError
from paretomtl.exploration import explore
from paretomtl.options import FLAGS, KEYS, REMEMBERED, Named, Options, to_named
from paretomtl.preference import Refine
from paretomtl.show import report
from paretomtl.storage.store import Store


def run_study(args: argparse.Namespace) -> int:
    """Explore what the flags or a study file ask for."""
    flags = vars(args)
    if not args.problem.endswith(".toml"):
        sys.path.insert(0, "")
        args.go_on = f"paretomtl resume {shlex.quote(str(args.out))}"
        command = {name: flags[name] for name in REMEMBERED}
        return _explore(args, replace(_read_flags(flags), command=command))
    extra = [f"--{flag.name.replace('_', '-')}" for flag in FLAGS if flags[flag.name] is not None]
    if extra:
        raise UsageError(f"{', '.join(extra)}: a study file says it all; change {args.problem}")
    path = Path(args.problem)
    options = read_study_file(path)
    sys.path.insert(0, str(path.resolve().parent))
    args.out, args.go_on = options.out, args.line
    try:
        return _explore(args, options)
    except (UsageError, StudyFileError) as error:
        raise UsageError(f"{path}: {error}") from error


def resume_study(args: argparse.Namespace) -> int:
    """Go on with a front that `run MODULE:PROBLEM` began, by the flags that its folder remembers."""
    command = Store(args.folder).command
    if not isinstance(command, dict) or not {"problem", "method", "preferences"} <= command.keys():
        raise UsageError(
            f"{args.folder} does not say how it was begun with `paretomtl run MODULE:PROBLEM`; run that again, "
            "or the same study file, or call the same explore(…) again with this out="
        )
    _refuse_inside(str(command["problem"]), args.folder)
    if ":" in str(command.get("front_model")):
        _refuse_inside(str(command["front_model"]), args.folder)
    args.out, args.go_on = args.folder, f"paretomtl resume {shlex.quote(str(args.folder))}"
    # a flag that the version before did not have is absent, which is the same as left out
    flags = {name: command.get(name) for name in REMEMBERED} | {"out": args.folder}
    return _explore(args, replace(_read_flags(flags), command=command))


def _read_flags(flags: Mapping[str, Any]) -> Options:
    """Return the options that flags give; None is a flag that was left out."""
    present = {name: value for name, value in flags.items() if value is not None}
    missing = [f"--{name}" for name, key in KEYS.items() if key.required and name not in present]
    missing += ["--epochs or --steps"] if "epochs" not in present and "steps" not in present else []
    if missing:
        raise UsageError(f"{', '.join(missing)} must be given with MODULE:PROBLEM")
    values = {name: value for name, value in present.items() if name in KEYS}
    values |= {name: to_named(values[name]) for name in ("problem", "method", "front_model") if name in values}
    if "refine" in present:
        rounds = {"start": present["refine"], "total": present["preferences"]}
        values["preferences"] = build_own("--refine", Refine, rounds)
    if "lr" in present:
        values["optimizer"] = Named("Adam", {"lr": present["lr"]})
    if "ray" in present:
        values["ray"] = {} if present["ray"] else None
    return Options(**values)


def _refuse_inside(name: str, folder: Path) -> None:
    """Raise if the module of MODULE:NAME lies in the front's folder, which may be anyone's; print what will run."""
    module = name.partition(":")[0]
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
    complain(f"running {name}, as {folder} says, from {next(filter(None, origins), 'nowhere')}")


def _explore(args: argparse.Namespace, options: Options) -> int:
    with reserve_stdout(args.json):
        arguments = resolve(options)
        try:
            front = explore(**arguments)
        except Exception as error:
            if is_from_users_code(error):
                raise UserCodeError(f"the code of {options.problem.name} failed: {describe_error(error)}") from error
            raise
    print_result(args, f"{report.format_report(front)}\n\nwritten: {front.folder}", report.report_as_json(front))
    return INCOMPLETE if front.failed else OK


COMMANDS = {"run": run_study, "resume": resume_study}
