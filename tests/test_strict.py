"""Ten thousand malformed inputs, wherever a user types: each is refused in one sentence with exit code 2, and none executes anything."""
import contextlib, io, json, os, sys, tomllib

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

import anira.claims, anira.reproduce, anira.tracing, anira.training
from anira.config import coerce, parse_assignments
from anira.halting import HALTING
from anira.papermill import NameRefused, StrictPython
from anira.profiles import PROFILES, RunConfig, run_config
from anira.reproduce import check_values, inside
from anira.tasks import TASKS, make_task
from commands import ROOT, module_at, run

launcher = module_at("workflow/launch.py")
CANARY = "canary"
EVIL = [f"__import__('os').system('touch {CANARY}')", f"$(touch {CANARY})", f"`touch {CANARY}`", f"; touch {CANARY}", f"x = 1\nimport os\nos.system('touch {CANARY}')", f"' ; touch {CANARY} ; '",
        f"$(shell touch {CANARY})", f"{{{{open('{CANARY}','w')}}}}", f"!!python/object/apply:os.system ['touch {CANARY}']", f"%run {CANARY}", f"!touch {CANARY}", f"lambda: open('{CANARY}','w')",
        "../../etc/passwd", "/etc/passwd", "a\x00b", "\x1b[2J\x1b[31m", "\u202egnp", "\udcff", "A" * 100_000, "9" * 5000, "1e999", "-1e999", "nan", "-inf", "1.5", "0x10", "½", "True", "[[[[", "{", "%s%n{0}{x}", "--help=", "-", "--", "="]
hostile = st.one_of(st.sampled_from(EVIL), st.text(min_size=1, max_size=12), st.text("abcdefghijklmnopqrstuvwxyz_=.,-0123456789", min_size=1, max_size=12))
values = st.one_of(hostile, st.none(), st.booleans(), st.floats(), st.integers(-10, -1), st.just(10**5000), st.binary(max_size=4), st.lists(hostile, max_size=2), st.dictionaries(hostile, hostile, max_size=2))

def misspelt(names):
    "Names with one letter dropped, doubled or swapped for another."
    def change(name, at, how): return {0: name[:at] + name[at + 1:], 1: name[:at] + name[at:at + 1] * 2 + name[at + 1:], 2: name[:at] + "q" + name[at + 1:]}[how]
    return st.builds(lambda name, at, how: change(name, at % len(name), how), st.sampled_from(sorted(names)), st.integers(0, 30), st.integers(0, 2))


# Surfaces: a strategy for malformed inputs, and the call that takes one. A call returns normally (accepted), or raises, or returns an exit code.

ANNOTATIONS = (int, float, bool, int | None, float | None, tuple[int, ...], list[float], tuple[bool, ...], dict)
RUN = {"batch_size": "8", "steps": "3", "optimizer": "adamw", "learning_rate": "1e-3", "precision": "fp32", "compile": "false", "model": {"width": "32", "n_heads": "2"}, "task_options": {"max_size": "4"}}
NUMBERS = ["steps", "batch_size", "learning_rate", "seed", "compile", "optimizer", "precision", "device", "model", "task_options", "threads", "eval_every"]
TYPES = dict(profile=str, task=str, variant=str, seed=int, rate=float, flag=bool, sizes=tuple[int, ...])
OPTIONS = [(task, name) for task in TASKS for name in make_task(task).options.__dataclass_fields__]
NESTED = [f"model.{name}" for name in ("width", "n_heads", "max_depth", "rule", "kv", "inject", "threshold")] + [f"task_options.{name}" for name in ("max_size", "modulus", "held_out", "beyond", "length_token")]

a_setting = st.one_of(st.tuples(st.sampled_from(NUMBERS), values), st.tuples(st.one_of(hostile, misspelt(RunConfig.__dataclass_fields__)), values))
a_name = lambda names: st.one_of(hostile, misspelt(names))
an_assignment = st.one_of(hostile, st.builds("{}={}".format, st.one_of(misspelt(NUMBERS), st.sampled_from(NUMBERS[:4] + NESTED)), hostile))

def with_(command, **valid):
    "A command line in which one option is misspelt, one value is malformed, or something comes on top."
    flat = lambda pairs: [*command, *(part for name, value in pairs for part in (f"--{name}", value))]
    wrong_value = lambda name: hostile.map(lambda value: flat({**valid, name: value}.items()))
    wrong_name = st.tuples(misspelt(valid), st.sampled_from(sorted(valid))).map(lambda t: flat({**{k: v for k, v in valid.items() if k != t[1]}, t[0]: "1"}.items()))
    more = hostile.map(lambda value: [*flat(valid.items()), value])
    return wrong_value, wrong_name, more

