"The workflow: what a sweep and a reproduction plan, share out, report and leave behind; and what they hand on."
import fcntl, json, os, random, re, subprocess, sys, time

import pytest

from anira.files import _seal, commit_manifest
from anira.config import config_hash
from anira.profiles import PROFILES, grid, run_config, run_name
from anira.provenance import crate_metadata, export_crate, main as provenance, verify_all
from commands import BIN, ROOT, module_at, run, write_notebook

launcher = module_at("workflow/launch.py")


# Requests

@pytest.mark.parametrize("request_, sentence", [
    (["FROM=tracs"], "error: unknown FROM 'tracs': expected one of traces, checkpoints, training, sweep; did you mean 'traces'?"),
    (["FROM=training", "PROFILE=lap top"], "error: unknown PROFILE 'lap top': expected one of smoke, laptop, gpu, paper, laptop-erdos-renyi, laptop-own-rates, laptop-other-rules, laptop-uniform-prior, laptop-depth-1, laptop-depth-2, laptop-depth-4; did you mean 'laptop'?"),
    (["FROM=$(shell false)x;y'z"], "error: unknown FROM \"$(shell false)x;y'z\": expected one of traces, checkpoints, training, sweep"),
    (["FROM=training", "SEEDS=one"], "error: SEEDS = 'one' is not valid: expected whole numbers from 0 to 2147483647 or rising ranges, like 0,1,2 or 0-9"),
    (["SEEDS=1"], "error: SEEDS says what to train, and FROM=traces trains nothing: leave it out, or use FROM=training"),
    (["SEED=1"], "error: unknown make variable 'SEED': expected one of FROM, PROFILE, SEEDS, TASKS, VARIANTS, CORES, GPUS, SLURM, DRY, PYTHON; did you mean 'SEEDS'?"),
    (["PROFILE=paper"], "error: no traces are shipped for the paper profile: use FROM=training PROFILE=paper"),
], ids=["from", "profile", "quotes", "seeds", "unused", "misspelt", "not shipped"])
def test_reproduce_refuses_in_one_sentence(request_, sentence):
    status, said, errors = run("make", "--no-print-directory", "reproduce", f"PYTHON={sys.executable}", *request_)
    assert (status, said) == (2, "")
    assert [line for line in errors.splitlines() if not line.startswith("make")] == [sentence]


def test_launcher_knows_the_profiles():
    assert launcher.PROFILES == tuple(PROFILES)


def request(*argv): return launcher.parse(argv)

@pytest.mark.parametrize("text, seeds", [("", [0]), ("3", [3]), ("0,2", [0, 2]), ("0-3", [0, 1, 2, 3]), ("5,1-2,2", [5, 1, 2])])
def test_seeds_are_numbers_and_ranges(text, seeds): assert request("sweep", f"SEEDS={text}").seeds == seeds

@pytest.mark.parametrize("argv, expected", [
    (["sweep", "PROFILE=laptop", "CORES=3"], ("--cores 3", 3)),
    (["sweep", "PROFILE=gpu"], ("--resources gpu=1", 1)),
    (["sweep", "PROFILE=gpu", "GPUS=4"], ("--resources gpu=4", 4)),
    (["sweep", "PROFILE=laptop", "GPUS=2"], ("gpu=1 devices=2", 2)),
    (["sweep", "PROFILE=gpu", "SLURM=1"], ("gpu=1 devices=0", 2)),
    (["sweep", "PROFILE=laptop", "SLURM=yes"], ("--profile workflow/profiles/slurm", 2)),
])
def test_resources_of_a_request(argv, expected):
    call, slots = launcher.command(request(*argv))
    assert expected[0] in " ".join(call) and slots == expected[1]

