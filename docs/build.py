"Build the site into _docs: nbdev processes the notebooks, this file turns them into MyST pages, Sphinx renders them. `make docs` runs it."
import ast, base64, csv, importlib, io, json, os, re, shutil, sys, tokenize
from pathlib import Path

from nbdev.config import get_config
from nbdev.serve import proc_nbs

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "build" / "docs"  # what Sphinx reads; git ignores it, as it does _proc and _docs
SKIPPED = "FrontmatterProc,insert_warning,exec_show_docs,rm_export,add_links"  # what nbdev does for Quarto, and this file for Sphinx
SECTIONS = dict(experiments="experiments", guides="guides", benchmarks="benchmarks", library=".")  # section -> folder under nbs/
BADGES = {"supported": "success", "not supported": "danger", "inconclusive": "warning", "not run": "muted"}
COLAB = re.compile(r"\[!\[[^\]]*\]\([^)]*\)\]\((https://colab\.research\.google\.com/[^)\s]+)\)\s*")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.M | re.S)


# Links

def page(
    notebook: Path,  # relative to nbs/, such as 13_halting.ipynb
) -> str:  # such as halting: the page of a module has its name
    "Where on the site a notebook lies."
    return str(notebook.with_name(re.sub(r"^\d+[a-z]*_", "", notebook.stem)))

def on_github(path: str, kind: str = "blob") -> str:
    "The address of a file of this repository."
    config = get_config()
    return f"{config.git_url}/{kind}/{config.branch}/{path}"

def relink(
    target: str,  # a link's target as it stands in a file of the repository
    folder: Path,  # the folder of that file
) -> str:  # the same on the site: a page, a figure, or a file on GitHub
    "Follow a link; one that leads nowhere is an error."
    path, mark, anchor = target.partition("#")
    if ":" in path or not path: return target
    found = next((p.resolve() for p in (folder / path, ROOT / path) if p.exists()), None)
    if found is None: raise ValueError(f"the link {target!r} in {folder.relative_to(ROOT)} leads nowhere")
    inside = found.relative_to(ROOT)
    if inside.suffix == ".ipynb": return f"/{page(inside.relative_to('nbs'))}.ipynb{mark}{anchor}"
    if inside.suffix in (".png", ".svg"): return f"/{inside}"
    return on_github(str(inside), "tree" if found.is_dir() else "blob") + mark + anchor

class Links:
    "Turns links, and names of symbols in backticks, into references that Sphinx resolves."
    def __init__(
        self,
        symbols: dict,  # nbdev's index: module -> full names of its functions, classes and methods
    ):
        self.modules = set(symbols)
        self.owners = {}  # bare name -> modules that define it
        for module, names in symbols.items():
            for name in names: self.owners.setdefault(name.removeprefix(f"{module}."), []).append(module)

    def symbol(
        self,
        name: str,  # as written: `Halting.start`, `train(config, folder)`, `anira.halting.Halting` or `anira.halting`
        module: str = "",  # where it is written: its own names come first
    ) -> str | None:  # a reference, to the module's page if the module does not list the name; None if it is not clear whose name it is
        "What a name in backticks refers to."
        bare = re.sub(r"\(.*\)$", "", name)
        if bare in self.modules: return f"[`{name}`](/{bare.removeprefix('anira.')}.ipynb)"
        prefix = next((m for m in self.modules if bare.startswith(f"{m}.")), "")
        bare = bare.removeprefix(f"{prefix}.")
        owners = [m for m in self.owners.get(bare, []) if m == prefix or not prefix]
        owner = module if module in owners else owners[0] if len(owners) == 1 else None
        told = prefix or owner == module or re.search(r"[A-Z_.(]", name)  # a plain word of another module is more likely just a word
        if owner and told and not re.search(r"(^|\.)_", bare): return f"{{py:obj}}`{name} <{owner}.{bare}>`"
        return f"[`{name}`](/{prefix.removeprefix('anira.')}.ipynb)" if prefix else None

    def __call__(
        self,
        text: str,  # markdown
        folder: Path,  # of the file that holds it
        module: str = "",
    ) -> str:
        "Rewrite what lies outside code blocks; a name inside a link's text stays as it is."
        done = ""
        for i, piece in enumerate(CODE.split(text)):
            if i % 2 == 0: piece = re.sub(r"\]\(([^)\s]+)\)", lambda m: f"]({relink(m[1], folder)})", piece)
            elif not piece.startswith("```") and done.rfind("[") <= done.rfind("]"): piece = self.symbol(piece[1:-1], module) or piece
            done += piece
        return done


