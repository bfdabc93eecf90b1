"The frame: notebooks in order, files without a machine's traces, commands that refuse mistakes in one sentence."
import ast, json, re, sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from anira.config import coerce
from anira.reproduce import ParameterError, check_parameters, check_values, declared_parameters, main, run_notebook
from commands import BIN, ROOT, run, write_notebook

NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
EXPERIMENTS = sorted((ROOT / "nbs" / "experiments").glob("*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:home|root|work|Users|tmp)/\w")

def name_of(path): return path.stem
def cells(path): return json.loads(path.read_text())["cells"]
def code(path): return ["".join(c["source"]) for c in cells(path) if c["cell_type"] == "code"]

# Notebooks

def test_export_and_clean_change_nothing(copy_of_tree):
    content = lambda: {p.relative_to(copy_of_tree): p.read_bytes() for folder in ("nbs", "anira") for p in (copy_of_tree / folder).rglob("*") if p.suffix in (".py", ".ipynb")}
    before = content()
    for command in ("nbdev_clean", "nbdev_export"):
        status, _, said = run(BIN / command, cwd=copy_of_tree)
        assert status == 0, said
        assert sorted(str(p) for p, text in content().items() if before.get(p) != text) == [], command
    assert content().keys() == before.keys()

def test_figures_do_not_wait_for_torch():
    "Reading profiles, traces and verdicts, drawing and launching need no model."
    modules = "anira.reproduce, anira.experiments, anira.analysis, anira.plots, anira.claims, anira.sweeps"
    status, printed, said = run(sys.executable, "-c", f"import sys, {modules}; anira.reproduce.check_values(dict(profile=str), dict(profile='laptop')); print('torch' in sys.modules)")
    assert (status, printed.strip()) == (0, "False"), said

@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_notebook_form(path):
    notebook = json.loads(path.read_text())
    assert notebook["metadata"]["kernelspec"] == dict(name="python3", display_name="python3", language="python")
    for cell in notebook["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
        if cell["cell_type"] != "code": continue
        assert len(cell["source"]) <= 45, "a cell is too long"
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
            assert not MACHINE_PATH.search(json.dumps({k: v for k, v in output.get("data", output).items() if not k.startswith("image/")}))

@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_directives_come_from_the_small_vocabulary(path):
    allowed = {"default_exp", "export", "exports", "hide", "eval: false", "slow", "gpu"}
    used = {line for source in code(path) for line in re.findall(r"^#\| *(.+?) *$", source, re.M)}
    assert {u for u in used if u not in allowed and not u.startswith("default_exp ")} == set()

@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_experiments_declare_parameters_and_check_them(path):
    assert {"profile", "traces", "figures"} <= set(declared_parameters(path))
    sources = [("parameters" in c["metadata"].get("tags", []), "".join(c["source"])) for c in cells(path) if c["cell_type"] == "code"]
    at = [tagged for tagged, _ in sources].index(True)
    assert re.search(r"(check_parameters|open_experiment)\(globals\(\)[,)]", sources[at + 1][1])
    assert not any(re.match(r"#\| *(export|default_exp)", source) for _, source in sources)

@pytest.mark.parametrize("path", sorted((ROOT / "anira").glob("*.py")), ids=name_of)
def test_public_names_have_docstrings(path):
    kinds = (ast.FunctionDef, ast.ClassDef)
    missing = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, kinds) and not node.name.startswith("_") and not ast.get_docstring(node)]
    assert missing == []

def test_library_modules_depend_in_one_direction():
    module = lambda path: re.search(r"#\| default_exp (\w+)", path.read_text())
    order = [found.group(1) for path in sorted((ROOT / "nbs").glob("*.ipynb")) if (found := module(path))]
    for i, name in enumerate(order):
        imported = re.findall(r"^ *from \.(\w+) import", (ROOT / "anira" / f"{name}.py").read_text(), re.M)
        assert set(imported) <= set(order[:i]), name
    assert not set(order) & {"index", "search", "genindex", "findings", "library"}, "the site has a page of that name already"


# Files

def test_no_machine_paths_in_text_files(files):
    for name in files:
        if name.suffix in (".png", ".parquet", ".safetensors", ".ipynb"): continue
        found = MACHINE_PATH.search((ROOT / name).read_text(encoding="utf-8"))
        assert not found, f"{name}: {found.group()}"

def test_nothing_is_evaluated_or_unpickled():
    for path in (ROOT / "anira").glob("*.py"):
        assert not re.search(r"(?<![\w.])(eval|exec)\(|\bpickle\b|weights_only *= *False", path.read_text()), path.name

