"""Write the lists of the docs, as the code has them: `make methods`.

`method-list.md` has each method in a row, from its class and its docstrings. `papers.md` has the papers of
`papers.csv`, each with what runs it and how sure the formula of that is.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import paretomtl_solvers as ps
from paretomtl.cli.method_list import describe

DOCS = Path(__file__).parent
PAPERS = DOCS / "papers.csv"
# What can be run: a class, a study, a command.
RUN = re.compile(r"\b(?:ps|pm)(?:\.\w+)+|\bpython -m [\w.]+|\bparetomtl \w+(?: --\w+)*")
TO_COME, NOT_REPRODUCED, NEAREST, NONE = ": to come", "not reproduced: ", "nearest: ", "none: "
SURE = """| confidence | what the formula rests on |
| --- | --- |
| released code | it was read in the authors' released code |
| derived | it follows from the paper's equations, or is a textbook's; derived anew, and checked by numbers |
| interpretation | the paper leaves something open, or was not to be read in full: the docstring says what is ours |
"""
LISTINGS = {
    "CoGrad": "Around CoGrad: gradients that are balanced",
    "DMTL": "Around DMTL: distillation",
    "Trajectories": "Around the trajectories: diagnosis",
    "FairGrad": "Around FairGrad: fairness",
}


def method_page() -> str:
    """Return the page of all methods."""
    methods = [describe(name, getattr(ps, name)) for name in sorted(ps.__all__, key=str.casefold)]
    header = ["method", "what it does", "paper", "class", "preference", "needs", "cost", "state", "heads", "confidence"]
    rows = [
        [
            f"`{m.name}`",
            m.about,
            m.paper,
            m.kind,
            m.preference,
            "; ".join(m.needs),
            m.cost,
            "yes" if m.state else "no",
            m.heads,
            m.confidence,
        ]
        for m in methods
    ]
    absent = [[p.name, p.paper, p.why, p.nearest] for p in ps.NOT_REPRODUCED]
    return f"""# All methods

<!-- written by `make methods` -->

{len(methods)} methods, by name. [Methods](methods.md) says how to use them, [Which method](which.md) which one to take,
and [the map of papers](papers.md) which paper is where. `paretomtl methods` prints this list for what is installed, and
with `--json` each method's options and their defaults; `help(ps.EPO)` explains them.

- **Class**: [what the method sees](authors.md#a-method).
- **Preference**: [what a preference asks for](methods.md); "none" where the method ignores it.
- **Cost**: what a step takes beside one pass forward, with m losses and n shared parameters. "Memory m n" holds all
  gradients at once.
- **State**: whether a step depends on earlier ones.
- **Heads**: the gradient of a parameter that only one loss depends on, [plain or weighted](methods.md#heads).

{SURE}
{_table(header, rows)}
## Not reproduced

A name stands above only where the method is the paper's. For these it would not be:

{_table(["name", "paper", "why", "what is near"], absent)}"""


def paper_page() -> str:
    """Return the page of the papers."""
    papers = read_papers()
    kinds = [_kind(row["here"]) for row in papers]
    runs, to_come, not_here = map(kinds.count, ("runs", "to come", "not here"))
    parts = []
    for listing, heading in LISTINGS.items():
        rows = [
            [row["paper"], row["what"], _here(row["here"]), row["confidence"] or confidence_of(row["here"])]
            for row in papers
            if row["listing"] == listing
        ]
        parts.append(f"## {heading}\n\n{_table(['paper', 'what it is', 'here', 'confidence'], rows)}")
    return f"""# {len(papers)} papers

<!-- written by `make methods` from papers.csv -->

Four systems began this library: CoGrad, DMTL, a study of optimization trajectories, and FairGrad. These are they, and
the papers that are read with each. Of the {len(papers)}, {runs} run here by a class or a command, {to_come} are to
come, and {not_here} are not here: with the reason, and what is near. Methods beyond these papers are under
[All methods](method-list.md). A name in short stands for a paper whose full title we have not checked. In Python, `ps`
is `paretomtl_solvers` and `pm` is `paretomtl`.

{SURE}| not reproduced | what is here is near, and not the paper's method |

""" + "\n".join(parts)


def read_papers() -> list[dict[str, str]]:
    """Return the rows of `papers.csv`."""
    with PAPERS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def confidence_of(here: str) -> str:
    """Return what the classes that run a paper say of their formula."""
    names = re.findall(r"\bps\.(\w+)", here)
    return "; ".join(dict.fromkeys(getattr(ps, name).confidence for name in names if hasattr(ps, name)))


def _kind(here: str) -> str:
    if here.startswith((NOT_REPRODUCED, NEAREST, NONE)):
        return "not here"
    return "to come" if here.endswith(TO_COME) else "runs"


def _here(here: str) -> str:
    """Return the cell of what is here: what runs as code, and in full what cannot be reproduced."""
    if here.startswith(NOT_REPRODUCED):
        [paper] = [p for p in ps.NOT_REPRODUCED if p.name == here.removeprefix(NOT_REPRODUCED)]
        return f"not reproduced: {paper.why}. Nearest: {paper.nearest}"
    return RUN.sub(lambda run: f"`{run[0]}`", here.removeprefix(NONE))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_escape(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escape(text: str) -> str:
    """Return a text as a table's cell; what is in backticks is code already."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*|\[\]])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


PAGES = {DOCS / "method-list.md": method_page, DOCS / "papers.md": paper_page}

if __name__ == "__main__":
    for page, make in PAGES.items():
        page.write_text(make(), encoding="utf-8")
