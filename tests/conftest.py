"What several test files share."
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def source_files():
    "Files of this checkout that git does not ignore, relative to its root."
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted({Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()})


@pytest.fixture
def root():
    return ROOT


@pytest.fixture
def files():
    return source_files()


def copy_sources(target):
    "Copy the source files to a folder, to be changed at will."
    for name in source_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes((ROOT / name).read_bytes())
    return target


@pytest.fixture
def copy_of_tree(tmp_path):
    "A copy of the source files."
    return copy_sources(tmp_path / "copy")