# Symbols

def escape(text: str) -> str:
    "Plain text as markdown, on one line; code stays code."
    return "".join(part.replace("|", r"\|") if i % 2 else re.sub(r"([<*_\[\]~$|])", r"\\\1", part) for i, part in enumerate(CODE.split(" ".join(text.split()))))

def constructor(node: ast.ClassDef) -> ast.FunctionDef | None:
    "What makes an instance, if the class says so itself."
    return next((m for m in node.body if getattr(m, "name", "") == "__init__"), None)

def signature(node: ast.AST) -> str:
    "Arguments and result of a function as written, or of a class by its constructor."
    if isinstance(node, ast.ClassDef): return unbound(signature(constructor(node))) if constructor(node) else ""
    return f"({ast.unparse(node.args)})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")

def unbound(signature: str) -> str:
    "A method's signature as it is called."
    return re.sub(r"^\((self|cls)(, )?", "(", signature)

def parameters(
    node: ast.AST,  # function or class
    comments: dict,  # line -> the comment at its end
) -> str:  # markdown; empty if nothing is said about any of them
    "A symbol's docments as a table: parameters and result of a function, fields of a dataclass with their defaults."
    says = lambda part: escape(comments.get(part.end_lineno, ""))
    code = lambda text: f"`{text}`".replace("|", r"\|")
    function = constructor(node) if isinstance(node, ast.ClassDef) else node
    if function:
        a = function.args
        last = {arg.end_lineno: arg for arg in [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg] if arg}  # a comment is about the last one on its line
        rows = [(code(arg.arg), says(arg)) for line, arg in last.items() if line in comments and line != getattr(function.returns, "lineno", function.lineno)]
        if function.returns and says(function.returns): rows.append(("*returns*", says(function.returns)))
        head = [("parameter", "meaning")]
    else:
        fields = [f for f in node.body if isinstance(f, ast.AnnAssign)]
        rows = [(code(f.target.id), code(ast.unparse(f.value)) if f.value else "", says(f)) for f in fields]
        head = [("field", "default", "meaning")]
    if not any(row[-1] for row in rows): return ""
    return "\n".join(f"| {' | '.join(row)} |" for row in [*head, ["---"] * len(head[0]), *rows])

class Api:
    "Reference entries for the symbols of one module, read from its source."
    def __init__(self, module: str, links: Links):
        self.module, self.links, self.path = module, links, module.replace(".", "/") + ".py"
        source = (ROOT / self.path).read_text()
        self.nodes = {node.name: node for node in ast.parse(source).body if hasattr(node, "name")}
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        self.comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}

    def entry(
        self,
        name: str,  # of a function or class of the module, or Class.method
        depth: int = 6,  # colons of its fence
    ) -> str:  # a directive
        "Signature, link to the source, docstring, table of parameters, and the public methods of a class."
        owner, _, last = name.rpartition(".")
        node = next(n for n in self.nodes[owner].body if getattr(n, "name", "") == last) if owner else self.nodes[name]
        marks = {ast.unparse(d).partition("(")[0].rpartition(".")[2] for d in node.decorator_list}
        kind = "class" if isinstance(node, ast.ClassDef) else "function" if not owner else "property" if marks & {"property", "cached_property"} else "method"
        arguments = "" if kind == "property" else unbound(signature(node)) if kind == "method" and "staticmethod" not in marks else signature(node)
        fence, linked = ":" * depth, lambda text: self.links(text, ROOT, self.module)
        options = [f":{mark}:" for mark in ("classmethod", "staticmethod") if mark in marks]
        source = "" if owner else f"[source]({on_github(self.path)}#L{node.lineno}-L{node.end_lineno}){{.source-link}} "
        methods = dict.fromkeys(m.name for m in node.body if isinstance(m, ast.FunctionDef) and not m.name.startswith("_")) if kind == "class" else ()
        body = [f"{source}{linked(escape(ast.get_docstring(node) or ''))}", linked(parameters(node, self.comments)),
                *(self.entry(f"{name}.{method}", depth - 1) for method in methods)]
        return "\n".join([f"{fence}{{py:{kind}}} {name}{arguments}", *options, "", "\n\n".join(filter(None, body)), fence])


# Pages

def opening(
    notebook: dict,
) -> tuple[str, str, str]:  # title, subtitle, the rest of the first cell
    "How a notebook introduces itself."
    title, subtitle, rest = re.match(r"# (.+)\n*(?:> (.+)\n*)?((?s:.*))", "".join(notebook["cells"][0]["source"])).groups()
    return title, subtitle or "", rest

