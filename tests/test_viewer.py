"What the viewer shows is what the model did, and nothing in it can escape into the page."
import base64, inspect, json, re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, strategies as st

from anira.brevo import ancestors_of, replay
from anira.dags import parent_matrix
from anira.model import Anira, AniraConfig
from anira.tasks import TASKS, make_task
from anira.tracing import trace
from anira.viewer import DARK, DRAWN, LIGHT, numbered_instance, show, visible
from toys import quick

SHIPPED = Path(__file__).resolve().parent.parent / "data" / "laptop"
CHECKPOINTS, TRACES = SHIPPED / "checkpoints", SHIPPED / "traces"

def small(task, halting="online", seed=0, **config):
    "An untrained model whose halting head is not at its uniform start."
    torch.manual_seed(seed)
    model = Anira(AniraConfig(**{**dict(vocab_size=task.vocab_size, width=16, n_heads=2, max_depth=4, halting=halting), **config}))
    if hasattr(model.halting, "decider"): torch.nn.init.normal_(model.halting.decider.down.weight, std=1.0)
    return model

class Page(HTMLParser):
    "The tags of a page, its embedded data, and the text of its tokens."
    def __init__(self, text):
        super().__init__()
        self.tags, self.data, self.words, self.inside = [], "", [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = "json" if tag == "script" and dict(attrs).get("type") == "application/json" else tag if tag in ("bdi", "script") else self.inside
        if tag == "bdi": self.words.append("")

    def handle_endtag(self, tag): self.inside = None
    def handle_data(self, text):
        if self.inside == "json": self.data += text
        if self.inside == "bdi": self.words[-1] += text


# What is shown

@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("halting", ["early", "online", "fixed"])
def test_a_pane_holds_what_the_model_did(name, halting):
    task = make_task(name, max_size=5)
    batch, model = task.batch(6, seed=1, step=0)[[2]], small(task, halting)
    [pane], n = show(model, batch, task).data["panes"], int((batch.tokens[0] != task.pad_id).sum())
    with torch.no_grad(): out = model.eval()(torch.as_tensor(batch.tokens))
    assert pane["depth"] == out.depth[0, :n].tolist()
    np.testing.assert_allclose(pane["exits"], out.exit_probs[0, :n], atol=6e-4)
    np.testing.assert_allclose(pane["expected"], out.expected_depth[0, :n], atol=6e-3)
    assert pane["guess"] == [visible(task.vocab[t]) for t in out.logits[0, :n].argmax(-1)]
    assert pane["right"] == [bool(r) if a else None for r, a in zip(task.admissible(batch, out.logits.argmax(-1).numpy())[0, :n], batch.answer_mask[0, :n])]
    assert pane["tokens"] == [task.vocab[t] for t in batch.tokens[0, :n]]
    assert (pane["drawing"] is not None) == (name in ("brevo", "mano"))


def test_a_model_is_left_as_it_was():
    task = make_task("brevo", max_size=5)
    model = small(task).train()
    show(model, task.batch(1, 0, 0), task, answers="generated")
    assert model.training


def test_generated_answers_are_the_models_own():
    task = make_task("brevo", max_size=5)
    batch, models = task.batch(1, 0, 0), [("a", small(task, seed=1)), ("b", small(task, seed=2))]
    for pane, (_, model) in zip(show(models, batch, task, answers="generated").data["panes"], models):
        prompts = torch.as_tensor(task.prompts(batch))
        new = model.generate(prompts, task.longest_answer(batch), eos_id=task.eos_id)
        own = [t for t in new.tokens[0].tolist() if t != task.pad_id]
        assert pane["tokens"][prompts.shape[1] :] == [task.vocab[t] for t in own]
        valid = bool(task.verify(batch, new.tokens.numpy())[0])
        assert all((facts["frontier_size"] == "–") == (not valid) for facts in pane["facts"] if facts)
        assert pane["depth"][prompts.shape[1] - 1 :][: len(own)] == new.depth[0, : len(own)].tolist()


@quick
@given(st.integers(0, 999), st.sampled_from(["single", "multi"]), st.integers(3, 7))
def test_a_graphs_frames_are_the_replay(seed, names, size):
    task = make_task("brevo", max_size=7, name_tokens=names)
    batch = task.batch(3, seed, 0, size)[[1]]
    [pane] = show(small(task), batch, task).data["panes"]
    drawing, start = pane["drawing"], int(batch.answer_mask[0].argmax())
    index = {"".join(task.vocab[t] for t in name if t >= 0): i for i, name in enumerate(batch.detail["names"][0])}
    words, order, spelled, steps = pane["tokens"][start + 1 : -1], [], "", [0]
    for word in words:
        spelled += word
        if spelled in index: order.append(index[spelled]); spelled = ""
        steps.append(len(order))
    parents = parent_matrix(batch.detail["edges"], size)
    ancestors = ancestors_of(parents, np.array([size - 1]))
    ready = replay(parents, ancestors, np.array([order]))[0]
    for t in range(len(pane["tokens"])):
        j = 0 if t < start else steps[min(t - start, len(steps) - 1)]
        marks = drawing["frames"][drawing["frame"][t]]["marks"]
        assert {i for i, m in enumerate(marks) if m == "p"} == set(order[:j])
        assert {i for i, m in enumerate(marks) if m == "r"} == set(np.flatnonzero(ready[j]))
        assert {i for i, m in enumerate(marks) if m == "w"} == set(np.flatnonzero(ancestors[0] & ~ready[j])) - set(order[:j])
    assert {(a, b) for a, b, _ in drawing["edges"]} == {(p, c) for c, p in np.argwhere(parents[0])}
    assert [n["note"] for n in drawing["nodes"]] == [""] * (size - 1) + ["query"]


@quick
@given(st.integers(0, 999), st.booleans(), st.integers(1, 6))
def test_a_trees_frames_are_its_subexpressions(seed, length_token, size):
    task = make_task("mano", max_size=6, modulus=7, length_token=length_token)
    batch = task.batch(2, seed, 0, size)[[0]]
    [pane] = show(small(task), batch, task).data["panes"]
    def value(words):
        word = next(words)
        if word not in "+-*": return int(word)
        a, b = value(words), value(words)
        return {"+": a + b, "-": a - b, "*": a * b}[word]
    drawing = pane["drawing"]
    for t, node in enumerate(drawing["nodes"]):
        frame = drawing["frames"][drawing["frame"][node["token"]]]
        inside = [pane["tokens"][n["token"]] for n, m in zip(drawing["nodes"], frame["marks"]) if m == "i"]
        assert inside[0] == node["text"] == pane["tokens"][node["token"]]
        rest = iter(inside)
        assert f"= {value(rest) % 7} modulo 7" in frame["say"] and next(rest, None) is None
    assert drawing["nodes"][0]["note"] == f"= {pane['tokens'][-1]}"


# Where it comes from

@pytest.mark.parametrize("run", ["brevo-online-s0", "mano-early-s0"])
def test_a_shipped_trace_shows_the_depths_of_its_instance(run):
    rows = pd.read_parquet(TRACES / run / "trace.parquet").query("answers == 'forced'")
    for number in (0, 1234, int(rows.instance.max())):
        [traced], [model] = (show(folder / run, number).data["panes"] for folder in (TRACES, CHECKPOINTS))
        own = rows[rows.instance == number]
        assert [traced["depth"][t] for t in own.position] == own.depth.tolist()
        assert traced["tokens"] == model["tokens"] and traced["exits"] is None
        assert [d for t, d in enumerate(traced["depth"]) if t not in set(own.position)] == [None] * (len(traced["depth"]) - len(own))
        assert np.mean([a == b for a, b in zip(traced["depth"], model["depth"]) if a is not None]) > 0.7


def test_a_table_may_hold_every_token():
    task = make_task("brevo", max_size=5)
    batch = task.batch(1, 0, 0)
    n = int((batch.tokens[0] != task.pad_id).sum())
    [pane] = show(("mine", pd.DataFrame(dict(position=range(n), depth=np.arange(n) % 3 + 1))), batch, task).data["panes"]
    assert pane["depth"] == (np.arange(n) % 3 + 1).tolist() and pane["label"] == "mine" and pane["max_depth"] == 3


def test_numbers_are_those_of_a_trace():
    assert inspect.signature(trace).parameters["n"].default == inspect.signature(numbered_instance).parameters["n"].default == DRAWN[0]
    task = make_task("mano", max_size=3, modulus=5)
    model = small(task)
    table = trace(model, task, n=7, seed=5)
    for number in (0, 8, 20):
        [pane] = show(model, numbered_instance(task, number, n=7, seed=5), task).data["panes"]
        rows = table[table.instance == number]
        assert [pane["depth"][t] for t in rows.position] == rows.depth.tolist()


brevo, mano = make_task("brevo", max_size=5), make_task("mano", max_size=3)
one = brevo.batch(1, 0, 0)
@pytest.mark.parametrize("call, sentence", [
    (lambda: show(small(brevo), one), "task is missing"),
    (lambda: show([], one, brevo), "what = [] is not valid"),
    (lambda: show(small(brevo), brevo.with_answers(one, np.zeros((1, 0), int)), brevo), "instance holds no answer"),
    (lambda: show([small(brevo), small(brevo)], one, brevo), "each under its own label"),
    (lambda: show(small(brevo), brevo.batch(2, 0, 0), brevo), "instance holds 2 instances: expected one"),
    (lambda: show(small(brevo), "first", brevo), "instance = 'first' is not valid"),
    (lambda: show(small(brevo), True, brevo), "instance = True is not valid"),
    (lambda: show(small(brevo), -1, brevo), "instance = -1 is not valid: expected 0 to"),
    (lambda: show(small(brevo), one, mano), "vocab_size"),
    (lambda: show(small(brevo), one, brevo, answers="mine"), "unknown answers 'mine'"),
    (lambda: show(small(brevo), one, brevo, rule="modes"), "did you mean 'mode'?"),
    (lambda: show(small(brevo), one, brevo, position=-1), "position = -1 is not valid"),
    (lambda: show(small(brevo), one, brevo, position="a"), "position = 'a' is not valid: expected a number"),
    (lambda: show(small(brevo), one, "brevo"), "task = 'brevo' is not valid: expected a task, as make_task"),
    (lambda: show(small(brevo), one, brevo, threshold="x"), "threshold = 'x' is not valid: expected a number"),
    (lambda: show(small(brevo), one, brevo, rule="threshold", threshold=7), "threshold = 7 is not valid: expected a number from 0.0 to 1.0"),
    (lambda: show(7, one, brevo), "7 cannot be shown"),
    (lambda: show(("t", pd.DataFrame(dict(position=[0], depth=[1]))), one, brevo), "do not fit this instance"),
    (lambda: show([CHECKPOINTS / "brevo-early-s0", CHECKPOINTS / "mano-early-s0"], 0), "belongs to another task"),
    (lambda: show([CHECKPOINTS / "brevo-early-s0", ("new", small(make_task("brevo", max_size=7, held_out=(6,), beyond=(8, 9, 10))))], 0), "means different instances here"),
    (lambda: show(TRACES / "brevo-early-s0", 0, answers="generated"), "answers = 'generated' is not valid for 'brevo-early-s0'"),
    (lambda: show(TRACES / "brevo-early-s0", 0, threshold=.5), "threshold = 0.5 is not valid for 'brevo-early-s0'"),
    (lambda: show(TRACES / "brevo-early-s0", make_task("brevo", max_size=7, held_out=(6,), beyond=(8, 9, 10)).batch(1, 0, 0)), "instance must be a number"),
])
def test_mistakes_are_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught: call()
    assert len(str(caught.value).splitlines()) == 1


# What stands on the page

nasty = st.sampled_from(["</script><img src=x onerror=alert(1)>", "<!--", "-->", "]]>", "\"'><b>", "&lt;", "&amp;", "${alert(1)}", "\u202eevil", "שלום", "\u2028", "\x00", "\ud800", " ", "\n", "$x^2$", "$", "\\", "</style>", "<script>"])
texts = st.one_of(nasty, st.text(min_size=1, max_size=8))

class Hostile(type(mano)):
    "MANO, with names for its values and markers that somebody else chose."
    words = ()

    @property
    def vocab(self): return [*self.words, *super().vocab[len(self.words) :]]

@quick
@given(st.lists(texts, min_size=5, max_size=5), texts)
def test_hostile_words_stay_words(words, label):
    task = Hostile(max_size=2, modulus=3)
    task.words = words
    view = show((label, small(task, width=4, n_heads=1)), task.batch(1, 0, 0), task)
    page = Page(view.html)
    assert page.words == view.data["panes"][0]["tokens"] and json.loads(page.data) == json.loads(json.dumps(view.data))
    assert {tag for tag, _ in page.tags} <= {"style", "section", "div", "button", "label", "input", "output", "p", "strong", "span", "bdi", "sub", "svg", "g", "circle", "path", "text", "b", "i", "dl", "script"}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on") or name in ("src", "href")]
    assert len(re.findall("</script", view.html, re.I)) == 2 and len(re.findall("</style", view.html, re.I)) == 1
    assert all(c.isprintable() for word in page.words for c in word)
    view.html.encode()


def test_a_hostile_picture_is_drawn():
    task = Hostile(max_size=2, modulus=3)
    task.words = ["<pad>", "$x^", "\u202e$", "\\frac", "</script>"]
    assert show(("$\\", small(task)), task.batch(1, 0, 0), task).png.startswith(b"\x89PNG")


def test_equal_input_gives_equal_bytes():
    first, again, other = (show(CHECKPOINTS / "brevo-online-s0", number) for number in (3100, 3100, 3101))
    assert first.html == again.html and first.png == again.png and first.html != other.html
    bundle = first._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "image/png"} and base64.b64decode(bundle["image/png"]) == first.png
    assert not re.search(r"https?:|//[\w-]+\.\w|@import|url\(|\bfetch\b|XMLHttpRequest|import\(", first.html)


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(w * (c / 12.92 if c <= .04045 else ((c + .055) / 1.055) ** 2.4) for w, c in zip((.2126, .7152, .0722), channels))

