"What is shipped is whole, consistent, and reproduced by the code beside it."
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from anira.analysis import load_traces
from anira.checkpoint import load
from anira.claims import as_markdown
from anira.files import verify_folder
from anira.profiles import RunConfig, grid, run_config, run_name
from anira.provenance import model_cards, verify_all
from anira.tracing import trace

DATA = Path(__file__).resolve().parent.parent / "data"
FIGURES = DATA.parent / "figures"
RUNS = [(p.parts[-4], p.parts[-2]) for p in sorted(DATA.glob("*/checkpoints/*/manifest.json"))]
every_run = pytest.mark.parametrize("profile, run", RUNS, ids=map("/".join, RUNS))


def test_the_main_grid_is_shipped():
    assert {("laptop", run_name(*run)) for run in grid("laptop") if run[0] in ("mano", "brevo")} <= set(RUNS)


def test_everything_is_whole_and_under_100_mb():
    folders = verify_all(DATA)
    assert {p.parent for p in DATA.rglob("*") if p.suffix in (".json", ".parquet", ".safetensors")} == set(folders)
    assert sum(p.stat().st_size for p in DATA.rglob("*") if p.is_file()) < 100e6


@every_run
def test_checkpoint_and_trace_belong_together(profile, run):
    checkpoint, traced = (verify_folder(DATA / profile / kind / run) for kind in ("checkpoints", "traces"))
    assert traced["checkpoint_files"] == checkpoint["files"]
    assert traced["config"] == checkpoint["config"] and checkpoint["provenance"]["dirty"] is False
    assert (checkpoint["config"]["profile"], run_name(checkpoint["config"]["task"], checkpoint["config"]["variant"], checkpoint["seed"])) == (profile, run)


@every_run
def test_shipped_runs_have_the_settings_of_their_profile(profile, run):
    config = RunConfig.from_dict(json.loads((DATA / profile / "checkpoints" / run / "manifest.json").read_text())["config"])
    assert config == run_config(config.task, config.variant, profile, config.seed)


@every_run
def test_shipped_model_gives_its_shipped_trace(profile, run):
    "Another processor may round differently, so a few depths at the very threshold may move."
    model, manifest = load(DATA / profile / "checkpoints" / run)
    task, settings = RunConfig.from_dict(manifest["config"]).make_task(), json.loads((DATA / profile / "traces" / run / "manifest.json").read_text())
    size = task.train_sizes[1]
    now = trace(model, task, settings["instances"], sizes=[size], seed=settings["instance_seed"])
    then = pd.read_parquet(DATA / profile / "traces" / run / "trace.parquet").query("answers == 'forced' and size == @size")
    assert (now.position.to_numpy() == then.position.to_numpy()).all()
    assert np.allclose(now.expected_depth, then.expected_depth, atol=1e-3)
    assert (now.depth.to_numpy() == then.depth.to_numpy()).mean() > 0.99


@every_run
def test_history_covers_training(profile, run):
    history, manifest = (json.loads((DATA / profile / "checkpoints" / run / name).read_text()) for name in ("history.json", "manifest.json"))
    assert history["evaluations"][-1]["step"] == manifest["config"]["steps"]
    assert "generated_accuracy" in history["evaluations"][-1]["sizes"][0]


def test_readme_shows_the_drawn_ledger():
    assert as_markdown(pd.read_csv(FIGURES / "claims.csv")) in (FIGURES.parent / "README.md").read_text()


@pytest.mark.parametrize("profile", sorted({profile for profile, _ in RUNS}))
def test_model_cards_say_what_manifests_and_traces_say(profile):
    assert (DATA / profile / "checkpoints" / "README.md").read_text() == model_cards(profile=profile)


def test_every_figure_comes_with_its_data():
    pictures = sorted(FIGURES.glob("fig_*.png"))
    assert pictures and all(p.with_suffix(".svg").is_file() and len(pd.read_csv(p.with_suffix(".csv"))) for p in pictures)


def test_sweep_and_trace_tell_the_same_story():
    "The default rule's mean depth on answers is the same number in both tables, up to their different instances."
    trained = load_traces(DATA / "laptop" / "traces").query("answers == 'forced' and split == 'trained'")
    sweep = load_traces(DATA / "laptop" / "traces", "sweep").query("split == 'trained'")
    for (task, variant), rows in trained.groupby(["task", "variant"]):
        own = sweep[(sweep.task == task) & (sweep.variant == variant)]
        default = own[own.rule == "mode"] if variant == "early" else own[(own.rule == "threshold") & (own.level == 0.5)]
        assert abs(default.depth.mean() - rows.groupby("size").depth.mean().mean()) < 0.25
