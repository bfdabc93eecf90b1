"""BREVO and its graphs against oracles that share no code with them: networkx, the text read back, brute force, exact laws."""
import itertools, tracemalloc
from collections import Counter
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import chisquare

from anira.brevo import STATE_FEATURES, STATIC_FEATURES, draw_orders
from anira.dags import FAMILIES, DagOptions, draw_dags, edges_of, parent_lists, parent_matrix
from anira.tasks import make_task
from golden import fingerprint

quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)
UNLIKELY = 1e-6  # a right law fails a test at this level once in a million seeds

# ---- helpers: BREVO's text back into graphs ----

class Instance:
    "One BREVO row, read from its tokens alone."
    def __init__(self, task, row):
        self.task, row = task, [int(t) for t in row if t != task.pad_id]
        q, a = row.index(task.query_id), row.index(task.ans_id)
        assert row[0] == task.bos_id
        listed, (self.query,) = self.words(row[1:q]), self.words(row[q + 1 : a])
        self.edges = list(zip(listed[::2], listed[1::2]))
        self.graph = nx.DiGraph(self.edges)
        self.ancestors = nx.ancestors(self.graph, self.query) | {self.query}
        self.needed = self.graph.subgraph(self.ancestors)
        self.closed, answer = row[-1] == task.eos_id, row[a + 1 :]
        self.answer = self.words(answer[:-1] if self.closed else answer)

    def words(self, tokens):
        "Split tokens into names: tuples that end with a closing letter."
        if self.task.options.name_tokens == "single": return [(t,) for t in tokens]
        out, word = [], ()
        for t in tokens:
            word += (t,)
            if self.task.vocab[t].isupper(): out.append(word); word = ()
        assert not word
        return out

    def ready(self, printed):
        "Names that may come next, by definition."
        return {v for v in self.ancestors - set(printed) if set(self.graph.predecessors(v)) <= set(printed)}

    def right(self, order):
        return set(order) == self.ancestors and len(order) == len(self.ancestors) and all(v in self.ready(order[:j]) for j, v in enumerate(order))

    def dfs_depths(self):
        "Depth in the depth-first tree, recursively, parents in the order of the prompt."
        depths = {}
        def visit(node, depth):
            depths[node] = depth
            for parent in [p for p, c in self.edges if c == node]:
                if parent not in depths: visit(parent, depth + 1)
        visit(self.query, 0)
        return depths

    def longest(self, node):
        return max((1 + self.longest(p) for p in self.graph.predecessors(node)), default=0)

def tokens_of(task, orders, close=True):
    "Orders of names as padded answer tokens."
    flat = [[t for name in order for t in name] + [task.eos_id] * close for order in orders]
    width = max(map(len, flat))
    return np.array([row + [task.pad_id] * (width - len(row)) for row in flat])

def random_order(needed, random):
    "A topological order, picking among ready nodes at random."
    degrees, order = dict(needed.in_degree), []
    while degrees:
        node = random.choice(sorted(v for v, d in degrees.items() if d == 0))
        del degrees[node]; order.append(node)
        for child in needed.successors(node): degrees[child] -= 1
    return order

DIALS = dict(max_degree=st.integers(1, 5), mean_parents=st.sampled_from([1., 1.5, 2., 3.5]), layer_width=st.integers(1, 4), hub_strength=st.sampled_from([0., .5, 1., 3.]))

@st.composite
def brevo_batches(draw, n=6):
    "A BREVO task with random options, one of its batches, and its instances."
    top = draw(st.integers(3, 14))
    inside = draw(st.sets(st.integers(3, max(top - 1, 3)), max_size=2)) if top > 5 else set()
    beyond = draw(st.sets(st.integers(top + 1, top + 4), max_size=2))
    options = dict(max_size=top, held_out=sorted(inside), beyond=sorted(beyond), name_tokens=draw(st.sampled_from(["single", "multi"])))
    options["graphs"] = draw(st.sampled_from(list(FAMILIES)))
    options |= {dial: draw(DIALS[dial]) for dial in FAMILIES[options["graphs"]].reads}
    if draw(st.booleans()): options["ids"] = max(top, *beyond, 3) + draw(st.integers(0, 5))
    task = make_task("brevo", **options)
    batch = task.batch(n, draw(st.integers(0, 2**31 - 1)), draw(st.integers(0, 10**6)), draw(st.sampled_from([None, *task.test_sizes])))
    return task, batch, [Instance(task, row) for row in batch.tokens]