def test_gpus_are_shared_out(tmp_path):
    "Three commands on two devices: two at once, each on its own; the third when one is free."
    script = tmp_path / "workflow" / "on_gpu.py"
    script.parent.mkdir()
    script.write_bytes((ROOT / "workflow" / "on_gpu.py").read_bytes())
    body = "import os, pathlib, sys, time; d = os.environ['CUDA_VISIBLE_DEVICES']; p = pathlib.Path(sys.argv[1]); (p / f'{d}.{os.getpid()}').touch(); time.sleep(float(sys.argv[2])); (p / f'{d}.{os.getpid()}').unlink(); print(d)"
    seen = tmp_path / "seen"; seen.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    started = [subprocess.Popen([sys.executable, script, "2", sys.executable, "-c", body, seen, "1.5"], stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    most = []
    while any(p.poll() is None for p in started):
        devices = [name.split(".")[0] for name in os.listdir(seen)]
        assert len(devices) == len(set(devices)) <= 2
        most.append(len(devices)); time.sleep(0.05)
    assert all(p.returncode == 0 for p in started)
    assert {p.stdout.read().strip() for p in started} == {"0", "1"} and max(most) == 2


# Plans

@pytest.fixture
def small_project(copy_of_tree):
    "A copy of the project with two small experiments and two shipped runs."
    for path in (copy_of_tree / "nbs" / "experiments").glob("*.ipynb"): path.unlink()
    for name in ("fig_tiny", "claims"): write_notebook(copy_of_tree / "nbs" / "experiments" / f"{name}.ipynb")
    for kind in ("traces", "checkpoints"):
        for run_name in ("mano-early-s0", "brevo-online-s0"):
            where = copy_of_tree / "data" / "smoke" / kind / run_name
            where.mkdir(parents=True)
            (where / "part").write_text(run_name)
            commit_manifest(where, ["part"])
    return copy_of_tree

GRID = len(grid("smoke"))

def planned(project, source, seeds="[0]"):
    "Jobs by rule, as Snakemake counts them."
    status, said, errors = run(BIN / "snakemake", "-n", *(["runs"] if source == "sweep" else []), "--config", "profile=smoke", f"source={source}", f"seeds={seeds}", cwd=project)
    assert status == 0, said + errors
    counts = re.search(r"^job +count\n[- ]+\n(.*?)\ntotal", said + errors, re.M | re.S)
    return {name: int(n) for name, n in (line.split() for line in counts.group(1).splitlines())} if counts else {}

@pytest.mark.parametrize("source, expected", [
    ("traces", dict(all=1, draw=1, draw_first=1)),
    ("checkpoints", dict(all=1, draw=1, draw_first=1, trace=2)),
    ("sweep", dict(runs=1, take=2, trace=GRID - 2, train=GRID - 2)),
    ("training", dict(all=1, draw=1, draw_first=1, trace=GRID, train=GRID)),
])
def test_workflow_plans(small_project, source, expected):
    assert planned(small_project, source) == expected

def test_workflow_draws_from_shipped_traces_and_holds_the_lock(small_project):
    launch = [sys.executable, "workflow/launch.py", "reproduce", "PROFILE=smoke", "CORES=1"]
    (small_project / "runs").mkdir()
    with open(small_project / "runs" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(*launch, cwd=small_project)[::2] == (2, "error: another make reproduce or make sweep is running in this folder: wait for it to end\n")
    write_notebook(small_project / "nbs" / "experiments" / "claims.ipynb", "raise ValueError('no verdict')")
    status, said, errors = run(*launch, cwd=small_project)
    assert status == 1 and "no verdict" in said + errors
    made = small_project / "runs" / "smoke"
    assert (made / "figures" / "tiny.csv").read_text() == "data/smoke/traces"
    assert (made / "notebooks" / "fig_tiny.ipynb").exists() and not (made / "notebooks" / "claims.ipynb").exists()
    assert (made / "logs" / "notebooks" / "claims.ipynb").exists()
    write_notebook(small_project / "nbs" / "experiments" / "claims.ipynb", "from pathlib import Path; Path(figures, 'claims.txt').write_text('C0 SUPPORTED')")
    status, said, errors = run(*launch, cwd=small_project)
    assert status == 0 and said.endswith("C0 SUPPORTED"), errors
    assert planned(small_project, "traces") == {}
    (study := small_project / "data" / "smoke-otherwise" / "traces" / "mano-early-s0").mkdir(parents=True)
    commit_manifest(study, [])
    assert planned(small_project, "traces") == dict(all=1, draw=1, draw_first=1)  # what lies beside the traces is compared with them

def test_shipped_runs_are_never_trained_whatever_their_times(small_project):
    for name in {run_name(*run) for run in grid("smoke")} - {"mano-early-s0", "brevo-online-s0"}: (small_project / "data" / "smoke" / "traces" / name).mkdir(); commit_manifest(small_project / "data" / "smoke" / "traces" / name, [])
    for i, path in enumerate(sorted((p for p in small_project.rglob("*") if p.is_file()), key=lambda p: random.Random(str(p)).random())): os.utime(path, (1e9 + i * 1e6,) * 2)
    assert planned(small_project, "sweep") == dict(runs=1, take=GRID)
    for kind in ("traces", "checkpoints"): (small_project / "data" / "smoke" / kind / "mano-early-s0" / "manifest.json").unlink()
    assert planned(small_project, "sweep") == dict(runs=1, take=GRID - 1, train=1, trace=1)


# A sweep

def test_a_sweep_trains_once_says_how_far_it_is_and_leaves_its_measurements(copy_of_tree):
    sweep = [sys.executable, "workflow/launch.py", "sweep", "PROFILE=smoke", "TASKS=mano", "VARIANTS=early", "SEEDS=1", "CORES=1"]
    status, said, errors = run(*sweep, "DRY=1", cwd=copy_of_tree)
    assert status == 0 and "mano-early: 1 new; cost unknown, nothing recorded\nto train: 1 of 1 runs; 1 of unknown cost come on top" in said
    assert not (copy_of_tree / "runs" / "smoke").exists()
    status, said, errors = run(*sweep, cwd=copy_of_tree)
    assert status == 0, errors[-3000:]
    assert "sweep: 1/1 runs finished, 100% trained, training done" in errors
    made = copy_of_tree / "runs" / "smoke"
    for rule in ("train", "trace-sweep"): assert (made / "benchmarks" / rule / "mano-early-s1.tsv").read_text().startswith("s\t")
    assert "step 30/30" in (made / "logs" / "train" / "mano-early-s1.log").read_text()
    before = (made / "traces" / "mano-early-s1" / "manifest.json").stat().st_mtime_ns
    status, said, errors = run(*sweep, cwd=copy_of_tree)
    assert status == 0 and "Nothing to be done" in errors and (made / "traces" / "mano-early-s1" / "manifest.json").stat().st_mtime_ns == before


# What is handed on

def test_every_shipped_folder_fits_its_manifest():
    found = verify_all(ROOT / "data", ROOT)
    assert found and set(found.values()) <= {"in the history", "not in the history"}

@pytest.fixture
def project(tmp_path):
    "A project with one run and a figure."
    root, config = tmp_path / "project", run_config("mano", "early").to_dict()
    for name in ("data/smoke/traces/mano-early-s0/table", "figures/a.svg", "LICENSE"): (root / name).parent.mkdir(parents=True, exist_ok=True); (root / name).write_text("x")
    commit_manifest(root / "data/smoke/traces/mano-early-s0", ["table"], config=config, run=dict(task="mano"), cost=dict(seconds=1.5), provenance=dict(commit="0" * 40, device="cpu", hardware="x"))
    return root

@pytest.mark.parametrize("change, sentence", [
    (lambda m: m["config"].update(seed=1), "does not have the hash recorded there"),
    (lambda m: m["config"].update(stps=1) or m.update(config_hash=config_hash(m["config"])), "cannot be read by this version: unknown setting of RunConfig 'stps'"),
    (lambda m: m["config"].update(steps=0) or m.update(config_hash=config_hash(m["config"])), "cannot be read by this version: steps = 0"),
    (lambda m: m["files"].update(table="0" * 64), "does not have the sha256"),
], ids=["hash", "name", "range", "bytes"])
def test_an_altered_manifest_is_found(project, change, sentence):
    path = project / "data/smoke/traces/mano-early-s0/manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="does not have the content it was sealed with"): verify_all(project / "data", project)
    path.write_text(json.dumps({**manifest, "seal": _seal(manifest)}))
    with pytest.raises(ValueError, match=re.escape(sentence)): verify_all(project / "data", project)

def test_the_crate_is_an_ro_crate(project, tmp_path, capsys):
    "What RO-Crate 1.1 demands: root descriptor, root dataset, required properties, unique and flat entities, files that are there."
    crate = export_crate(tmp_path / "crate", project, date="2026-01-02")
    metadata = json.loads((crate / "ro-crate-metadata.json").read_text())
    assert "https://w3id.org/ro/crate/1.1/context" in metadata["@context"] and set(metadata) == {"@context", "@graph"}
    entities = {entity["@id"]: entity for entity in metadata["@graph"]}
    assert len(entities) == len(metadata["@graph"]) and all(entity["@type"] for entity in entities.values())
    descriptor, dataset = entities["ro-crate-metadata.json"], entities["./"]
    assert descriptor["@type"] == "CreativeWork" and descriptor["about"] == {"@id": "./"} and descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert dataset["@type"] == "Dataset" and dataset["datePublished"] == "2026-01-02" and dataset["name"] and dataset["description"] and dataset["license"]["@id"] in entities
    files = {name for name, entity in entities.items() if "File" in entity["@type"]}
    assert files == {p.relative_to(crate).as_posix() for p in crate.rglob("*") if p.is_file()} - {"ro-crate-metadata.json"}
    reached, todo = set(), ["./"]
    while todo:
        for part in entities[todo.pop()].get("hasPart", []): reached.add(part["@id"]); todo.append(part["@id"])
    assert files <= reached
    for entity in entities.values():
        for value in entity.values():
            assert not isinstance(value, dict) or set(value) == {"@id"}, "entities are flat"
    assert crate_metadata(project, "2026-01-02") == metadata
    assert provenance(["crate", str(crate)]) == 2 and "exists: choose another folder" in capsys.readouterr().err
