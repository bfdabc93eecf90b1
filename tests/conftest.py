"What several test files share."
import shutil, subprocess
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


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    "Headless Chromium, the one that is installed; no longer than a module, since others run event loops of their own."
    if not CHROMIUM: pytest.skip("no Chromium on this machine: none of chromium, chromium-browser and google-chrome is on PATH")
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
