"""Draw the layers of the code, as they are, to docs/tower.svg: `make picture`.

The rungs come from the import contract in pyproject.toml, the sentences from the first line of each docstring, and what
a room stands on from its imports.
"""

import ast
import tomllib
from html import escape
from pathlib import Path
from textwrap import wrap

import grimp

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "tower.svg"
ABOVE = (["studies"], ["paretomtl_solvers"])  # the floors above the engine
PLACES = {"studies": "studies", "paretomtl_solvers": "solvers/paretomtl_solvers"}
WIDTH, GAP = 1180, 14  # of the picture, and between two rooms
LETTER, LINE = 5.6, 13  # the width of a small letter, and the height of its line
STYLE = """
    rect { fill: #eef3f8; stroke: #33536f; rx: 6 }
    text { font: 11px sans-serif; text-anchor: middle; fill: #222 }
    .name { font: bold 14px sans-serif }
    .on { fill: #33536f; font-style: italic }
"""


def rungs() -> list[list[str]]:
    """Return the layers from the top down, each a list of module names."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [engine] = [contract for contract in contracts if contract.get("containers") == ["paretomtl"]]
    layers = [layer.replace(":", "|").split("|") for layer in engine["layers"]]
    return [*ABOVE, *([f"paretomtl.{name.strip()}" for name in layer] for layer in layers)]


def name_of(module: str) -> str:
    """Return the name of a room as its folder or file has it."""
    folder = ROOT / PLACES.get(module, module.replace(".", "/"))
    return module.removeprefix("paretomtl.") + ("/" if folder.is_dir() else ".py")


def sentence_of(module: str) -> str:
    """Return the first line of a room's docstring."""
    folder = ROOT / PLACES.get(module, module.replace(".", "/"))
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0].replace("`", "")


def imports(modules: list[str]) -> dict[str, set[str]]:
    """Return which rooms each room imports."""
    graph = grimp.build_graph("paretomtl", "paretomtl_solvers", "studies", cache_dir=None)

    def room(module: str) -> str:
        return next((name for name in modules if f"{module}.".startswith(f"{name}.")), "")

    found: dict[str, set[str]] = {name: set() for name in modules}
    for module in graph.modules:
        if room(module):
            found[room(module)] |= {room(other) for other in graph.find_modules_directly_imported_by(module)}
    return {name: others - {name, ""} for name, others in found.items()}


def texts_of(module: str, below: set[str], modules: list[str], letters: int) -> list[tuple[str, str]]:
    """Return the lines in a room, each with its kind: what it is, and what it stands on."""
    on = f"on {', '.join(name_of(other) for other in modules if other in below)}" if below else ""
    return [("what", line) for line in wrap(sentence_of(module), letters)] + [
        ("on", line) for line in wrap(on, letters)
    ]


def draw() -> str:
    """Return the picture."""
    layers = rungs()
    modules = [module for layer in layers for module in layer]
    stands_on = {name: others - set(layers[-1]) for name, others in imports(modules).items()}  # all stand on the words
    parts, top = [], GAP
    for layer in layers:
        width = WIDTH / len(layer)
        texts = [texts_of(module, stands_on[module], modules, int((width - GAP - 12) / LETTER)) for module in layer]
        height = 32 + LINE * max(map(len, texts))
        for j, (module, lines) in enumerate(zip(layer, texts, strict=True)):
            left, middle = j * width + GAP / 2, (j + 0.5) * width
            parts.append(f'<rect x="{left:.0f}" y="{top}" width="{width - GAP:.0f}" height="{height}"/>')
            parts.append(f'<text class="name" x="{middle:.0f}" y="{top + 19}">{escape(name_of(module))}</text>')
            for row, (kind, line) in enumerate(lines):
                y = top + 36 + row * LINE
                parts.append(f'<text class="{kind}" x="{middle:.0f}" y="{y}">{escape(line)}</text>')
        top += height + GAP
    body = "\n".join(parts)
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n{body}\n</svg>\n'


if __name__ == "__main__":
    PICTURE.write_text(draw())