# ---- BREVO ----

@quick
@given(brevo_batches())
def test_brevo_rows_are_what_networkx_says_they_are(drawn):
    task, batch, instances = drawn
    for instance, size in zip(instances, batch.sizes):
        assert nx.is_directed_acyclic_graph(instance.graph) and len(set(instance.edges)) == len(instance.edges)
        assert instance.closed and set(instance.answer) == instance.ancestors
        assert any(list(order) == instance.answer for order in nx.all_topological_sorts(instance.needed)) if len(instance.answer) < 6 else instance.right(instance.answer)
        if task.options.graphs == "physicslm4": assert max(max(d for _, d in degrees) for degrees in (instance.graph.out_degree, instance.graph.in_degree)) <= task.options.max_degree
        assert instance.graph.out_degree(instance.query) == 0 and instance.graph.in_degree(instance.query) >= 1
        assert len(instance.graph) <= size

@quick
@given(brevo_batches())
def test_brevo_annotations_equal_definitions(drawn):
    task, batch, instances = drawn
    table, row = task.annotate(batch), 0
    assert set(table) == {*STATIC_FEATURES, *STATE_FEATURES, "instance", "position", "is_end"}
    for i, instance in enumerate(instances):
        graph, depths, outs = instance.graph, instance.dfs_depths(), dict(instance.graph.out_degree)
        assert instance.longest(instance.query) == nx.dag_longest_path_length(instance.needed)
        whole = dict(size=batch.sizes[i], n_edges=graph.number_of_edges(), n_ancestors=len(instance.ancestors), max_out_degree=max(outs.values()),
                     max_in_degree=max(d for _, d in graph.in_degree), hub_share=max(outs.values()) / graph.number_of_edges(), graph_depth=instance.longest(instance.query))
        begins = list(batch.tokens[i]).index(task.ans_id)
        for j, name in enumerate([*instance.answer, None]):
            printed = instance.answer[:j]
            ready, earlier = instance.ready(printed), instance.ready(printed[:-1])
            state = dict(frontier_size=len(ready), newly_enabled=len(ready - earlier) if j else 0, step=j + 1, remaining=len(instance.ancestors) - j)
            own = dict(dfs_depth=depths[name], out_degree=outs[name], in_degree=graph.in_degree(name)) if name else dict(dfs_depth=np.nan, out_degree=np.nan, in_degree=np.nan)
            for _ in name or "e":
                expected = dict(**whole, **state, **own, instance=i, is_end=name is None, position=begins)
                for key, value in expected.items(): np.testing.assert_equal(float(table[key][row]), float(value), err_msg=key)
                row, begins = row + 1, begins + 1
    assert all(len(column) == row for column in table.values())

@quick
@given(brevo_batches(n=4), st.randoms(use_true_random=False))
def test_brevo_verify_accepts_every_valid_order(drawn, random):
    task, batch, instances = drawn
    orders = [random_order(instance.needed, random) for instance in instances]
    answers = tokens_of(task, orders)
    assert all(instance.right(order) for instance, order in zip(instances, orders))
    assert task.verify(batch, answers).all()
    assert task.verify(batch, np.pad(answers, ((0, 0), (0, 3)), constant_values=task.pad_id)).all()
    again = task.with_answers(batch, answers)
    assert [Instance(task, row).answer for row in again.tokens] == orders
    assert task.verify(again, task.answers(again)).all() and (task.prompts(again) == task.prompts(batch)).all()
    assert task.annotate(again)["remaining"].min() == 0

def test_brevo_verify_accepts_all_orders_that_exist():
    task = make_task("brevo", max_size=6, name_tokens="multi")
    batch = task.batch(12, 3, 0)
    for i, instance in enumerate(Instance(task, row) for row in batch.tokens):
        valid = {tuple(order) for order in nx.all_topological_sorts(instance.needed)}
        every = list(itertools.permutations(sorted(instance.ancestors)))[:720]
        got = task.verify(batch[np.full(len(every), i)], tokens_of(task, every))
        assert {order for order, ok in zip(every, got) if ok} == valid & set(every)

