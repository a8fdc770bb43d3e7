"""Kinds of front models: the name by which a front's folder knows a class, and its options as JSON.

Our own kinds have a bare name, "FiLM"; a kind of one's own has a qualified one, "mypackage.mine:Mine". A name that
stands in a folder never makes us import a module: it is looked up among our own kinds, the classes that the process has
imported, and those that installed packages register.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from paretomtl.conditioned.film import FiLM
from paretomtl.conditioned.front_model import FrontModel
from paretomtl.conditioned.hypernetwork import Hypernetwork
from paretomtl.conditioned.inputs import Inputs
from paretomtl.conditioned.low_rank import LowRank
from paretomtl.conditioned.sampling import Sampling
from paretomtl.errors import DamagedFileError

GROUP = "paretomtl.front_models"  # of entry points; each names a module, whose `__all__` names front models
FRONT_MODELS: dict[str, type[FrontModel]] = {kind.__name__: kind for kind in (FiLM, Hypernetwork, Inputs, LowRank)}
MAIN = ("__main__", "__mp_main__")  # names of the script that runs
LONGEST_NAME = 100  # characters of a name in a message


def find_front_model(name: str) -> type[FrontModel]:
    """Return the class of a front model by its name, without importing what the name says.

    Args:
        name: of one of our own kinds, such as "FiLM"; of a registered class; or the qualified name, such as
            "mypackage.mine:Mine", of a class that is registered or imported already.

    Raises:
        ValueError: there is no such class.
    """
    known = _list_imported()
    if name in known:
        return known[name]
    registered = load_registered()
    known = registered | _list_imported()
    if name in known:
        return known[name]
    module, colon, _ = name.partition(":")
    if colon and all(part.isidentifier() for part in module.split(".")):
        raise ValueError(
            f"front_model {name[:LONGEST_NAME]!r} is a class that is not imported here, and no module is imported "
            "because a file names it; import the module that defines it first, or register it under the entry points "
            f"{GROUP!r}"
        )
    raise ValueError(f"front_model {name[:40]!r} is not one of {', '.join(FRONT_MODELS | registered)}")


def load_registered() -> dict[str, type[FrontModel]]:
    """Import the modules that installed packages register under GROUP; return their front models by bare name."""
    modules = [entry.load() for entry in entry_points(group=GROUP)]
    members = {name: getattr(module, name) for module in modules for name in module.__all__}
    return {name: kind for name, kind in members.items() if isinstance(kind, type) and issubclass(kind, FrontModel)}


def name_of(kind: type[FrontModel]) -> str:
    """Return the name by which a front's folder knows a class: bare for our own kinds, qualified for any other."""
    if FRONT_MODELS.get(kind.__name__) is kind:
        return kind.__name__
    return f"{importable_name(kind.__module__)}:{kind.__qualname__}"


def _list_imported() -> dict[str, type[FrontModel]]:
    """All front models that this process has imported, by name; of two with one name, the one defined last."""
    kinds = FrontModel.__subclasses__()
    for kind in kinds:  # it grows on the way
        kinds += kind.__subclasses__()
    return {name_of(kind): kind for kind in kinds}


def importable_name(module: str) -> str:
    """Return a module's name; for the script that runs, the one by which another process could import it."""
    if module not in MAIN:
        return module
    main = sys.modules.get(module)
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return spec.name if spec else Path(file).stem if file else "__main__"


def to_options(front_model: FrontModel) -> dict[str, Any]:
    """Return a front model as values of JSON, from which `from_options` makes it again.

    Raises:
        TypeError: it could not be made again; with the remedy.
    """
    kind = type(front_model)
    name, subject = name_of(kind), f"front_model={front_model!r}"
    if "<locals>" in name:
        raise TypeError(f"{subject}: its class is defined within a function, and could not be found again by its name; "
                        "define it at the top of a module")  # fmt: skip
    if "__dataclass_params__" not in vars(kind):
        raise TypeError(f"{subject}: {kind.__name__} is no dataclass; write @dataclass(frozen=True) above the class")
    for field in fields(front_model):
        value = getattr(front_model, field.name)
        if field.name != "sampling" and not all(map(_is_simple, value if type(value) is tuple else [value])):
            raise TypeError(f"{subject}: the option {field.name}={value!r} cannot be stored; give a text, a finite "
                            "number, a bool, None, or a tuple of these")  # fmt: skip
        if field.name == "kind":
            raise TypeError(f"{subject}: the option 'kind' has the name under which the class is stored; rename it")
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(front_model).items()}
    try:
        again = _make(kind, options)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{subject} cannot be made again from its options {options}: {error}") from error
    if again != front_model:
        raise TypeError(f"{subject} is not equal to {again!r}, which its options make; let its fields be its arguments")
    return {"kind": name, **options}


def from_options(stored: Mapping[str, Any]) -> FrontModel:
    """Make a front model of what `to_options` returned.

    Raises:
        DamagedFileError: one of our own kinds never had such options.
        ValueError: its class is not known here, or does not take such options any more.
    """
    kind = find_front_model(str(stored.get("kind")))
    name = str(stored["kind"])[:LONGEST_NAME]
    options = {key: value for key, value in stored.items() if key != "kind"}
    try:
        unknown = set(options) - {field.name for field in fields(kind)}
        if unknown or not isinstance(options.get("sampling"), dict):
            raise ValueError(f"it has no options {sorted(map(str, unknown))[:5]}, or lacks its sampling")
        return _make(kind, options)
    except (TypeError, ValueError) as error:
        if name in FRONT_MODELS:
            raise DamagedFileError(f"the stored front_model {name} is damaged: {error}") from error
        raise ValueError(f"front_model {name} does not take its stored options: {error}") from error


def _make(kind: type[FrontModel], options: Mapping[str, Any]) -> FrontModel:
    arguments: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in options.items()}
    return kind(**arguments | {"sampling": Sampling(**options["sampling"])})


def _is_simple(value: Any) -> bool:
    return value is None or type(value) in (str, bool, int) or (type(value) is float and math.isfinite(value))
