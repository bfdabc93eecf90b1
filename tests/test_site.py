"The site: what the converter makes of a notebook, that every page and link is there, and that a browser shows it without a complaint."
import csv, functools, json, os, re, sys, threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from filelock import FileLock

from commands import ROOT, module_at, run
from conftest import copy_sources

NOTEBOOKS = sorted(p.relative_to(ROOT / "nbs") for p in (ROOT / "nbs").rglob("[!_.]*.ipynb") if ".ipynb_checkpoints" not in p.parts)

builder = module_at("docs/build.py")

@functools.cache
def symbols():
    "Full names of all functions, classes and methods, by module."
    from anira._modidx import d
    return {module: list(names) for module, names in d["syms"].items()}

def links(): return builder.Links(symbols())


# The converter

def cell(source, **more): return dict(cell_type="code", metadata={}, outputs=[], source=source) | more
def prose(source): return dict(cell_type="markdown", metadata={}, source=source)
def converted(*cells, path="guides/tiny.ipynb"):
    return builder.convert(dict(cells=[prose("# Tiny\n\n> A subtitle\n\nFirst words."), *cells], metadata={}), Path(path), links())["cells"][1:]

def test_directives_become_tags_and_vanish():
    made = converted(cell("#| echo: false\n1"), cell("#| code-fold: show\n#| code-summary: Source\n2"), cell("#| eval: false\n3"), cell("#| hide\n4"),
                     cell('import sys\nif "google.colab" in sys.modules:\n    !pip install anira'), cell(""))
    assert [(c["source"], c["metadata"]["tags"]) for c in made] == [("1", ["remove-input"]), ("2", ["hide-input"]), ("3", [])]

def test_exported_code_folds_away_below_its_entries():
    made = converted(cell("#| default_exp halting"), cell("#| export\ndef survival(): pass\ndef expected_depth(): pass"), cell("show_doc(expected_depth)"), cell("show_doc(survival)"), cell("survival(q)"))
    assert [c["source"].splitlines()[0].split("(")[0] for c in made] == ["```{py:module} anira.halting", "::::::{py:function} survival", "::::::{py:function} expected_depth", "def survival", "survival"]
    assert [c["metadata"].get("tags") for c in made[3:]] == [["hide-input"], []]

def test_the_head_offers_the_notebook():
    badge = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/a/b/blob/main/nbs/guides/tiny.ipynb)"
    head = builder.head(dict(cells=[prose(f"# Tiny\n\n> A subtitle\n\n{badge}\n\nWords.")]), Path("guides/tiny.ipynb"))
    assert head.startswith("# Tiny\n\n{.subtitle}\nA subtitle\n\n{.buttons}\n[Open in Colab](https://colab.research.google.com/github/a/b/blob/main/nbs/guides/tiny.ipynb) {download}`Download notebook </../../nbs/guides/tiny.ipynb>`")
    assert head.endswith("\n\nWords.") and "badge" not in head

def test_a_figure_is_described_by_the_prose_above_it():
    figure = cell("draw()", outputs=[dict(output_type="display_data", metadata={}, data={"image/png": ""})])
    made = converted(prose("## The `core`\n\nIt runs *once*. Then it rests."), cell("x = 1"), figure)
    assert made[-1]["metadata"]["mystnb"]["image"]["alt"] == "Figure: The core. It runs once."
    assert converted(figure)[-1]["metadata"]["mystnb"]["image"]["alt"] == "Figure: Tiny. First words."

@pytest.mark.parametrize("text, module, becomes", [
    ("`survival`", "anira.halting", "{py:obj}`survival <anira.halting.survival>`"),
    ("`survival`", "anira.model", "`survival`"),  # a plain word, elsewhere
    ("`survival()` of `GivenDepths`", "anira.model", "{py:obj}`survival() <anira.halting.survival>` of {py:obj}`GivenDepths <anira.halting.GivenDepths>`"),
    ("`train(config, folder)`", "", "{py:obj}`train(config, folder) <anira.training.train>`"),
    ("`Halting.start()`", "", "{py:obj}`Halting.start() <anira.halting.Halting.start>`"),
    ("`anira.task.Task`", "", "{py:obj}`anira.task.Task <anira.task.Task>`"),
    ("`anira.task`, `anira.tasks.TASKS`", "", "[`anira.task`](/task.ipynb), [`anira.tasks.TASKS`](/tasks.ipynb)"),
    ("`main` and `main`", "anira.training", "{py:obj}`main <anira.training.main>` and {py:obj}`main <anira.training.main>`"),
    ("`main`", "", "`main`"),  # several modules have one
    ("`Task._generate` and `nothing`", "", "`Task._generate` and `nothing`"),
    ("[see `survival`](26_claims.ipynb#rules)", "", "[see `survival`](/claims.ipynb#rules)"),
    ("[a](guides/gallery.ipynb) [b](../README.md) [c](#here) [d](https://arxiv.org) [e](figures/fig_alignment.png)", "",
     "[a](/guides/gallery.ipynb) [b](https://github.com/anira-companion/anira/blob/main/README.md) [c](#here) [d](https://arxiv.org) [e](/figures/fig_alignment.png)"),
    ("```\n`survival` [a](b)\n```", "", "```\n`survival` [a](b)\n```"),
])
def test_links_and_symbols(text, module, becomes): assert links()(text, ROOT / "nbs", module) == becomes

