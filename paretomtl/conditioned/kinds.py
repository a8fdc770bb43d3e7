"""The kinds of front models, as a front's folder names them."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from paretomtl.conditioned.film import FiLM
from paretomtl.conditioned.front_model import FrontModel
from paretomtl.conditioned.hypernetwork import Hypernetwork
from paretomtl.conditioned.inputs import Inputs
from paretomtl.conditioned.low_rank import LowRank
from paretomtl.conditioned.sampling import Sampling

KINDS: dict[str, Any] = {kind.__name__: kind for kind in (FiLM, Hypernetwork, Inputs, LowRank)}


def to_options(front_model: FrontModel) -> dict[str, Any]:
    """A front model as values of JSON.

    Raises:
        TypeError: one that is not of these kinds, and could not be read again.
    """
    kind = type(front_model).__name__
    if KINDS.get(kind) is not type(front_model):
        raise TypeError(f"front_model={front_model!r} is not one of {', '.join(KINDS)}, and could not be loaded again")
    found = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(front_model).items()}
    return {"kind": kind, **found}


def from_options(found: Mapping[str, Any]) -> FrontModel:
    """The front model of these values.

    Raises:
        ValueError: they are not of one.
    """
    kind = found.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"front_model {str(kind)[:40]!r} is not one of {', '.join(KINDS)}")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items() if key != "kind"}
    unknown = set(given) - {field.name for field in fields(KINDS[kind])}
    if unknown or not isinstance(given.get("sampling"), dict):
        raise ValueError(f"front_model {kind} has no options {sorted(map(str, unknown))[:5]}, or lacks its sampling")
    try:
        given["sampling"] = Sampling(**given["sampling"])  # type: ignore[arg-type]
        return KINDS[kind](**given)
    except TypeError as error:
        raise ValueError(f"front_model {kind}: {error}") from error
