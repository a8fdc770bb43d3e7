"""The wheel, in an environment with what it requires and an empty folder: an editable install hides what a wheel lacks.

What it requires is not downloaded again: the environment has links to the distributions that are installed here, and to
no others, so that one that the wheel needs and does not name is missed.
"""

import os
import re
import subprocess
import sys
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.xdist_group("wheel")  # one environment for all


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def link_requirements(packages: Path) -> None:
    """Link what the wheel requires, and what that requires, from where it is installed here."""
    [wheel] = distributions(path=[str(packages)])
    requiring, linked = [(wheel, frozenset())], set()
    while requiring:
        package, extras = requiring.pop()
        for text in package.requires or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                continue
            if (requirement.name, *requirement.extras) in linked:
                continue
            linked.add((requirement.name, *requirement.extras))
            required = distribution(requirement.name)
            for top in {path.parts[0] for path in required.files or ()} - {"..", "__pycache__"}:
                if not (packages / top).exists():
                    (packages / top).symlink_to(Path(str(required.locate_file(top))))
            requiring.append((required, requirement.extras))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The python of an environment with the wheel and what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    [wheel] = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env")
    python = folder / "env" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    [packages] = (folder / "env" / "lib").glob("python*/site-packages")
    link_requirements(packages)
    run(*pip, "check")
    return python


def test_the_readme_runs_as_it_stands(fresh, tmp_path):
    [example] = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    printed = run(fresh, "-W", "error", "example.py", cwd=tmp_path, env=environment)
    assert "hypervolume" in printed
    assert "lowest purity" in printed
    assert (tmp_path / "front.svg").exists()
    command = fresh.parent / "paretomtl"
    assert "point-001" in run(command, "show", "runs/mine", cwd=tmp_path, env=environment)
    assert "EPO" in run(command, "methods", cwd=tmp_path, env=environment)


def test_the_wheel_has_the_two_packages_and_no_more(fresh):
    found = run(fresh, "-c", "import importlib.util as u; print([bool(u.find_spec(n)) for n in "
                "('paretomtl', 'paretomtl_solvers', 'studies', 'tests', 'ray')])", cwd="/")  # fmt: skip
    assert found.strip() == "[True, True, False, False, False]"


def test_without_ray_the_error_says_what_to_install(fresh):
    printed = run(fresh, "-c", "import paretomtl as pm\ntry: pm.RayTune\nexcept ImportError as e: print(e)", cwd="/")
    assert "pip install 'paretomtl[ray]'" in printed


def test_the_wheel_has_the_parts_of_the_explorer(fresh, tmp_path):
    front = "pm.Front.from_values([[1.0, 2.0], [2.0, 1.0]], ['a', 'b'], [3.0, 3.0])"
    run(fresh, "-c", f"import paretomtl as pm, sys; {front}.plot('front.html'); "
                     "assert 'matplotlib' not in sys.modules", cwd=tmp_path)  # fmt: skip
    assert "</html>" in (tmp_path / "front.html").read_text()
