"""The options of an exploration, declared once.

The command line, study files and `resume` have theirs from here; a test compares the arguments of `explore` and
`trainable` with them. A new option is a field of `Options`, an argument of `explore`, and its use.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # --help needs no numpy
    from paretomtl.preference import Refine

BUDGETS = ("epochs", "steps")  # an exploration has one of them


class Named(NamedTuple):
    """The name of something to import, and the keyword arguments that go with it."""

    name: str
    arguments: dict[str, Any]


class Flag(NamedTuple):
    """A flag of `paretomtl run`."""

    name: str
    type: Callable[[str], Any] | None  # None: a switch
    help: str
    metavar: str | None = None


class Option(NamedTuple):
    """An option, as it is declared.

    Args:
        name: the key in study files.
        argument: the argument of `explore`.
        default: the value if it is left out; `dataclasses.MISSING` if there is none.
        help: what the option says.
        fits: whether a study file may have a value; None for an option that only Python has.
        remedy: what to give instead of a value that does not fit.
        flags: the flags of the command line; none for an option that only study files and Python have.
        required: whether a study file and the command line must have it.
        in_trial: whether `trainable` has it, which trains one point at a time.
    """

    name: str
    argument: str
    default: Any
    help: str
    fits: Callable[[Any], bool] | None
    remedy: str
    flags: tuple[Flag, ...]
    required: bool
    in_trial: bool


def _declare(
    help: str,
    *,
    fits: Callable[[Any], bool] | None = None,
    remedy: str = "",
    flag: Callable[[str], Any] | None = None,
    switch: bool = False,
    more_flags: tuple[Flag, ...] = (),
    argument: str | None = None,
    required: bool = False,
    in_trial: bool = False,
) -> dict[str, Any]:
    """Declare an option, see `Option`; `flag` is the type of the flag of the same name, and a `switch` has none."""
    return locals()


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether a value is a whole number; True and False are none."""
    return type(value) is int and value >= least


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that every float can hold."""
    return type(value) in (int, float) and abs(value) < 1e300


def is_text(value: Any) -> bool:
    """Whether a value is a text that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def is_named(value: Any) -> bool:
    """Whether a value is a name, or a table with one."""
    return is_text(value.get("name") if isinstance(value, dict) else value)


def is_imported(value: Any) -> bool:
    """Whether a value is MODULE:PROBLEM, or a table with such a name."""
    module, colon, name = to_named(value).name.partition(":") if is_named(value) else ("", "", "")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), name))


def is_preferences(value: Any) -> bool:
    """Whether a value is a number of preferences, a table for `Refine`, or a list of preferences."""
    if isinstance(value, dict):
        return bool(value)
    rows = value if isinstance(value, list) else []
    lists = bool(rows) and all(isinstance(row, list) and row and all(map(is_number, row)) for row in rows)
    return is_whole(value) or lists


def is_normalise(value: Any) -> bool:
    """Whether a value is "corners", "none", or a table with a range of two numbers by objective."""
    if isinstance(value, dict):
        return bool(value) and all(
            isinstance(row, list) and len(row) == 2 and all(map(is_number, row)) for row in value.values()
        )
    return value in ("corners", "none")


def to_named(value: Any) -> Named:
    """Split what a study file has for a name: the name alone, or a table with it and its arguments."""
    table = {"name": value} if isinstance(value, str) else value
    return Named(table["name"], {key: argument for key, argument in table.items() if key != "name"})


