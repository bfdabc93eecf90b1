"What suites share that call this project's commands."
import functools, importlib.util, os, subprocess, sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

def run(*command, cwd=ROOT, **environment):
    "A command's exit code, output and errors; it does not know that make may have started these tests."
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, env={**inherited, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **environment})
    return done.returncode, done.stdout, done.stderr

@functools.cache
def module_at(path):
    "The module that a script is, such as workflow/launch.py."
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

TINY = {
    "parameters": 'profile: str = "laptop"\ntraces: str = ""\nfigures: str = ""',
    "check": "from anira.reproduce import check_parameters\ncheck_parameters(globals());",
    "draw": "from pathlib import Path\nPath(figures).mkdir(parents=True, exist_ok=True)\nPath(figures, 'tiny.csv').write_text(traces)",
}

def write_notebook(path, body=TINY["draw"]):
    "A notebook like the experiments: parameters, their check, a drawing."
    made = [new_code_cell(TINY["parameters"], metadata={"tags": ["parameters"]}), new_code_cell(TINY["check"]), new_code_cell(body)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=made, metadata={"kernelspec": dict(name="python3", display_name="python3", language="python")}), path)
    return path