def test_a_link_that_leads_nowhere_is_an_error():
    with pytest.raises(ValueError, match=re.escape("the link 'gone.ipynb' in nbs leads nowhere")): links()("[x](gone.ipynb)", ROOT / "nbs")

def test_parameters_are_told_by_the_comments_on_their_lines():
    import ast, io, tokenize
    source = '''
def scale(
    x: Tensor,  # (batch, seq), any dtype
    by: str = "#2",  # a|b or `c|d`
    quiet: bool = False,
) -> Tensor:  # same shape
    return x  # nothing to see
@dataclass
class Options:
    size: int = 3  # in nodes
    seeds: tuple = field(default_factory=tuple)  # <none> by default
class Plain: pass
def f(x): return x  # not about x
'''
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT}
    scale, options, plain, f = ast.parse(source).body
    table = lambda node: builder.parameters(node, comments).splitlines()
    assert table(scale) == ["| parameter | meaning |", "| --- | --- |", "| `x` | (batch, seq), any dtype |", r"| `by` | a\|b or `c\|d` |", "| *returns* | same shape |"]
    assert table(options)[2:] == ["| `size` | `3` | in nodes |", r"| `seeds` | `field(default_factory=tuple)` | \<none> by default |"]
    assert table(plain) == table(f) == []


# The pages

class Page(HTMLParser):
    "What a page links to, what it loads, its anchors, figures and text."
    LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "embed": "src", "object": "data"}

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads, self.images, self.text, self.tags, self.css = set(), [], [], [], [], {}, []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if found.get("id"): self.ids.add(found["id"])
        if tag == "a" and "href" in found: self.links.append(found["href"])
        if tag == "img": self.images.append(found)
        if found.get(self.LOADS.get(tag)): self.loads.append(found[self.LOADS[tag]])
        if tag == "link" and found.get("rel") not in ("canonical", "search", "index", "next", "prev", "author", "copyright"): self.loads.append(found["href"])
        self.css.append(found.get("style") or "")

    def handle_data(self, data): (self.css if self.lasttag == "style" else self.text).append(data)

@pytest.fixture(scope="session")
def site(tmp_path_factory):
    "The site, built once from a copy of the source files, as on a fresh clone."
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            copy_sources(shared)
            (shared / "said.json").write_text(json.dumps(run(sys.executable, "docs/build.py", cwd=shared, PYTHONPATH=str(shared))))
    status, said, errors = json.loads((shared / "said.json").read_text())
    assert (status, errors) == (0, ""), said + errors
    assert said == f"the site: {shared / '_docs' / 'index.html'}\n"
    return shared / "_docs"

@pytest.fixture(scope="session")
def pages(site): return {str(path.relative_to(site)): Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}

def html(notebook): return f"{builder.page(notebook)}.html"

def test_every_notebook_has_its_page(pages):
    assert {html(notebook) for notebook in NOTEBOOKS} < pages.keys()
    for notebook in NOTEBOOKS:
        page, text = pages[html(notebook)], "".join(pages[html(notebook)].text)
        title = builder.opening(json.loads((ROOT / "nbs" / notebook).read_text()))[0]
        assert f"{title.replace('`', '')} \u2014 anira" in text, notebook
        assert not re.search(r"^#\|", text, re.M) and "show_doc(" not in text and "google.colab" not in text, notebook
        assert any(link.endswith(f"/{notebook.name}") and "_downloads/" in link for link in page.links), notebook

def test_a_colab_badge_becomes_a_button(pages):
    for notebook in NOTEBOOKS:
        badge = builder.COLAB.search((ROOT / "nbs" / notebook).read_text())
        assert badge or notebook.parent.name != "experiments", notebook
        if badge: assert badge[1] in pages[html(notebook)].links and badge[1].endswith(f"/blob/main/nbs/{notebook}")

def test_every_public_symbol_has_an_entry(pages):
    for module, names in symbols().items():
        public = {name for name in names if name.count(".") == 2 and "._" not in name}
        assert public <= pages[f"{module.removeprefix('anira.')}.html"].ids, module

def test_symbols_lead_to_their_pages(pages):
    assert {"objective.html", "profiles.html#anira.profiles.RunConfig"} <= set(pages["training.html"].links)
    assert "../claims.html" in pages["experiments/claims.html"].links
    assert "claims.html" in pages["findings.html"].links  # a link in the README to a notebook