def training_lines():
    wrong_value, wrong_name, more = with_([], task="mano", variant="early", profile="smoke", seed="0", out="run")
    return st.one_of(*(wrong_value(name) for name in ("task", "variant", "profile", "seed")), wrong_name, more,
                     st.lists(an_assignment, min_size=1, max_size=2).map(lambda pairs: ["--task", "mano", "--variant", "early", "--out", "run", "--set", *pairs]))

def tracing_lines():
    wrong_value, wrong_name, more = with_([], checkpoint="nowhere", out="tables", instances="3")
    return st.one_of(wrong_value("checkpoint"), wrong_value("instances"), wrong_name, more)

def claims_lines():
    wrong_value, wrong_name, more = with_([], traces="nowhere")
    return st.one_of(wrong_value("traces"), wrong_name, more)

def reproduce_lines():
    a_parameter = st.one_of(st.tuples(st.sampled_from(["profile", "seed"]), hostile), st.tuples(a_name(["profile", "seed"]), hostile))
    return st.one_of(hostile.map(lambda name: ["notebook", name, "out.ipynb"]), a_name(["notebook", "refresh"]).map(lambda word: [word]), hostile.map(lambda name: ["refresh", name]),
                     a_parameter.map(lambda p: ["notebook", "tiny.ipynb", "out.ipynb", "-p", *p]), hostile.map(lambda name: ["notebook", "tiny.ipynb", name]))

def launch_lines():
    pair = st.builds("{}={}".format, st.sampled_from(["FROM", "PROFILE", "SEEDS", "TASKS", "VARIANTS", "CORES", "GPUS", "SLURM", "DRY"]), hostile)
    return st.builds(lambda command, pairs: ["--check", command, *pairs], st.one_of(st.sampled_from(["sweep", "reproduce"]), a_name(["sweep"])), st.lists(st.one_of(pair, hostile), min_size=1, max_size=3))

SURFACES = {  # name: how many malformed inputs, what they look like, who takes them
    "values": (1500, st.tuples(values, st.sampled_from(ANNOTATIONS)), lambda x: bool(coerce("setting", *x))),
    "assignments": (1000, st.lists(an_assignment, min_size=1, max_size=3), lambda x: run_config("mano", "online", **parse_assignments(x))),
    "settings": (1000, a_setting, lambda x: RunConfig.from_dict({"task": "mano", "variant": "early", **RUN, x[0]: x[1]})),
    "names of runs": (800, st.tuples(a_name(TASKS), a_name(HALTING), a_name(PROFILES)), lambda x: run_config(*x)),
    "task options": (1200, st.tuples(st.one_of(st.sampled_from(OPTIONS), st.tuples(st.sampled_from(list(TASKS)), a_name({name for _, name in OPTIONS}))), values), lambda x: make_task(x[0][0], **{x[0][1]: x[1]})),
    "notebook parameters": (1200, st.one_of(st.tuples(st.sampled_from(sorted(TYPES)), values), st.tuples(a_name(TYPES), values)), lambda x: check_values(TYPES, {x[0]: x[1]})),
    "names under papermill": (800, st.builds("{}{}".format, st.sampled_from(["", "seed", "seed ", "_", "1"]), hostile), lambda x: StrictPython.codify({x: 1})),
    "output names": (300, st.builds("{}{}".format, st.sampled_from(["../", "/", "a/../../", "./../", "//"]), hostile), lambda x: inside("figures", x)),
    "make": (900, launch_lines(), lambda x: launcher.main(x)),
    "training": (500, training_lines(), anira.training.main),
    "tracing": (300, tracing_lines(), anira.tracing.main),
    "claims": (200, claims_lines(), anira.claims.main),
    "reproduce": (300, reproduce_lines(), anira.reproduce.main),
}
PER_EXAMPLE = 20

def test_there_are_ten_thousand():
    assert sum(count for count, _, _ in SURFACES.values()) == 10_000

def check_sentence(said):
    assert said.strip() and len(said) < 2200 and all(c.isprintable() for c in said), ascii(said)[:500]

def refused(call, x):
    "Whether an input is refused; that it is refused as it should be is checked here."
    errors, output = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output): code = call(x)
    except SystemExit as stop: code = stop.code
    except (ValueError, NameRefused) as error:
        check_sentence(str(error))
        return True
    if type(code) is not int or code == 0: return False  # accepted: some misspelt words are words
    assert code == 2 and output.getvalue() == ""
    said = errors.getvalue()
    assert said.startswith("error: ") and said.endswith("\n")
    check_sentence(said[:-1])
    return True

