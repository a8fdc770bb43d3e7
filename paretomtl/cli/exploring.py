"""The commands that explore: `run` and `resume`."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretomtl.cli import trust
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
        command = {name: flags[name] for name in REMEMBERED}
        args.go_on = trust.format_resume(args.out, trust.code_names(command))
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


def resume_study(args: argparse.Namespace, preference: Mapping[str, float] | None = None) -> int:
    """Go on with a front that `run MODULE:PROBLEM` began, by the flags that its folder remembers.

    Args:
        args: the parsed command line.
        preference: one to add to those of the folder.
    """
    command = trust.read_command(Store(args.folder))
    names = trust.code_names(command)
    sys.path.insert(0, "")
    for name, file in zip(names, trust.check_trust(args.folder, names, args.names, args.trust), strict=True):
        complain(f"running {name}, as {args.folder} says, from {file}")
    args.out, args.go_on = args.folder, trust.format_resume(args.folder, names)
    # a flag that the version before did not have is absent, which is the same as left out
    flags = {name: command.get(name) for name in REMEMBERED} | {"out": args.folder}
    options = replace(_read_flags(flags), command=command)
    if preference is not None:
        options = replace(options, preferences=[preference])
    with trust.no_imports_from(args.folder):
        return _explore(args, options)


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