def test_the_ledger_is_printed_in_brief_and_in_full(pages):
    landing, findings = (" ".join("".join(pages[name].text).split()) for name in ("index.html", "findings.html"))
    with (ROOT / "figures" / "claims.csv").open() as file:
        for row in csv.DictReader(file):
            assert f"{row['claim']} {row['says']} {row['verdict']}" in landing and f"{row['verdict']} rule: {row['rule']}" in findings
            assert all(number.rpartition(": ")[2] in findings for number in row["statistics"].split("; "))
    assert any("fig_alignment" in image["src"] for image in pages["index.html"].images)

def test_links_and_anchors_resolve(site, pages):
    missing = set()
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc: continue
            target = unquote(urlsplit(urljoin(name, parts.path)).path) if parts.path else name
            if not (site / target).is_file() or parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids: missing.add((name, link))
    assert missing == set()

def test_nothing_is_loaded_from_elsewhere(site, pages):
    outside = [(name, load) for name, page in pages.items() for load in page.loads if urlsplit(load).scheme not in ("", "data") or load.startswith("//")]
    sheets = {name: " ".join(page.css) for name, page in pages.items()} | {str(path): path.read_text() for path in site.rglob("*.css")}
    assert outside + [name for name, sheet in sheets.items() if re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet)] == []

def test_figures_are_described(pages):
    assert [(name, image["src"]) for name, page in pages.items() for image in page.images if "logo" not in image.get("class", "") and len(image.get("alt", "")) < 20] == []

def test_math_is_in_the_page_itself(pages):
    assert pages["halting.html"].tags["math"] > 5
    assert not any(re.search(r"\\(frac|text|mathrm|sum|lambda|left)\b", "".join(page.text)) for page in pages.values())

def test_the_site_does_not_say_where_it_was_built(site):
    assert [path.name for path in site.rglob("*") if path.suffix in (".html", ".js", ".inv") and str(site.parent) in path.read_text(errors="ignore")] == []


# In a browser

@pytest.fixture(scope="session")
def address(site):
    "The site, served on this machine."
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments): pass
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()

@pytest.fixture
def tab(browser, address):
    "An open tab that remembers what went wrong in it."
    page = browser.new_page(color_scheme="light")
    page.set_default_timeout(180_000)  # a busy machine is no fault of the page
    page.complaints = []
    page.on("console", lambda said: said.type == "error" and page.complaints.append(said.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("requestfailed", lambda request: request.failure == "net::ERR_ABORTED" or page.complaints.append(f"{request.failure}: {request.url}"))  # aborted: the page was left
    page.on("response", lambda response: response.status >= 400 and page.complaints.append(f"{response.status}: {response.url}"))
    page.on("request", lambda request: request.url.startswith((address, "data:", "blob:")) or page.complaints.append(f"outside: {request.url}"))
    yield page
    page.close()

LOOK = """async () => {
    const images = [...document.querySelectorAll('article img')];
    await Promise.all(images.map(image => { image.loading = 'eager'; return image.decode().catch(() => null); }));
    const light = name => getComputedStyle(document.body)[name].match(/[0-9.]+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 765;
    return {wide: document.documentElement.scrollWidth - window.innerWidth,
            paper: light('backgroundColor'), ink: light('color'), empty: images.filter(i => !i.naturalWidth || !i.clientWidth || !i.clientHeight).map(i => i.src)};
}"""

def test_every_page_opens_cleanly_at_both_widths_and_in_both_themes(tab, address, pages):
    for name in pages:
        tab.emulate_media(color_scheme="light")
        tab.goto(address + name)
        for theme in ("light", "dark"):
            tab.emulate_media(color_scheme=theme)
            tab.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)  # a page hears of it a little later
            for width, height in ((390, 844), (1400, 1000)):
                tab.set_viewport_size(dict(width=width, height=height))
                seen = tab.evaluate(LOOK)
                assert seen["wide"] <= 0 and seen["empty"] == [], (name, width, theme, seen)
                assert (seen["paper"] > .8 and seen["ink"] < .4) if theme == "light" else (seen["paper"] < .2 and seen["ink"] > .6), (name, theme, seen)
        assert tab.complaints == [], name

def test_search_finds_halting(tab, address):
    tab.goto(f"{address}search.html?q=Halting")
    found = tab.locator("#search-results ul.search li a[href*='halting.html']")
    found.first.wait_for()
    assert "halting" in found.first.inner_text().lower()
    found.first.click()
    tab.wait_for_url("**/halting.html*")
    assert tab.complaints == []

def test_source_unfolds_and_the_theme_switches(tab, address):
    tab.goto(f"{address}halting.html")
    fold = tab.locator("details.hide").first
    assert not fold.locator("pre").is_visible()
    fold.locator("summary").click()
    assert "def survival" in fold.locator("pre").inner_text()
    for theme in ("dark", "light"):
        tab.locator("button.theme-switch-button:visible").first.click()
        tab.locator(f"button.theme-change-button[data-mode={theme}]:visible").click()
        assert tab.evaluate("document.documentElement.dataset.theme") == theme
    assert tab.complaints == []
