"""The command that measures a front again."""

import argparse
import sys

from paretomtl.cli.named import describe_error, import_problem, is_from_users_code
from paretomtl.cli.output import INCOMPLETE, OK, print_result, reserve_stdout
from paretomtl.errors import UserCodeError
from paretomtl.options import Named
from paretomtl.sweep.remeasure import remeasure


def measure_front(args: argparse.Namespace) -> int:
    """Measure the points of a front again, with the problem that is named."""
    sys.path.insert(0, "")
    with reserve_stdout(args.json):
        problem = import_problem(Named(args.problem, {}))
        try:
            result = remeasure(args.folder, problem)
        except Exception as error:
            if is_from_users_code(error):
                raise UserCodeError(f"the code of {args.problem} failed: {describe_error(error)}") from error
            raise
    print_result(args, str(result), result._asdict())
    return INCOMPLETE if result.failed else OK


COMMANDS = {"measure": measure_front}