def test_lock_is_exact_and_portable():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!]+", line) for line in lines)
    pinned = dict(line.lower().replace("_", "-").split("==") for line in lines)
    assert pinned["torch"] == "2.13.0"
    for requirement in re.findall(r'"([\w-]+)==([\w.]+)"', (ROOT / "pyproject.toml").read_text()):
        assert pinned[requirement[0]] == requirement[1]

@pytest.mark.parametrize("schema, file", [("vendor.citation-file-format", "CITATION.cff")] + [("vendor.github-workflows", str(p.relative_to(ROOT))) for p in sorted((ROOT / ".github/workflows").glob("*.yml"))])
def test_schemas(schema, file):
    status, said, errors = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file)
    assert status == 0, said + errors

@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=name_of)
def test_workflows_are_pinned_and_modest(path):
    uses = re.findall(r"uses: *(\S+)", path.read_text())
    assert uses and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in uses)
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"} and "concurrency" in workflow
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    more = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert more == ({"publish": {"pages": "write", "id-token": "write"}} if path.stem == "docs" else {})  # only the job that runs nothing of ours


# Commands

def test_help_lists_every_target():
    status, said, _ = run("make", "help")
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M).group(1).split()
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()] == phony

# Parameters

TYPES = dict(profile=str, seed=int, rate=float, flag=bool, sizes=tuple[int, ...], note=str)
anything = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=5), st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2))

@settings(max_examples=200, deadline=None)
@given(st.one_of(st.sampled_from(list(TYPES)), st.text(max_size=20)), anything)
def test_parameters_are_typed_or_refused_in_one_line(name, value):
    try: checked = check_values(TYPES, {name: value})
    except ParameterError as error:
        assert len(str(error).splitlines()) == 1
        return
    kinds = dict(profile=str, seed=int, rate=float, flag=bool, sizes=tuple, note=str)
    assert type(checked[name]) is kinds[name]

@settings(max_examples=100, deadline=None)
@given(st.integers(-2**53, 2**53))
def test_numbers_survive_their_text(number):
    assert coerce("n", str(number), int) == number

@pytest.mark.parametrize("injected, sentence", [
    (dict(sede=1), "unknown parameter 'sede': expected one of seed, flag; did you mean 'seed'?"),
    (dict(seed="many"), "seed = 'many' is not valid: expected a number (int)"),
    (dict(flag="perhaps"), "flag = 'perhaps' is not valid: expected true or false"),
])
def test_a_notebook_refuses_from_the_inside(injected, sentence):
    with pytest.raises(ParameterError, match=re.escape(sentence)):
        check_parameters({"__annotations__": dict(seed=int, flag=bool), "seed": 0, "flag": True, "re": re, "Path": Path, **injected})

@pytest.mark.parametrize("name", ["sede", "seed = 1\nimport os", "__annotations__", "", "a" * 500, "seed\x00"])
def test_hostile_names_never_reach_a_kernel(tmp_path, name):
    tiny = write_notebook(tmp_path / "tiny.ipynb")
    with pytest.raises(ParameterError, match="unknown parameter"): run_notebook(tiny, tmp_path / "out.ipynb", {name: 1})
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.ipynb"]

def test_mistakes_on_the_command_line_are_one_sentence(tmp_path, capsys):
    tiny = str(write_notebook(tmp_path / "tiny.ipynb"))
    for arguments, sentence in [
        (["notebook", "00_confg", "o.ipynb"], "unknown notebook '00_confg'"),
        (["notebook", tiny, str(tmp_path / "o.ipynb"), "-p", "profile", "smokey"], "did you mean 'smoke'?"),
        (["notebook", tiny, str(ROOT / "nbs" / "o.ipynb")], "lies under nbs/"),
    ]:
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert sentence in said and said.startswith("error: ") and said.count("\n") == 1

def test_plain_papermill_is_refused_too(tmp_path):
    tiny = write_notebook(tmp_path / "tiny.ipynb")
    status, said, errors = run(sys.executable, "-m", "papermill", tiny, tmp_path / "out.ipynb", "-p", "profil", "smoke", cwd=tmp_path)
    assert status != 0
    assert "unknown parameter 'profil': expected one of profile, traces, figures; did you mean 'profile'?" in errors
    shown = [o for c in cells(tmp_path / "out.ipynb") for o in c.get("outputs", []) if o["output_type"] == "error"]
    assert len(shown) == 1 and len(shown[0]["traceback"]) == 1