def mutations(task, instance):
    "Wrong answers, each made from a right one by a single change: (what, tokens)."
    right, flat = instance.answer, lambda order: [t for name in order for t in name]
    whole, eos, foreign = flat(right), [task.eos_id], sorted(set(instance.graph) - instance.ancestors)
    for j in range(len(right)):
        yield "dropped", flat(right[:j] + right[j + 1 :]) + eos
        yield "repeated", flat(right[: j + 1] + right[j:]) + eos
        yield "stopped early", flat(right[:j]) + eos
        yield "eos inside", flat(right[:j]) + eos + flat(right[j:]) + (eos if j else [])
        for special in (task.pad_id, task.bos_id, task.query_id, task.ans_id):
            yield "special token inside", flat(right[:j]) + [special] + flat(right[j:]) + eos
        for node in foreign: yield "foreign node", flat(right[:j]) + list(node) + flat(right[j:]) + eos
        for k in range(j + 1, len(right)):
            if nx.has_path(instance.graph, right[j], right[k]):
                yield "dependent nodes swapped", flat(right[:j] + [right[k]] + right[j + 1 : k] + [right[j]] + right[k + 1 :]) + eos
    for j in range(len(whole)):
        for t in range(task.n_special, task.vocab_size):
            changed = whole[:j] + [t] + whole[j + 1 :]
            if t != whole[j] and (task.options.name_tokens == "single" or not valid_spelling(task, instance, changed)): yield "one token changed", changed + eos
        if task.options.name_tokens == "multi": yield "one letter dropped", whole[:j] + whole[j + 1 :] + eos
    yield "no eos", whole
    for t in range(1, task.vocab_size): yield "junk after eos", whole + eos + [t]
    yield "late junk after eos", whole + eos + [task.pad_id, task.n_special]
    for t in range(1, task.vocab_size): yield "extra token", whole + [t] + (eos if t != task.eos_id else [t])
    yield "nothing", [task.pad_id]
    yield "eos only", eos

def valid_spelling(task, instance, tokens):
    try: return instance.right(instance.words(tokens))
    except AssertionError: return False

@settings(quick, max_examples=12)
@given(brevo_batches(n=2))
def test_brevo_verify_rejects_every_mutation(drawn):
    task, batch, instances = drawn
    for i, instance in enumerate(instances):
        wrong = list(mutations(task, instance))
        width = max(len(tokens) for _, tokens in wrong)
        answers = np.array([tokens + [task.pad_id] * (width - len(tokens)) for _, tokens in wrong])
        accepted = task.verify(batch[np.full(len(wrong), i)], answers)
        assert not accepted.any(), [(what, task.show(tokens)) for (what, tokens), ok in zip(wrong, accepted) if ok][:5]

@quick
@given(brevo_batches(n=3), st.randoms(use_true_random=False))
def test_brevo_admissible_equals_brute_force(drawn, random):
    task, batch, instances = drawn
    batch = task.with_answers(batch, tokens_of(task, [random_order(instance.needed, random) for instance in instances]))
    instances = [Instance(task, row) for row in batch.tokens]
    for token in range(task.vocab_size):
        expected = np.zeros_like(batch.answer_mask)
        for i, instance in enumerate(instances):
            position = list(batch.tokens[i]).index(task.ans_id)
            for j, name in enumerate(instance.answer):
                ready = instance.ready(instance.answer[:j])
                for k in range(len(name)):
                    expected[i, position] = any(len(other) > k and other[:k] == name[:k] and other[k] == token for other in ready)
                    position += 1
            expected[i, position] = token == task.eos_id
        np.testing.assert_array_equal(task.admissible(batch, np.full_like(batch.tokens, token)), expected)

# ---- laws: exact enumeration against counts ----

def fits(counts, law):
    "Counts follow a law: none outside it, and chi-square at the one-in-a-million level."
    total = sum(counts.values())
    assert set(counts) <= set(law) and abs(sum(law.values()) - 1) < 1e-9
    return chisquare([counts[key] for key in law], [float(p) * total for p in law.values()]).pvalue > UNLIKELY

def edges_in(lists):
    "The edges of one graph, from its lists of parents."
    return frozenset((int(p), c) for c, row in enumerate(lists) for p in row if p >= 0)

