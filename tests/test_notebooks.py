"Every notebook runs from top to bottom."
import subprocess, sys
from pathlib import Path

import pytest

from anira.reproduce import execute
from anira.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
def notebooks(folder): return sorted((ROOT / "nbs" / folder).glob("*.ipynb"))
def name_of(path): return path.stem

def papermill(path, executed, /, **parameters):
    "Plain papermill, as a user would call it: exit code and errors."
    given = [part for name, value in parameters.items() for part in ("-p", name, value)]
    done = subprocess.run([str(c) for c in (sys.executable, "-m", "papermill", path, executed, *given)], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stderr

@pytest.mark.parametrize("path", notebooks("."), ids=name_of)
def test_library(path):
    execute(path)

@pytest.mark.parametrize("path", notebooks("experiments"), ids=name_of)
def test_experiment_by_plain_papermill(path, tmp_path):
    status, errors = papermill(path, tmp_path / "out.ipynb", profile="smoke", figures=tmp_path / "figures")
    assert status == 0, errors[-3000:]

@pytest.mark.parametrize("path", notebooks("guides"), ids=name_of)
def test_guide(path):
    execute(path)

@pytest.mark.parametrize("path", notebooks("benchmarks"), ids=name_of)
def test_benchmark_runs(path, tmp_path):
    "Shows that it works; what it measures here means nothing."
    status, errors = papermill(path, tmp_path / "out.ipynb", quick=True, figures=tmp_path / "figures")
    assert status == 0, errors[-3000:]
    assert {p.suffix for p in (tmp_path / "figures").iterdir()} == {".svg", ".png", ".csv"}


TRAIN = ROOT / "nbs" / "guides" / "train_a_model.ipynb"

@pytest.mark.parametrize("task", TASKS)
def test_the_guide_trains_every_family(task, tmp_path):
    status, errors = papermill(TRAIN, tmp_path / "out.ipynb", task=task, variant="early", changes="steps=6 eval_every=3", out=tmp_path / "run")
    assert status == 0, errors[-3000:]
    assert (tmp_path / "run" / "manifest.json").is_file()

@pytest.mark.parametrize("parameters, sentence", [
    (dict(task="brevvo"), "unknown task 'brevvo': expected one of mano, brevo"),
    (dict(changes="steps=0"), "steps = 0 is not valid: expected at least 1"),
], ids=["name", "value"])
def test_the_guide_refuses_in_one_sentence(parameters, sentence, tmp_path):
    status, errors = papermill(TRAIN, tmp_path / "out.ipynb", **parameters)
    assert status != 0 and f"ParameterError: {sentence}" in errors