def head(notebook: dict, path: Path) -> str:
    "Title, subtitle, where to run the notebook and where to get it."
    title, subtitle, rest = opening(notebook)
    colab = COLAB.search(rest)
    run = f"[Open in Colab]({colab[1]}) " if colab else ""
    file = os.path.relpath(ROOT / "nbs" / path, PAGES)
    return "\n\n".join([f"# {title}", f"{{.subtitle}}\n{subtitle}",
                        f"{{.buttons}}\n{run}{{download}}`Download notebook </{file}>` [View on GitHub]({on_github(f'nbs/{path}')})", COLAB.sub("", rest)])

def alternative(
    title: str,  # of the page
    before: list[str],  # markdown above the figure, the nearest last
) -> str:
    "A figure in words: the heading above it, and the first sentence of the prose nearest to it."
    heading = next((found[-1] for text in reversed(before) if (found := re.findall(r"^##+ (.+)$", text, re.M))), title)
    prose = next((found[0] for text in reversed(before) if (found := re.findall(r"^(?![#>\[{|`$-])(.+)$", text, re.M))), "")
    return re.sub(r"[`*$]", "", f"Figure: {heading.rstrip('.?')}. {re.split(r'(?<=[.!?:]) ', prose)[0]}").strip()

def directives(
    source: str,
) -> tuple[dict, str]:  # name -> value, and the code without them
    "The `#|` lines of a cell."
    found = dict(re.match(r"#\| *([\w-]+):? *(.*)", line).groups() for line in re.findall(r"^#\| *\w.*$", source, re.M))
    return found, re.sub(r"^#\|.*\n?", "", source, flags=re.M).strip("\n")

def convert(
    notebook: dict,  # as nbdev left it
    path: Path,  # relative to nbs/
    links: Links,
) -> dict:  # for myst-nb
    "A notebook as a page."
    title, subtitle, rest = opening(notebook)
    folder, cells, before, api, module, at = (ROOT / "nbs" / path).parent, [], [rest], None, "", 0
    markdown = lambda text: dict(cell_type="markdown", metadata={}, source=links(text, folder, module))
    reference = lambda text: dict(cell_type="markdown", metadata={}, source=text)
    cells.append(markdown(head(notebook, path)))
    for cell in notebook["cells"][1:]:
        source = "".join(cell["source"])
        asks, code = directives(source)
        shown = re.match(r"show_doc\((.+)\)", code)
        if cell["cell_type"] == "markdown":
            before.append(source)
            cells.append(markdown(source))
        elif "default_exp" in asks:
            api = Api(module := f"anira.{asks['default_exp']}", links)
            cells.append(reference(f"```{{py:module}} {module}\n:synopsis: {subtitle}\n```"))
        elif shown:
            cells[-1]["metadata"]["tags"] = ["hide-input"]  # the exported cell: its source folds away below the entries
            cells.insert(at, reference(api.entry(shown[1])))  # nbdev lists them last to first
        elif code and "hide" not in asks and '"google.colab" in sys.modules' not in code:
            tags = [tag for tag, wanted in {"remove-input": asks.get("echo") == "false", "hide-input": "code-fold" in asks}.items() if wanted]
            for output in cell["outputs"]:
                if "text/markdown" in output.get("data", {}): output["data"]["text/markdown"] = links("".join(output["data"]["text/markdown"]), folder, module)
            at = len(cells)
            metadata = dict(tags=tags, mystnb=dict(markdown_format="myst", image=dict(alt=alternative(title, before))))
            cells.append(dict(cell_type="code", execution_count=None, metadata=metadata, outputs=cell["outputs"], source=code))
    return dict(nbformat=4, nbformat_minor=4, cells=cells, metadata=dict(notebook["metadata"], myst=dict(html_meta={"description": subtitle})))


# Parts that the pages in docs/ include

