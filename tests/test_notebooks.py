"Every notebook runs from top to bottom."
import subprocess, sys
from pathlib import Path

import pytest

from anira.reproduce import execute

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = sorted((ROOT / "nbs" / "experiments").glob("*.ipynb"))

@pytest.mark.parametrize("path", sorted((ROOT / "nbs").glob("[0-9]*.ipynb")), ids=lambda p: p.stem)
def test_library(path):
    execute(path)

@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_experiment_by_plain_papermill(path, tmp_path):
    command = [sys.executable, "-m", "papermill", path, tmp_path / "out.ipynb", "-p", "profile", "smoke", "-p", "figures", tmp_path / "figures"]
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