def combine(choices):
    "Law of a graph whose nodes draw their parents independently; choices: per node {parents: probability}."
    law = Counter()
    for picks in itertools.product(*(c.items() for c in choices)):
        p = 1
        for _, q in picks: p *= q
        law[frozenset((v, i) for i, (parents, _) in enumerate(picks) for v in parents)] += p
    return law

def coins(chances, rescue=()):
    "Law of a set whose members come up independently; if none does, one of `rescue` is added uniformly."
    law = Counter()
    for joined in itertools.product((False, True), repeat=len(chances)):
        p = 1
        for yes, chance in zip(joined, chances.values()): p *= chance if yes else 1 - chance
        members = frozenset(v for v, yes in zip(chances, joined) if yes)
        for final in [members] if members or not rescue else [frozenset({v}) for v in rescue]: law[final] += p / (1 if members or not rescue else len(rescue))
    return {members: p for members, p in law.items() if p > 0}

def physicslm4_law(n, max_degree=4):
    law = Counter()
    def grow(i, edges, p):
        if i == n: law[edges] += p; return
        available = [v for v in range(i) if sum(a == v for a, _ in edges) < max_degree]
        most = min(max_degree, len(available))
        for m in range(1, most + 1):
            picks = list(itertools.combinations(available, m))
            for pick in picks: grow(i + 1, edges | {(v, i) for v in pick}, p / most / len(picks))
    most_leaves = (n - 1) // 4 + 1
    for leaves in range(1, most_leaves + 1): grow(leaves, frozenset(), Fraction(1, most_leaves))
    return law

def erdos_renyi_law(n, mean_parents):
    p = min(1, 2 * mean_parents / (n - 1))
    return combine([coins(dict.fromkeys(range(i), p), range(i) if i == n - 1 else ()) for i in range(n)])

def layered_law(n, mean_parents, layer_width):
    layers = [range(i, min(i + layer_width, n - 1)) for i in range(0, n - 1, layer_width)] + [range(n - 1, n)]
    above = {v: list(up) for up, layer in zip(layers, layers[1:]) for v in layer}
    return combine([coins(dict.fromkeys(above[v], min(1, mean_parents / len(above[v]))), above[v]) if v in above else {frozenset(): 1} for v in range(n)])

def tree_law(n):
    law = itertools.product(*([(v, c) for c in range(v + 1, n)] for v in range(n - 1)))
    law = [frozenset(edges) for edges in law]
    return {edges: Fraction(1, len(law)) for edges in law}

def preferential_law(n, mean_parents, hub_strength):
    law, whole = Counter(), int(mean_parents)
    def draw(i, m, edges, chosen, p):
        if m == 0: return grow(i + 1, edges | {(v, i) for v in chosen}, p)
        weight = {v: (1 + sum(a == v for a, _ in edges)) ** hub_strength for v in range(i) if v not in chosen}
        for v, w in weight.items(): draw(i, m - 1, edges, (*chosen, v), p * w / sum(weight.values()))
    def grow(i, edges, p):
        if i < n - 1:
            for m, q in ((whole, 1 + whole - mean_parents), (whole + 1, mean_parents - whole)):
                if q: draw(i, min(i, m), edges, (), p * q)
        else:
            loose = [v for v in range(n - 1) if not any(a == v for a, _ in edges)]
            for parents, q in coins(dict.fromkeys(loose, .5), loose).items(): law[edges | {(v, n - 1) for v in parents}] += p * q
    grow(1, frozenset(), 1)
    return law

def shortcuts_law(n, mean_parents):
    p = min(1, 2 * (mean_parents - 1) / (n - 1))
    return combine([coins({v: 1 if v == i - 1 else p for v in range(i)}) for i in range(n)])

LAWS = [(n, dict(graphs=name, **dials)) for name, dials, ns in (
    ("physicslm4", {}, (4,)), ("physicslm4", dict(max_degree=1), (4,)), ("physicslm4", dict(max_degree=2), (4, 5)), ("physicslm4", dict(max_degree=3), (5,)),
    ("layered", {}, (4,)), ("layered", dict(mean_parents=1.5, layer_width=2), (4, 5, 6)), ("layered", dict(mean_parents=1.2), (6,)), ("tree", {}, (3, 4, 5)),
    ("erdos_renyi", dict(mean_parents=1), (3, 4)), ("erdos_renyi", dict(mean_parents=1.1), (5,)), ("preferential", {}, (5,)), ("preferential", dict(mean_parents=1.5, hub_strength=2), (5,)),
    ("preferential", dict(mean_parents=1, hub_strength=0), (5,)), ("shortcuts", {}, (3, 4)), ("shortcuts", dict(mean_parents=1.5), (5,))) for n in ns]