def picture(notebook: dict) -> bytes | None:
    "The last figure of a notebook."
    found = [o["data"]["image/png"] for c in notebook["cells"] for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    return base64.b64decode("".join(found[-1])) if found else None

def toctree(pages: list[str]) -> str:
    "Where these pages stand in the navigation."
    return "\n".join(["```{toctree}", ":hidden:", *(f"/{name}" for name in pages), "```"])

def cards(
    notebooks: dict,  # path relative to nbs/ -> notebook
) -> str:
    "One card per notebook with its figure, title and subtitle."
    made = []
    for path, notebook in notebooks.items():
        title, subtitle, _ = opening(notebook)
        image = [f":img-top: /cards/{page(path)}.png", f":img-alt: {alternative(title, [subtitle])}"] if picture(notebook) else []
        made.append("\n".join([f":::{{grid-item-card}} {title}", f":link: /{page(path)}", ":link-type: doc", *image, "", subtitle, ":::"]))
    return "\n".join(["::::{grid} 1 1 2 2", ":gutter: 3", *made, "::::", "", toctree([page(path) for path in notebooks])])

def modules(notebooks: dict) -> str:
    "The library's modules in the order of their notebooks."
    rows = [f"[`anira.{page(path)}`](/{page(path)}.ipynb)\n: **{title}**. {subtitle}\n" for path, notebook in notebooks.items() for title, subtitle, _ in [opening(notebook)]]
    return "\n".join([*rows, toctree([page(path) for path in notebooks])])

def badge(row: dict) -> str:
    "A claim's verdict, coloured."
    return f"{{bdg-{BADGES[row['verdict']]}}}`{row['verdict']}`"

def verdicts(ledger: list[dict]) -> str:
    "The ledger in brief."
    return "\n".join(["| claim | says | verdict |", "|---|---|---|", *(f"| [{r['claim']}](#claim-{r['claim'].lower()}) | {escape(r['says'])} | {badge(r)} |" for r in ledger)])

def findings(ledger: list[dict]) -> str:
    "The ledger claim by claim: the rule, and every number with its interval."
    made = []
    for r in ledger:
        numbers = [number.rpartition(": ") for number in r["statistics"].split("; ") if ": " in number]
        made += [f"(claim-{r['claim'].lower()})=\n## {r['claim']}: {escape(r['says'])}", f"{badge(r)} rule: {escape(r['rule'])}",
                 "\n".join(["| statistic | ours, with 95 % interval |", "|---|---|", *(f"| {escape(name)} | {escape(value)} |" for name, _, value in numbers)]) if numbers else "",
                 f"Known from: {r['source']}. " + ("" if r["paper"] == "—" else f"Paper: {escape(r['paper'])}. ") + f"Rests on: {escape(r['scope'])}, {r['answers']} answers. Notebook: [{r['notebook']}](/experiments/{r['notebook']}.ipynb)."]
    return "\n\n".join(filter(None, made))

def write(path: Path, content: str | bytes):
    "Write a file and the folders above it."
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


# The whole

def prepare():
    "Everything that Sphinx reads, written to `PAGES`."
    get_config()["skip_procs"] = SKIPPED
    processed = proc_nbs(n_workers=0, force=True)
    links = Links(importlib.import_module("anira._modidx").d["syms"])
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for folder in ("figures", "benchmarks"): shutil.copytree(ROOT / folder, PAGES / folder, ignore=shutil.ignore_patterns("*.md", "*.csv", "*.tex"))
    for section, folder in SECTIONS.items():
        paths = [path.relative_to(ROOT / "nbs") for path in sorted((ROOT / "nbs" / folder).glob("[!_.]*.ipynb"))]
        found = {path: json.loads((processed / path).read_text()) for path in paths}
        for path, notebook in found.items():
            write(PAGES / f"{page(path)}.ipynb", json.dumps(convert(notebook, path, links)))
            if folder != "." and picture(notebook): write(PAGES / "cards" / f"{page(path)}.png", picture(notebook))
        write(PAGES / "parts" / f"{section}.md", (modules if section == "library" else cards)(found))
    with (ROOT / "figures" / "claims.csv").open() as file: ledger = list(csv.DictReader(file))
    for part in (verdicts, findings): write(PAGES / "parts" / f"{part.__name__}.md", part(ledger))
    for name in ("README.md", "CONTRIBUTING.md", "data/README.md"):
        write(PAGES / "parts" / name, links((ROOT / name).read_text(), (ROOT / name).parent))

def main() -> int:
    "Build the site; warnings are errors."
    from sphinx.cmd.build import build_main
    os.chdir(ROOT)
    prepare()
    made, site = PAGES.with_name("html"), ROOT / get_config().doc_path.name
    for old in (made, PAGES.with_name("doctrees")): shutil.rmtree(old, ignore_errors=True)
    failed = build_main(["-b", "html", "-q", "-W", "--keep-going", "-c", str(ROOT / "docs"), "-d", str(PAGES.with_name("doctrees")), str(PAGES), str(made)])
    if failed: return failed
    shutil.rmtree(site, ignore_errors=True)
    made.rename(site)
    print(f"the site: {site / 'index.html'}")
    return 0

if __name__ == "__main__": sys.exit(main())
