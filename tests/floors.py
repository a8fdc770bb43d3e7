"""The lower bounds of pyproject.toml as constraints for pip, but torch's: python tests/floors.py"""

import re
import tomllib
from pathlib import Path

BOUND = re.compile(r"([\w.-]+)(?:\[\w+\])?>=([\d.]+)")
EXTRAS = ("ray", "frames", "studies", "tensorboard")  # the others are for tests and docs


def constraints(project: dict) -> list[str]:
    """Return a line `name==bound` for each requirement of a user's."""
    requirements = [*project["dependencies"], *(r for e in EXTRAS for r in project["optional-dependencies"][e])]
    bounds = [BOUND.fullmatch(requirement).groups() for requirement in requirements]
    return [f"{name}=={bound}" for name, bound in bounds if name != "torch"]


if __name__ == "__main__":
    print(*constraints(tomllib.loads(Path("pyproject.toml").read_text())["project"]), sep="\n")
