"As in Colab: versions that were there before, the wheel of this project on top, every experiment and guide with papermill's defaults. `make test-colab` runs it."
import os, subprocess, sys
from pathlib import Path

import pytest

from commands import ROOT, run
from conftest import copy_sources

pytestmark = pytest.mark.colab
CONSTRAINTS = ROOT / "tests" / "data" / "colab-constraints.txt"
NOTEBOOKS = sorted(p.relative_to(ROOT) for folder in ("experiments", "guides") for p in (ROOT / "nbs" / folder).glob("[!.]*.ipynb"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    "A copy of the source files without the package, which is installed instead."
    tree = copy_sources(tmp_path_factory.mktemp("colab") / "anira")
    subprocess.run(["git", "init", "-q", tree], check=True)
    return tree


@pytest.fixture(scope="module")
def python(clone):
    "The interpreter of a fresh environment: what was preloaded, then our wheel."
    folder = clone.parent / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-q", "-c", CONSTRAINTS]
    preloaded = [line.split("==")[0] for line in CONSTRAINTS.read_text().splitlines() if "==" in line]
    subprocess.run([*pip, *preloaded, "ipykernel", "papermill", "setuptools>=77", "wheel"], check=True)
    before = versions(folder / "bin" / "python")
    subprocess.run([*pip, "--no-build-isolation", "."], cwd=clone, check=True)
    assert versions(folder / "bin" / "python") == before, "installing this project changed what was preloaded"
    for path in (clone / "anira").iterdir(): path.unlink() if path.is_file() else None
    (clone / "anira").rmdir()
    return folder / "bin" / "python"


def versions(python):
    "Installed packages other than this one."
    listed = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if not line.startswith("anira")]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_as_in_colab(notebook, clone, python, tmp_path):
    status, said, errors = run(python, "-m", "papermill", notebook, tmp_path / "out.ipynb", cwd=clone, PATH=f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}")
    assert status == 0, errors[-3000:]
