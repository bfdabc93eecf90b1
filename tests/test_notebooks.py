"Every notebook runs from top to bottom."
import re, subprocess, sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from anira.profiles import run_config, run_name
from anira.reproduce import execute
from anira.tasks import TASKS
from anira.tracing import trace_checkpoint
from anira.training import train

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "figures"
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

NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?")

@pytest.mark.parametrize("path", notebooks("experiments"), ids=name_of)
def test_committed_tables_are_what_committed_traces_give(path, tmp_path):
    "Another processor may round differently, so numbers agree to a hundredth, words exactly."
    status, errors = papermill(path, tmp_path / "out.ipynb", figures=tmp_path / "figures")
    assert status == 0, errors[-3000:]
    drawn = list((tmp_path / "figures").iterdir())
    assert drawn and all((FIGURES / p.name).is_file() for p in drawn)
    for table in (p for p in drawn if p.suffix in (".csv", ".txt", ".tex")):
        now, then = table.read_text(), (FIGURES / table.name).read_text()
        assert NUMBER.sub("0", now) == NUMBER.sub("0", then), table.name
        assert np.allclose([float(x) for x in NUMBER.findall(now)], [float(x) for x in NUMBER.findall(then)], rtol=1e-3, atol=0.011), table.name

def test_rules_with_weights_of_their_own_reach_the_figure(tmp_path):
    "Studies that train other rules lie beside the traces: one point per trained model."
    tiny = dict(steps=6, batch_size=16, eval_instances=4, compile=False, task_options=dict(max_size=3, held_out=(2,), beyond=(4,)))
    trained = [("laptop", "early", 4), ("laptop-other-rules", "act", 4), ("laptop-other-rules", "fixed", 4), ("laptop-depth-1", "fixed", 1)]
    for profile, variant, depth in trained:
        name = run_name("mano", variant, 0)
        train(run_config("mano", variant, profile, **tiny, model=dict(width=16, n_heads=2, max_depth=depth)), tmp_path / profile / "checkpoints" / name, quiet=True)
        trace_checkpoint(tmp_path / profile / "checkpoints" / name, tmp_path / profile / "traces" / name, n=12)
    status, errors = papermill(ROOT / "nbs" / "experiments" / "fig_isocompute.ipynb", tmp_path / "out.ipynb", traces=tmp_path / "laptop" / "traces", figures=tmp_path / "figures")
    assert status == 0, errors[-3000:]
    drawn = pd.read_csv(tmp_path / "figures" / "fig_isocompute_trained.csv")
    assert sorted(zip(drawn.profile, drawn.variant)) == sorted((profile, variant) for profile, variant, _ in trained)
    assert sorted(drawn.depth[drawn.variant == "fixed"]) == [1, 4]

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