def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + .05) / (low + .05)

@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_is_enough(theme):
    for ground in ("bg", "low", "high", "plain"): assert contrast(theme["fg"], theme[ground]) >= 4.5, ground
    for ground in ("bg", "plain"): assert contrast(theme["muted"], theme[ground]) >= 4.5, ground
    for mark in ("halt", "ready", "bar", "fg", "muted"): assert contrast(theme[mark], theme["bg"]) >= 3, mark


# In a browser

@pytest.fixture(scope="module")
def views():
    brevos = show([("E", CHECKPOINTS / "brevo-early-s0"), ("O", CHECKPOINTS / "brevo-online-s0")], 6003)
    return dict(brevo=brevos, mano=show([("E", CHECKPOINTS / "mano-early-s0"), ("O", CHECKPOINTS / "mano-online-s0")], 3100),
                trace=show([TRACES / "brevo-early-s0", ("O", TRACES / "brevo-online-s0")], 6003), own=show([("a", small(brevo)), ("b", small(brevo, seed=3))], one, brevo, answers="generated"))

@pytest.fixture
def open_page(browser, tmp_path):
    "Opens fragments as one page; afterwards there was no error and no request but for the page."
    said, pages = [], []
    def opened(*fragments, **options):
        path = tmp_path / f"{len(pages)}.html"
        path.write_text(f"<!doctype html><html><head><meta charset=utf-8><meta name=viewport content='width=device-width'><title>t</title><link rel=icon href='data:,'></head><body>{''.join(fragments)}</body></html>")
        page = browser.new_page(viewport=dict(width=1400, height=900), **options)
        page.on("console", lambda m: said.append(m.text)); page.on("pageerror", lambda e: said.append(str(e)))
        page.on("request", lambda r: said.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        pages.append(page)
        page.goto(path.as_uri())
        return page
    yield opened
    for page in pages: page.close()
    assert said == []

def selected(view): return view.eval_on_selector_all(".pane", "panes => panes.map(p => [...p.querySelectorAll('[role=option]')].findIndex(e => e.getAttribute('aria-selected') === 'true'))")
def marks(view, what, name, pane=0): return view.query_selector_all(".pane")[pane].eval_on_selector_all(what, "(found, name) => found.map(e => e.getAttribute(name))", name)
def step_of(view): return int(view.query_selector_all("input")[0].input_value())


def test_click_and_keys_select(open_page, views):
    page, data = open_page(views["brevo"].html), views["brevo"].data
    view = page.query_selector("section")
    assert selected(view) == [data["position"]] * 2
    token = view.query_selector_all(".pane")[1].query_selector_all("[role=option]")
    token[5].click()
    assert selected(view) == [5, 5]
    for key, place in (("ArrowRight", 6), ("ArrowLeft", 5), ("ArrowLeft", 4), ("End", len(token) - 1), ("ArrowRight", len(token) - 1), ("Home", 0), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        assert selected(view) == [place] * 2, key
        assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
    page.keyboard.press("ArrowDown")
    below = selected(view)[0]
    assert token[below].bounding_box()["y"] > token[0].bounding_box()["y"] and abs(token[below].bounding_box()["x"] - token[0].bounding_box()["x"]) < 30
    page.keyboard.press("ArrowUp")
    assert selected(view) == [0, 0]
    assert [marks(view, "[role=option]", "tabindex", i).count("0") for i in range(2)] == [1, 1]
    assert view.query_selector("[role=status]").inner_text().startswith(f"token 1 of {len(token)}. E: reads “<bos>”, halts after {data['panes'][0]['depth'][0]} of 6 steps")


def test_the_step_slider_shows_who_halts(open_page, views):
    page, data = open_page(views["brevo"].html), views["brevo"].data
    view = page.query_selector("section")
    for step in range(1, 7):
        view.query_selector_all("input")[0].fill(str(step))
        for i, pane in enumerate(data["panes"]):
            assert marks(view, "[role=option]", "data-state", i) == ["active" if d > step else "halting" if d == step else "frozen" for d in pane["depth"]]
    assert view.query_selector(".count").inner_text().startswith("step 6: 0 still computing")


def test_the_answer_unfolds_in_the_graph(open_page, views):
    page, data = open_page(views["brevo"].html), views["brevo"].data
    view = page.query_selector("section")
    drawing = data["panes"][0]["drawing"]
    for turn, position in enumerate(data["answering"], 1):
        view.query_selector_all("input")[1].fill(str(turn))
        assert selected(view) == [position] * 2
        frame = drawing["frames"][drawing["frame"][position]]
        assert "".join(marks(view, ".node", "data-mark")) == frame["marks"]
        assert view.query_selector(".say").inner_text() == frame["say"]
        shown = view.eval_on_selector_all(".facts > div", "rows => rows.map(r => [...r.children].map(c => c.textContent))")
        assert dict(shown) == data["panes"][0]["facts"][position]
        bars = view.query_selector(".exits").eval_on_selector_all("b", "found => found.map(b => Number(b.textContent))")
        assert bars == pytest.approx(data["panes"][0]["exits"][position], abs=.0051)
    printed = next(k for k, n in enumerate(drawing["nodes"]) if n["token"] is not None)
    view.query_selector_all(".node")[printed].click()
    assert selected(view) == [drawing["nodes"][printed]["token"]] * 2


def test_a_subexpression_is_marked(open_page, views):
    page, data = open_page(views["mano"].html), views["mano"].data
    view, drawing = page.query_selector("section"), data["panes"][0]["drawing"]
    inner = next(n for n in drawing["nodes"][1:] if n["note"])
    view.query_selector_all("[role=option]")[inner["token"]].click()
    frame = drawing["frames"][drawing["frame"][inner["token"]]]
    inside = {n["token"] for n, m in zip(drawing["nodes"], frame["marks"]) if m == "i"}
    assert {t for t, mark in enumerate(marks(view, "[role=option]", "data-inside")) if mark is not None} == inside
    assert view.query_selector(".say").inner_text() == frame["say"]


def test_play_goes_to_the_end_and_stops(open_page, views):
    page = open_page(views["brevo"].html, reduced_motion="reduce")
    view, button = page.query_selector("section"), page.query_selector("button")
    button.click()
    assert (step_of(view), button.inner_text()) == (1, "Pause")
    page.wait_for_function("document.querySelector('input').value === '3'")
    view.query_selector("[role=option][tabindex='0']").focus()
    page.keyboard.press("Space")
    held = step_of(view)
    assert button.inner_text() == "Play"
    page.wait_for_timeout(1200)
    assert step_of(view) == held
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('button').textContent === 'Play'", timeout=9000)
    assert step_of(view) == 6
    assert page.evaluate("getComputedStyle(document.querySelector('.token')).transitionDuration") == "0s"


def test_two_views_on_a_page_are_independent(open_page, views):
    page = open_page(views["brevo"].html, views["brevo"].html, views["mano"].html)
    same, again, other = page.query_selector_all("section")
    before = selected(again), selected(other)
    same.query_selector_all("[role=option]")[3].click()
    same.query_selector_all("input")[0].fill("2")
    assert selected(same) == [3, 3] and (selected(again), selected(other)) == before
    assert (step_of(same), step_of(again), step_of(other)) == (2, 6, 8)


def test_a_script_that_runs_before_its_view_waits_for_it(open_page, views):
    fragment = views["mano"].html
    page = open_page("<div id=host></div>")
    page.evaluate("""html => {
        const away = document.createElement("div"); away.innerHTML = html;
        const script = [...away.querySelectorAll("script")].at(-1), run = document.createElement("script");
        run.textContent = script.textContent; document.body.appendChild(run);
        setTimeout(() => document.getElementById("host").appendChild(away), 400);
    }""", fragment)
    page.wait_for_selector("section[data-live]")
    assert selected(page.query_selector("section")) == [views["mano"].data["position"]] * 2


def test_nothing_is_wider_than_the_page(open_page, views):
    page = open_page(*(view.html for view in views.values()))
    for width, columns in ((390, 1), (1400, 2)):
        page.set_viewport_size(dict(width=width, height=900))
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for view in page.query_selector_all("section"):
            assert len(set(view.eval_on_selector_all(".pane", "found => found.map(e => Math.round(e.getBoundingClientRect().x))"))) == columns
        boxes = page.eval_on_selector_all(".token, .node, button, input", "found => found.map(e => e.getBoundingClientRect()).map(b => [b.x, b.x + b.width, b.width, b.height])")
        assert all(left >= 0 and right <= width and wide > 0 and high > 0 for left, right, wide, high in boxes)


GROUND = "getComputedStyle(document.querySelector('section')).backgroundColor"
def rgb(color): return "rgb(" + ", ".join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5)) + ")"

