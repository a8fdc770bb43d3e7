"""The command that prints a diagnosis and draws it. It reads a folder; it trains nothing and runs no code of it."""

import argparse
from typing import Any

from paretomtl.cli.output import OK, print_result
from paretomtl.diagnosing import Diagnosis
from paretomtl.errors import UsageError
from paretomtl.show import report


def diagnose_folder(args: argparse.Namespace) -> int:
    """Print the sentences of a diagnosis; write its page or figure where `-o` asks for it."""
    try:
        diagnosis = Diagnosis.load(args.folder)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error
    text, value = str(diagnosis), report.diagnosis_as_json(diagnosis.facts)
    figures: dict[str, Any] = {"figure": None, "data": None}
    if args.output is not None:
        figure = diagnosis.plot(args.output)
        figures = {"figure": str(figure), "data": str(figure.with_suffix(".csv"))}
        text += f"\n\nwritten: {figures['figure']} and {figures['data']}"
    print_result(args, text, {"folder": str(args.folder), **value, **figures})
    return OK


COMMANDS = {"diagnose": diagnose_folder}