def law_of(n, options):
    return globals()[f"{options['graphs']}_law"](n, *(getattr(DagOptions(**options), dial) for dial in FAMILIES[options["graphs"]].reads))

@pytest.mark.parametrize("n, options", LAWS, ids=str)
def test_graphs_follow_the_law_enumerated_exactly(n, options):
    "Among graphs of other sizes, which must not matter."
    law, sizes = law_of(n, options), np.resize([n, 3, n, 7], 20000)
    drawn = draw_dags(sizes, DagOptions(**options), np.random.default_rng(n))
    assert all(not (graph[size:] >= 0).any() for graph, size in zip(drawn[:40], sizes))
    counts = Counter(map(edges_in, drawn[sizes == n]))
    assert fits(counts, law) if len(law) > 1 else set(counts) == set(law)

def test_the_enumerated_law_has_as_many_graphs_as_counted_by_hand():
    assert [len(physicslm4_law(4, most)) for most in (4, 1, 2)] == [21, 1, 12] and len(tree_law(5)) == 24 and len(shortcuts_law(4, 2)) == 8

def test_the_number_of_leaves_is_uniform():
    drawn = draw_dags(np.full(9000, 13), DagOptions(), np.random.default_rng(5))
    counts = Counter((~(drawn >= 0).any(2)).sum(1).tolist())
    assert fits(counts, {leaves: Fraction(1, 4) for leaves in (1, 2, 3, 4)})

@pytest.mark.parametrize("name", FAMILIES)
def test_edges_are_a_uniform_shuffle_and_three_forms_agree(name):
    one = draw_dags(np.array([4]), DagOptions(graphs=name), np.random.default_rng(3))
    edges = edges_of(np.repeat(one, 20000, 0), np.random.default_rng(0))
    every = list(itertools.permutations(sorted(edges_in(one[0]))))
    assert fits(Counter(tuple(map(tuple, e)) for e in edges.tolist()), {order: Fraction(1, len(every)) for order in every})
    many = draw_dags(np.arange(3, 20), DagOptions(graphs=name), np.random.default_rng(0))
    again = parent_lists(parent_matrix(edges_of(many, np.random.default_rng(1)), many.shape[1]))
    assert list(map(edges_in, again)) == list(map(edges_in, many))

def order_law(graph, left):
    "Exact law of answers, backwards from the query, as {order: probability}."
    if not left: return {(): Fraction(1)}
    ready, law = [v for v in left if not left & set(graph.successors(v))], Counter()
    for v in ready:
        for order, p in order_law(graph, left - {v}).items(): law[(*order, v)] += p / len(ready)
    return law

def test_orders_follow_the_backward_law_and_ignore_nodes_that_are_no_ancestors():
    graph = nx.DiGraph([(0, 2), (1, 3), (2, 4), (0, 5), (3, 5), (1, 4), (2, 6), (3, 6)])
    lists, ancestors = parent_lists(nx.to_numpy_array(graph, nodelist=range(7)).T.astype(bool)[None]), nx.ancestors(graph, 6) | {6}
    drawn = draw_orders(np.repeat(lists, 6000, 0), np.full(6000, 6), np.random.default_rng(4))
    law = order_law(graph.subgraph(ancestors), frozenset(ancestors))
    assert len(law) == len(list(nx.all_topological_sorts(graph.subgraph(ancestors)))) == 6 and (drawn[:, 5:] == -1).all()
    assert fits(Counter(tuple(row[:5].tolist()) for row in drawn), law)