def test_the_page_decides_between_light_and_dark(open_page, views):
    page = open_page(views["mano"].html)
    for scheme, name, value, theme in [("light", "lang", "en", LIGHT), ("dark", "lang", "en", DARK), ("dark", "data-theme", "light", LIGHT), ("light", "data-theme", "dark", DARK),
                                       ("dark", "data-jp-theme-light", "true", LIGHT), ("light", "data-jp-theme-light", "false", DARK), ("light", "theme", "dark", DARK)]:
        page.emulate_media(color_scheme=scheme)
        page.evaluate("([name, value]) => document.body.setAttribute(name, value)", [name, value])
        assert page.evaluate(GROUND) == rgb(theme["bg"]), (scheme, name, value)
        page.evaluate("name => document.body.removeAttribute(name)", name)


def test_it_is_readable_without_a_script(open_page, views):
    page = open_page(views["brevo"].html, java_script_enabled=False)
    assert page.locator(".bar").is_hidden()
    first = page.locator("[role=option]").first
    assert first.inner_text().split() == ["<bos>", str(views["brevo"].data["panes"][0]["depth"][0])]


def test_hostile_words_do_nothing_in_a_browser(open_page):
    task = Hostile(max_size=2, modulus=3)
    task.words = ["<pad>", "</script><img src=x onerror=alert(1)>", "שלום\u202e", "\"'><script>alert(2)</script>", "</style><b>"]
    view = show(("<img src=x onerror=alert(3)>", small(task)), task.batch(1, 0, 0), task)
    page = open_page(view.html)
    page.wait_for_selector("section[data-live]")
    shown = page.query_selector_all("[role=option]")
    assert [e.query_selector("bdi").text_content() for e in shown] == view.data["panes"][0]["tokens"]
    for e in shown: e.click()
    assert not page.query_selector_all("img, section b b, section section") and page.title() == "t"
