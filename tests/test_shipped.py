"What is shipped is whole, consistent, and reproduced by the code beside it."
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from anira.analysis import load_traces
from anira.checkpoint import load
from anira.files import verify_folder
from anira.profiles import RunConfig, grid, run_name
from anira.provenance import model_cards
from anira.tracing import trace

DATA = Path(__file__).resolve().parent.parent / "data" / "laptop"
FIGURES = DATA.parent.parent / "figures"
RUNS = sorted(p.parent.name for p in DATA.glob("checkpoints/*/manifest.json"))


def test_the_main_grid_is_shipped():
    assert {run_name(*run) for run in grid("laptop") if run[0] in ("mano", "brevo")} <= set(RUNS)


@pytest.mark.parametrize("run", RUNS)
def test_checkpoint_and_trace_verify_and_belong_together(run):
    checkpoint, traced = verify_folder(DATA / "checkpoints" / run), verify_folder(DATA / "traces" / run)
    assert traced["checkpoint_files"] == checkpoint["files"]
    assert traced["config"] == checkpoint["config"] and checkpoint["provenance"]["dirty"] is False
    assert run_name(checkpoint["config"]["task"], checkpoint["config"]["variant"], checkpoint["seed"]) == run


@pytest.mark.parametrize("run", RUNS)
def test_shipped_model_gives_its_shipped_trace(run):
    "Another processor may round differently, so a few depths at the very threshold may move."
    model, manifest = load(DATA / "checkpoints" / run)
    task, settings = RunConfig.from_dict(manifest["config"]).make_task(), json.loads((DATA / "traces" / run / "manifest.json").read_text())
    size = task.train_sizes[1]
    now = trace(model, task, settings["instances"], sizes=[size], seed=settings["instance_seed"])
    then = pd.read_parquet(DATA / "traces" / run / "trace.parquet").query("answers == 'forced' and size == @size")
    assert (now.position.to_numpy() == then.position.to_numpy()).all()
    assert np.allclose(now.expected_depth, then.expected_depth, atol=1e-3)
    assert (now.depth.to_numpy() == then.depth.to_numpy()).mean() > 0.99


@pytest.mark.parametrize("run", RUNS)
def test_history_covers_training(run):
    history, config = json.loads((DATA / "checkpoints" / run / "history.json").read_text()), json.loads((DATA / "checkpoints" / run / "manifest.json").read_text())["config"]
    assert history["evaluations"][-1]["step"] == config["steps"]
    assert "generated_accuracy" in history["evaluations"][-1]["sizes"][0]


def test_readme_shows_the_drawn_ledger():
    assert (FIGURES / "claims.md").read_text() in (FIGURES.parent / "README.md").read_text()


def test_model_cards_say_what_manifests_and_traces_say():
    assert (DATA / "checkpoints" / "README.md").read_text() == model_cards()


def test_every_figure_comes_with_its_data():
    pictures = sorted(FIGURES.glob("fig_*.png"))
    assert pictures and all(p.with_suffix(".svg").is_file() and len(pd.read_csv(p.with_suffix(".csv"))) for p in pictures)


def test_sweep_and_trace_tell_the_same_story():
    "The default rule's mean depth on answers is the same number in both tables, up to their different instances."
    trained = load_traces(DATA / "traces").query("answers == 'forced' and split == 'trained'")
    sweep = load_traces(DATA / "traces", "sweep").query("split == 'trained'")
    for (task, variant), rows in trained.groupby(["task", "variant"]):
        own = sweep[(sweep.task == task) & (sweep.variant == variant)]
        default = own[own.rule == "mode"] if variant == "early" else own[(own.rule == "threshold") & (own.level == 0.5)]
        assert abs(default.depth.mean() - rows.groupby("size").depth.mean().mean()) < 0.25
