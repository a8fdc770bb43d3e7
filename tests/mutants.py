"""Faults planted one at a time in the code, and whether its tests see them: python -m tests.mutants --help

A mutant changes one comparison, operator, constant, condition or returned value of `solvers/` or `paretomtl/`, drawn at
random. Its tests run in a copy of the repository: first those that mirror the module, then those of its folder, then
those that go the whole way. A mutant that passes all is a survivor: either the change does not matter, or a test lacks.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGES = ("solvers/paretomtl_solvers", "paretomtl")
WHOLE_WAY = ("tests/paretomtl/test_exploration.py", "tests/paretomtl/test_resume.py", "tests/paretomtl/training",
             "tests/paretomtl/test_front.py", "tests/studies/test_analytic.py")  # fmt: skip
SECONDS = 900  # of one run of tests; a mutant may make them hang
SWAPS = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.In: "not in",
    ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is", ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*",
    ast.Pow: "*", ast.And: "or", ast.Or: "and", ast.FloorDiv: "/", ast.BitAnd: "|", ast.BitOr: "&", ast.MatMult: "+",
}  # fmt: skip


class Mutant(NamedTuple):
    """A change of a file: what stands between two offsets, and what takes its place."""

    path: str
    line: int
    start: int
    end: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before!r} -> {self.after!r}"


def list_mutants(path: Path) -> Iterator[Mutant]:
    """Yield all mutants of a file."""
    source = path.read_text(encoding="utf-8")
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    raw = source.encode()

    def at(node: ast.AST, end: bool = False) -> int:
        where = (node.end_lineno, node.end_col_offset) if end else (node.lineno, node.col_offset)  # type: ignore
        return starts[where[0] - 1] + where[1]

    def change(node: ast.AST, start: int, end: int, after: str) -> Mutant:
        return Mutant(path.relative_to(ROOT).as_posix(), node.lineno, start, end, raw[start:end].decode(), after)  # type: ignore

    for node in _nodes(ast.parse(source)):
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in SWAPS:
                yield change(node, at(left, True), at(right), f" {SWAPS[type(op)]} ")
            case ast.BinOp(left=left, op=op, right=right) if type(op) in SWAPS and not _is_text(node):
                between = raw[at(left, True) : at(right)].decode()
                if not set(between) & set("()#\n"):
                    yield change(node, at(left, True), at(right), f" {SWAPS[type(op)]} ")
            case ast.BoolOp(values=[first, second], op=op):
                yield change(node, at(first, True), at(second), f" {SWAPS[type(op)]} ")
            case ast.Constant(value=bool() as value):
                yield change(node, at(node), at(node, True), repr(not value))
            case ast.Constant(value=int() as value):
                yield change(node, at(node), at(node, True), repr(value + 1))
            case ast.Constant(value=float() as value):
                yield change(node, at(node), at(node, True), repr(value * 3))
            case ast.If(test=test) | ast.IfExp(test=test):
                yield change(test, at(test), at(test, True), f"not ({raw[at(test) : at(test, True)].decode()})")
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
                yield change(node, at(value), at(value, True), "None")
            case ast.Expr(value=ast.Call()):
                yield change(node, at(node), at(node, True), "pass")


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what is computed: not annotations, nor messages of errors."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Raise, ast.JoinedStr, ast.AnnAssign, ast.arguments, ast.Import, ast.ImportFrom)):
            continue
        yield node
        yield from _nodes(node)


def _is_text(node: ast.BinOp) -> bool:
    return any(isinstance(x, ast.JoinedStr) or isinstance(getattr(x, "value", None), str) for x in ast.walk(node))


def tests_of(path: str) -> list[list[str]]:
    """List the tests that run for a file, in steps: those of its name, its folder's, the whole way."""
    module = Path(path)
    folder = Path("tests/solvers") if path.startswith("solvers/") else Path("tests") / module.parent
    own = sorted(str(p.relative_to(ROOT)) for p in (ROOT / folder).glob(f"test_{module.stem}*.py"))
    if folder == Path("tests/paretomtl"):
        return [step for step in (own, [str(folder / "test_*.py")]) if step]
    return [step for step in (own, [str(folder)], [*WHOLE_WAY]) if step]


def is_caught(mutant: Mutant, copy: Path) -> str | None:
    """Return the tests that see a mutant, in a copy of the repository; None if none does."""
    file = copy / mutant.path
    source = file.read_bytes()
    file.write_bytes(source[: mutant.start] + mutant.after.encode() + source[mutant.end :])
    try:
        for step in tests_of(mutant.path):
            if _run(copy, _expand(copy, step)) != 0:
                return " ".join(step)
        return None
    finally:
        file.write_bytes(source)


def _expand(copy: Path, names: list[str]) -> list[str]:
    return [str(p.relative_to(copy)) for name in names for p in sorted(copy.glob(name))]


def _run(copy: Path, names: list[str], *more: str) -> int:
    paths = os.pathsep.join([str(copy), str(copy / "solvers")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *more, *names]
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return 1
    return 0 if done.returncode == 5 else done.returncode  # 5: no test was collected


def main() -> None:
    """Plant mutants, print each as it is judged, and the share that was caught."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--match", default="", help="only mutants whose line, as printed, holds this text")
    options = parser.parse_args()
    files = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]
    every = [m for file in files for m in list_mutants(file) if options.match in str(m)]
    drawn = random.Random(options.seed).sample(every, min(options.number, len(every)))
    copies: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory() as home, ThreadPoolExecutor(options.jobs) as pool:
        for k in range(options.jobs):
            ignored = shutil.ignore_patterns(".venv", ".git", "runs", "__pycache__", "site")
            copies.put(Path(shutil.copytree(ROOT, Path(home) / str(k), ignore=ignored)))

        home_tests = sorted({name for m in drawn for step in tests_of(m.path) for name in step})
        if _run(Path(home) / "0", _expand(Path(home) / "0", home_tests), "-n", str(options.jobs)) != 0:
            sys.exit("the tests fail without a mutant")

        def judge(mutant: Mutant) -> bool:
            copy = copies.get()
            try:
                seen = is_caught(mutant, copy)
            finally:
                copies.put(copy)
            print(f"{'caught  ' if seen else 'SURVIVED'} {mutant}", flush=True)
            return seen is not None

        caught = sum(pool.map(judge, drawn))
    print(f"{caught} of {len(drawn)} mutants caught, of {len(every)} that there are")


if __name__ == "__main__":
    main()