@pytest.fixture
def nothing_runs(tmp_path, monkeypatch):
    "Work in an empty folder; whatever would train or execute only says that it was reached."
    monkeypatch.chdir(tmp_path)
    cells = [dict(cell_type="code", execution_count=None, outputs=[], id="a", metadata=dict(tags=["parameters"]), source='profile: str = "smoke"\nseed: int = 0')]
    (tmp_path / "tiny.ipynb").write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
    monkeypatch.setattr(anira.training, "train", lambda config, out: None)
    monkeypatch.setattr(anira.reproduce, "run_notebook", checked_run_notebook(anira.reproduce))
    monkeypatch.setattr(anira.reproduce, "refresh", lambda *paths: [])
    return tmp_path

def checked_run_notebook(module):
    "`run_notebook` up to the kernel."
    def run(notebook, out, parameters=None, log=None):
        check_values({name: p.type for name, p in module.declared_parameters(notebook).items()}, dict(parameters or {}))
        module._check_output(out, notebook)
    return run

@pytest.mark.parametrize("surface", SURFACES)
def test_malformed_inputs_are_refused_in_one_sentence(surface, nothing_runs):
    count, strategy, call = SURFACES[surface]
    seen = dict(refused=0)

    @settings(max_examples=int(count / PER_EXAMPLE * 2.5), deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.lists(strategy, min_size=PER_EXAMPLE, max_size=PER_EXAMPLE))
    def fuzz(inputs):
        if seen["refused"] >= count: return
        for x in inputs: seen["refused"] += refused(call, x)

    fuzz()
    assert seen["refused"] >= count
    assert [p.name for p in nothing_runs.iterdir()] == ["tiny.ipynb"], "something was written"


# The same through real processes

@pytest.fixture
def installed(tmp_path):
    "This project's entry points as an installation would register them; a folder for PYTHONPATH."
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    metadata = tmp_path / "site" / "anira_under_test-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: anira_under_test\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text("".join(f"[{group}]\n" + "".join(f"{name} = {what}\n" for name, what in entries.items()) for group, entries in groups.items() if group != "nbdev"))
    return f"{metadata.parent}{os.pathsep}{ROOT}"

def test_plain_papermill_executes_no_parameter_name(installed, tmp_path):
    name = f"profile = 1\nopen({str(tmp_path / CANARY)!r}, 'w')\nx"
    for how in (["-p", name, "1"], ["-r", name, "1"], ["-y", json.dumps({name: 1})]):
        status, said, errors = run(sys.executable, "-m", "papermill", ROOT / "nbs" / "experiments" / "claims.ipynb", tmp_path / "out.ipynb", *how, cwd=tmp_path, PYTHONPATH=installed)
        assert status == 2 and "is not a parameter name: expected a Python identifier" in errors.splitlines()[-1]
        assert not (tmp_path / CANARY).exists() and not (tmp_path / "out.ipynb").exists()

@pytest.mark.parametrize("first, second", [("papermill", "anira.papermill"), ("anira.papermill", "papermill")])
def test_papermill_and_ours_can_be_imported_in_either_order(first, second, installed, tmp_path):
    code = f"import {first}, {second}; from papermill.translators import papermill_translators as t; print(t.find_translator('python3', 'python').__name__)"
    status, said, errors = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=installed)
    assert (status, said.strip()) == (0, "StrictPython"), errors

@pytest.mark.parametrize("variable", ["SEEDS=$(shell touch {})", "SEEDS=1'; touch {}; '", "SEEDS=$$(touch {})", "SEEDS=`touch {}`", "SEEDS=1\n\ttouch {}", "PROFILE=x;touch {}", "SEED=1"])
def test_make_executes_no_value(variable, tmp_path):
    status, said, errors = run("make", "--no-print-directory", "sweep", f"PYTHON={sys.executable}", variable.format(tmp_path / CANARY), cwd=ROOT)
    assert status == 2 and not (tmp_path / CANARY).exists()
    lines = [line for line in errors.splitlines() if not line.startswith("make")]
    assert len(lines) == 1 and lines[0].startswith("error: ")

@pytest.mark.parametrize("command", [
    ["-m", "anira.training", "--task", "mano", "--variant", "onlin", "--out", "x"],
    ["-m", "anira.reproduce", "notebook", "claims", "out.ipynb", "-p", f"x = open('{CANARY}', 'w')", "1"],
    ["workflow/launch.py", "--check", "sweep", "PROFILE=labtop"],
], ids=["training", "reproduce", "launcher"])
def test_commands_refuse_with_exit_code_2(command, tmp_path):
    script = [str(ROOT / command[0]), *command[1:]] if command[0].endswith(".py") else command
    status, said, errors = run(sys.executable, *script, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert (status, said, errors.count("\n")) == (2, "", 1) and errors.startswith("error: unknown ")
    assert list(tmp_path.iterdir()) == []
