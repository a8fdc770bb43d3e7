"""Every code block of the README and of the docs runs, in order, in an empty folder; the site builds."""

import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    return FENCE.findall(page.read_text())


def _stop_ray():
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_run(page, request, tmp_path, monkeypatch):
    if "<!-- demo -->" in page.read_text():
        shutil.copytree(request.getfixturevalue("demo")[0], tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    request.addfinalizer(_stop_ray)
    namespace = {"__name__": "page"}
    for language, text in blocks(page):
        if language == "python":
            with warnings.catch_warnings():
                warnings.simplefilter("default")  # a page shows what a user sees; a front's own warnings are no failure
                exec(compile(text, str(page), "exec"), namespace)
        elif language == "console":
            subprocess.run(["bash", "-euc", text], check=True)
        else:
            assert language == "text", f"{page.name} has a block of {language!r}, which nothing runs"


def test_the_readme_example_is_short():
    [example] = [text for language, text in blocks(ROOT / "README.md") if language == "python"]
    assert len([line for line in example.splitlines() if line.strip()]) < 40


def test_the_site_builds(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "site" / "own-model" / "index.html").exists()