@dataclass(frozen=True, kw_only=True)
class Options:
    """An exploration as a study file or the command line asks for it: by name where `explore` takes an object."""

    problem: Named = field(
        metadata=_declare(
            "a Problem or what makes one; a study file",
            fits=is_imported,
            remedy='give MODULE:PROBLEM, such as "mine:problem", or a table such as '
            '{ name = "mine:problem", size = "small" }',
            required=True,
        )
    )
    method: Named = field(
        metadata=_declare(
            "a name from `paretomtl methods`",
            fits=is_named,
            remedy='give a name, such as "EPO", or a table such as { name = "EPO", eps = 1e-4 }',
            flag=str,
            argument="solver",
            required=True,
        )
    )
    optimizer: Named = field(
        default=Named("Adam", {"lr": 1e-3}),
        metadata=_declare(
            "a name of torch.optim",
            fits=is_named,
            remedy='give a name of torch.optim, or a table such as { name = "Adam", lr = 1e-3 }',
            more_flags=(Flag("lr", float, "learning rate of Adam (default: 0.001)"),),
            in_trial=True,
        ),
    )
    preferences: "int | list[list[float]] | Refine" = field(
        metadata=_declare(
            "how many, evenly laid out",
            fits=is_preferences,
            remedy="give a number of them, such as 9, a table such as { start = 5, total = 25 }, or a list such as "
            "[[0.2, 0.8], [0.5, 0.5]]",
            flag=int,
            more_flags=(Flag("refine", int, "how many of them evenly; the rest where gaps are", "START"),),
            required=True,
        )
    )
    epochs: int | None = field(
        default=None,
        metadata=_declare(
            "over the training data",
            fits=is_whole,
            remedy="give a whole number of at least 1",
            flag=int,
            in_trial=True,
        ),
    )
    steps: int | None = field(
        default=None,
        metadata=_declare(
            "of the optimizer",
            fits=is_whole,
            remedy="give a whole number of at least 1",
            flag=int,
            in_trial=True,
        ),
    )
    out: Path | None = field(
        default=None,
        metadata=_declare(
            "the folder for the front",
            fits=is_text,
            remedy='give a folder, such as "runs/mine"',
            flag=Path,
            required=True,
        ),
    )
    seed: int = field(
        default=0,
        metadata=_declare(
            "of initial weights and data order (default: 0)",
            fits=partial(is_whole, least=0),
            remedy="give a whole number of at least 0",
            flag=int,
            in_trial=True,
        ),
    )
    seeds: int = field(
        default=1,
        metadata=_declare(
            "how often each point is trained, with other seeds (default: 1)",
            fits=is_whole,
            remedy="give a whole number of at least 1",
            flag=int,
        ),
    )
    device: str = field(
        default="cpu",
        metadata=_declare(
            '"cpu", "cuda", or "auto" (default: cpu)',
            fits=is_text,
            remedy='give "cpu", "cuda" or "auto"',
            flag=str,
            in_trial=True,
        ),
    )
    clip: float | None = field(
        default=None,
        metadata=_declare(
            "the largest norm of each loss's gradient on the shared parameters",
            fits=lambda value: is_number(value) and value > 0,
            remedy="give a positive number, such as 1.0",
        ),
    )
    fleet: int | None = field(
        default=None,
        metadata=_declare(
            "how many points to train in one program, for small networks",
            fits=partial(is_whole, least=2),
            remedy="give a whole number of at least 2",
            flag=int,
        ),
    )
    ray: dict[str, Any] | None = field(
        default=None,
        metadata=_declare(
            "compute the points on Ray",
            fits=lambda value: isinstance(value, bool | dict),
            remedy="give true, or a table such as { workers = 2 }",
            switch=True,
            argument="executor",
        ),
    )
    front_model: Named | None = field(
        default=None,
        metadata=_declare(
            'one network for all preferences, such as "FiLM" (default: none)',
            fits=is_named,
            remedy='give a name, such as "FiLM", or a table such as '
            '{ name = "LowRank", rank = 8, sampling = { n = 4 } }',
            flag=str,
        ),
    )
    normalise: str | dict[str, list[float]] | None = field(
        default="corners",
        metadata=_declare(
            'the units of preferences: "corners", what there is to gain in each loss, or "none" (default: corners)',
            fits=is_normalise,
            remedy='give "corners", "none", or a range by objective, such as { left = [0.2, 1.5], right = [0.1, 0.9] }',
            flag=str,
        ),
    )
    callbacks: Sequence[Callable[[Any], None]] = field(
        default=(), metadata=_declare("called with a Step after each step")
    )
    command: Mapping[str, Any] | None = field(
        default=None, metadata=_declare("the flags of the command line, for `resume`")
    )


def _read_declarations() -> dict[str, Option]:
    options = {}
    for part in fields(Options):
        declared: dict[str, Any] = dict(part.metadata)
        flag, switch, more_flags = declared.pop("flag"), declared.pop("switch"), declared.pop("more_flags")
        if flag or switch:
            more_flags = (Flag(part.name, flag, declared["help"]), *more_flags)
        declared["argument"] = declared["argument"] or part.name
        options[part.name] = Option(name=part.name, default=part.default, flags=more_flags, **declared)
    return options


OPTIONS = _read_declarations()
FLAGS = tuple(flag for option in OPTIONS.values() for flag in option.flags)
KEYS = {name: option for name, option in OPTIONS.items() if option.fits is not None}  # of study files
REMEMBERED = ("problem", *(flag.name for flag in FLAGS if flag.name != "out"))  # by a front's folder, for `resume`