@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "shortcuts"])
def test_orders_of_drawn_graphs_follow_the_backward_law(name):
    lists = draw_dags(np.array([7, 7, 6, 5]), DagOptions(graphs=name), np.random.default_rng(1))
    drawn = draw_orders(np.repeat(lists, 5000, 0), np.repeat([6, 6, 5, 4], 5000), np.random.default_rng(4)).reshape(4, 5000, 7)
    for parents, query, orders in zip(lists, (6, 6, 5, 4), drawn):
        graph = nx.DiGraph(list(edges_in(parents)))
        law = order_law(graph, frozenset(nx.ancestors(graph, query) | {query}))
        counts = Counter(tuple(v for v in row if v >= 0) for row in orders.tolist())
        assert fits(counts, law) if len(law) > 1 else set(counts) == set(law)

def test_names_are_a_uniform_draw_without_replacement():
    task = make_task("brevo", max_size=3, ids=4)
    names = task.sample(9600, np.random.default_rng(0)).detail["names"][:, :, 0] - task.n_special
    law = {names: Fraction(1, 24) for names in itertools.permutations(range(4), 3)}
    assert fits(Counter(map(tuple, names.tolist())), law)

def test_multi_token_names_are_the_336_words():
    task = make_task("brevo", max_size=30, name_tokens="multi")
    drawn = task.sample(2000, np.random.default_rng(0), size=30).detail["names"]
    words = Counter("".join(task.vocab[t] for t in name if t >= 0) for name in drawn.reshape(-1, 4).tolist())
    every = {"".join(w[:-1]) + w[-1].upper() for n in (2, 3, 4) for w in itertools.product("abcd", repeat=n)}
    assert len(every) == 336 == task.n_names and fits(words, {word: Fraction(1, 336) for word in every})
    assert all(len({tuple(name) for name in row}) == 30 for row in drawn[:200].tolist())

# ---- batches ----

@quick
@given(brevo_batches(), st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_rows_of_a_batch_stand_on_their_own(drawn, rows):
    task, batch, _ = drawn
    part, rows = batch[np.array(rows)], np.array(rows)
    assert task.verify(part, task.answers(part)).all() and (part.sizes == batch.sizes[rows]).all()
    table, whole = task.annotate(part), task.annotate(batch)
    first = whole["instance"] == rows[0]
    for key in STATE_FEATURES: np.testing.assert_array_equal(table[key][table["instance"] == 0], whole[key][first])


GOLDEN = {(): "2edbc7387d502e74", (("max_size", 9), ("name_tokens", "multi"), ("max_degree", 2), ("beyond", (12,))): "2179f82eb0b54cb6", (("max_size", 8), ("graphs", "layered"), ("layer_width", 2)): "69c5df04f3086e96", (("max_size", 8), ("graphs", "tree")): "09b18a2406ec137b",
          (("max_size", 8), ("graphs", "erdos_renyi")): "fa14492bad32c443", (("max_size", 8), ("graphs", "preferential"), ("hub_strength", 1.5)): "db00dbf6efc2439d", (("max_size", 8), ("graphs", "shortcuts")): "aeb7d5f570eb2ae8"}

@pytest.mark.parametrize("options", GOLDEN, ids=lambda options: dict(options).get("graphs", f"physicslm4-{len(options)}"))
def test_batches_never_change(options): assert fingerprint("brevo", options) == GOLDEN[options]

@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_at_paper_size_is_small(name):
    task = make_task("brevo", max_size=30, beyond=(36,), graphs=name)
    tracemalloc.start()
    batch = task.batch(1024, 0, 0, 36)
    assert task.verify(batch, task.answers(batch)).all()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20

@pytest.mark.parametrize("options, message", (
    (dict(graphs="treee"), "did you mean 'tree'"), (dict(graphs="tree", max_degree=3), "max_degree = 3 has no effect on graphs = 'tree': it shapes physicslm4"),
    (dict(mean_parents=3), "mean_parents = 3.0 has no effect on graphs = 'physicslm4': it shapes layered, erdos_renyi, preferential, shortcuts"),
    (dict(graphs="preferential", layer_width=2), "layer_width = 2 has no effect on graphs = 'preferential': it shapes layered"), (dict(graphs="layered", layer_width=0), "expected at least 1"),
    (dict(graphs="shortcuts", mean_parents=.9), "mean_parents = 0.9 is not valid: expected at least 1"), (dict(graphs="preferential", hub_strength=-1), "hub_strength = -1.0 is not valid: expected at least 0")))
def test_dials_that_do_nothing_or_too_much_are_refused(options, message):
    with pytest.raises(ValueError, match=message): make_task("brevo", **options)
