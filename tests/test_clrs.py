"""The CLRS tasks against oracles that share no code with them: the standard library, networkx, scipy, brute force over the text."""
import bisect, hashlib, itertools, re, subprocess, sys, tracemalloc
from collections import Counter
from fractions import Fraction
from functools import lru_cache

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.spatial import ConvexHull
from scipy.stats import chisquare

from anira.clrs import ALGORITHMS, Clrs, ClrsOptions
from anira.clrs_graphs import draw_adjacency
from anira.clrs_sequences import draw_distinct, follow, numbers

quick = settings(max_examples=12, deadline=None, derandomize=True, database=None)
UNLIKELY = 1e-6  # a right law fails a test at this level once in a million seeds
NAMES = list(ALGORITHMS)

# ---- reading instances from the text ----

def read(task, row):
    "A row as (name, main, query, answer): lists of numbers, from its text alone."
    words = task.show(row).split()
    assert words[0] == "<bos>" and words[-1] == "<eos>"
    a = words.index("<ans>")
    given = words[2:a]
    q = given.index("<query>") if "<query>" in given else len(given)
    return words[1][1:-1], *(tuple(map(int, part)) for part in (given[:q], given[q + 1 :], words[a + 1 : -1]))

def written(task, answers, ends=True):
    "Answers as padded tokens."
    rows = [[task.vocab.index(str(x)) for x in answer] + [task.eos_id] * ends for answer in answers]
    width = max(map(len, rows))
    return np.array([row + [task.pad_id] * (width - len(row)) for row in rows]).reshape(len(rows), width)

def pairs(flat, width=2): return [tuple(flat[i : i + width]) for i in range(0, len(flat) - len(flat) % width, width)]

# ---- oracles: is this answer valid? ----

def sort(main, query, answer): return list(answer) == sorted(main)
def minimum(main, query, answer): return len(answer) == 1 and main[answer[0]] == min(main) if all(a < len(main) for a in answer) else False
def binary_search(main, query, answer): return list(answer) == [bisect.bisect_left(main, *query)]
def quickselect(main, query, answer): return len(answer) == 1 and answer[0] < len(main) and main[answer[0]] == sorted(main)[query[0]]

def maximum_subarray(main, query, answer):
    sums = {(i, j): sum(x - query[0] for x in main[i : j + 1]) for i, j in itertools.combinations_with_replacement(range(len(main)), 2)}
    return sums.get(tuple(answer)) == max(sums.values())

@lru_cache
def most_activities(main):
    compatible = lambda chosen: all(a[1] <= b[0] or b[1] <= a[0] for a, b in itertools.combinations(chosen, 2))
    times = pairs(main)
    return max(k for k in range(len(times) + 1) for chosen in itertools.combinations(times, k) if compatible(chosen))

def activity_selection(main, query, answer):
    times = pairs(main)
    if any(a >= len(times) for a in answer) or len(answer) != most_activities(main): return False
    return all(times[a][1] <= times[b][0] for a, b in zip(answer, answer[1:]))

@lru_cache
def most_weight(main):
    done = lambda order: sum(weight for slot, (deadline, weight) in enumerate(order, 1) if slot <= deadline)
    return max(map(done, itertools.permutations(pairs(main))))

def task_scheduling(main, query, answer):
    tasks = pairs(main)
    if any(a >= len(tasks) for a in answer) or len(set(answer)) < len(answer): return False
    return all(slot <= tasks[a][0] for slot, a in enumerate(answer, 1)) and sum(tasks[a][1] for a in answer) == most_weight(main)

def brackets(i, j):
    "All bracketings of the matrices between dimensions i and j, as (preorder of splits, price for given dimensions)."
    if j - i == 1: return [((), lambda d: 0)]
    return [((k, *left, *right), lambda d, i=i, j=j, k=k, x=x, y=y: x(d) + y(d) + d[i] * d[k] * d[j])
            for k in range(i + 1, j) for left, x in brackets(i, k) for right, y in brackets(k, j)]

@lru_cache
def best_brackets(main):
    every = {splits: price(main) for splits, price in brackets(0, len(main) - 1)}
    return {splits for splits, price in every.items() if price == min(every.values())}

def matrix_chain(main, query, answer): return tuple(answer) in best_brackets(main)

@lru_cache
def common_subsequences(first, second):
    of = lambda word: {chosen for k in range(len(word) + 1) for chosen in itertools.combinations(word, k)}
    return of(first) & of(second)

def longest_common_subsequence(main, query, answer):
    common = common_subsequences(main, query)
    return tuple(answer) in common and len(answer) == max(map(len, common))

@lru_cache
def best_search_trees(main, query):
    "Preorders of the best search trees: insert the keys in every order, walk down to every key and gap."
    prices = {}
    for order in itertools.permutations(range(len(main))):
        tree, price = {}, 0
        def descend(x):
            at, path = "", []
            while at in tree:
                path.append(tree[at])
                if tree[at] == x: return at, len(path)
                at += "<" if x < tree[at] else ">"
            return at, len(path)
        for key in order: tree[descend(key)[0]] = key
        price = sum(f * descend(k)[1] for k, f in enumerate(main)) + sum(f * descend(k - .5)[1] for k, f in enumerate(query))
        walk = lambda at: (tree[at], *walk(at + "<"), *walk(at + ">")) if at in tree else ()
        prices[walk("")] = price
    return {order for order, price in prices.items() if price == min(prices.values())}

def optimal_bst(main, query, answer): return tuple(answer) in best_search_trees(main, query)

def string_matching(main, query, answer):
    text, pattern = ("".join(map(chr, (x + 97 for x in word))) for word in (main, query))
    return list(answer) == [m.start() for m in re.finditer(f"(?={pattern})", text)]

def meet(p, q, r, s):
    "Whether two closed segments share a point, by solving for it."
    dx, dy, ex, ey, fx, fy = q[0] - p[0], q[1] - p[1], s[0] - r[0], s[1] - r[1], r[0] - p[0], r[1] - p[1]
    det = dy * ex - dx * ey
    if det: return 0 <= Fraction(fy * ex - fx * ey, det) <= 1 and 0 <= Fraction(fy * dx - fx * dy, det) <= 1
    if dx * fy != dy * fx: return False
    return max(min(p, q), min(r, s)) <= min(max(p, q), max(r, s))

def segments_intersect(main, query, answer): return list(answer) == [int(meet(*pairs(main)))]

def convex_hull(main, query, answer):
    points = np.array(pairs(main))
    if np.linalg.matrix_rank(points - points[0]) < 2: corners = sorted(range(len(points)), key=lambda i: tuple(points[i][::-1]))[:: len(points) - 1]
    else: corners = ConvexHull(points).vertices.tolist()
    start = min(range(len(corners)), key=lambda j: tuple(points[corners[j]][::-1]))
    return list(answer) == corners[start:] + corners[:start]

def in_order(n, edges, order):
    "A graph whose vertices and neighbours stand in the order of an answer: the search that prefers them must repeat it."
    graph, rank = nx.DiGraph(), {v: i for i, v in enumerate(order)}
    graph.add_nodes_from(order)
    graph.add_nodes_from(range(n))
    graph.add_edges_from(sorted(edges, key=lambda edge: rank.get(edge[1], n)))
    return graph

def dfs(main, query, answer):
    if sorted(answer) != list(range(main[0])): return False
    return list(nx.dfs_preorder_nodes(in_order(main[0], pairs(main[1:]), answer))) == list(answer)

def bfs(main, query, answer):
    if any(a >= main[0] for a in answer): return False
    both = [edge for u, v in pairs(main[1:]) for edge in ((u, v), (v, u))]
    return [query[0], *(v for _, v in nx.bfs_edges(in_order(main[0], both, answer), query[0]))] == list(answer)

def graph_of(main, width=2, kind=nx.Graph):
    graph = kind()
    graph.add_nodes_from(range(main[0]))
    for u, v, *w in pairs(main[1:], width): graph.add_edge(u, v, weight=w[0] if w else 1)
    return graph

def topological_sort(main, query, answer):
    return sorted(answer) == list(range(main[0])) and all(answer.index(u) < answer.index(v) for u, v in pairs(main[1:]))

def articulation_points(main, query, answer): return list(answer) == sorted(nx.articulation_points(graph_of(main)))
def bridges(main, query, answer): return list(answer) == [v for edge in sorted(tuple(sorted(e)) for e in nx.bridges(graph_of(main))) for v in edge]

def strongly_connected_components(main, query, answer):
    component = {v: min(c) for c in nx.strongly_connected_components(graph_of(main, 2, nx.DiGraph)) for v in c}
    return list(answer) == [component[v] for v in range(main[0])]

def spanning_tree(main, query, answer):
    graph, chosen = graph_of(main, 3), pairs(answer)
    if len(answer) % 2 or len(set(chosen)) < len(chosen) or any(u >= v or not graph.has_edge(u, v) for u, v in chosen): return False
    tree = nx.minimum_spanning_tree(graph)
    part = nx.Graph(chosen)
    return len(chosen) == tree.number_of_edges() and (not chosen or nx.is_forest(part)) and sum(graph[u][v]["weight"] for u, v in chosen) == tree.size("weight")

def predecessors(graph, source, answer):
    far = nx.single_source_dijkstra_path_length(graph, source)
    if len(answer) != len(graph): return False
    lone = lambda v: v == source or v not in far
    return all(u == v if lone(v) else graph.has_edge(u, v) and far.get(u, np.inf) + graph[u][v]["weight"] == far[v] for v, u in enumerate(answer))

def shortest_paths(main, query, answer): return predecessors(graph_of(main, 3), query[0], answer)
def dag_shortest_paths(main, query, answer): return predecessors(graph_of(main, 3, nx.DiGraph), query[0], answer)
def all_pairs_shortest_paths(main, query, answer):
    n, graph = main[0], graph_of(main, 3)
    return len(answer) == n * n and all(predecessors(graph, i, answer[i * n : i * n + n]) for i in range(n))

ORACLES = {name: globals()[name] for name in NAMES}

# ---- the table ----

def test_twenty_three_tasks_cover_thirty_algorithms():
    assert len(ALGORITHMS) == 23 and sum(len(a.sources) for a in ALGORITHMS.values()) == len({s for a in ALGORITHMS.values() for s in a.sources}) == 30
    assert Clrs().vocab_size == len(set(Clrs().vocab)) == 5 + 23 + 32

# ---- answers ----

@st.composite
def batches(draw, name, n=4):
    top = draw(st.integers(3, 7))
    options = dict(values=draw(st.integers(top + 1, top + 12))) | {o: draw(v) for o, v in (("letters", st.integers(2, 4)), ("degree", st.sampled_from([.5, 1.5, 2., 4.]))) if o in ALGORITHMS[name].reads}
    task = Clrs(algorithms=(name,), max_size=top, **options)
    return task, task.batch(n, draw(st.integers(0, 2**31 - 1)), draw(st.integers(0, 10**6)), draw(st.sampled_from([None, *task.test_sizes])))

def changed(answer, values, random):
    "Answers near a given one: most are wrong, some are other valid answers."
    answer = list(answer)
    yield answer
    yield sorted(answer)
    yield random.sample(answer, len(answer))
    for _ in range(4):
        i, j = random.randrange(len(answer) + 1), random.randrange(len(answer) + 1)
        yield answer[:i] + answer[i + 1 :]
        yield answer[:i] + [random.randrange(values)] + answer[i:]
        yield answer[:i] + [random.randrange(values)] * (i < len(answer)) + answer[i + 1 :]
        yield answer[:i] + answer[i:][:1] + answer[i:]
        i, j = sorted((i, j))
        yield answer[:i] + answer[i:j][::-1] + answer[j:]
        if j < len(answer): yield answer[:i] + [answer[j]] + answer[i + 1 : j] + [answer[i]] * (i < j) + answer[j + 1 :]

@pytest.mark.parametrize("name", NAMES)
def test_verify_equals_the_oracle_around_reference_answers(name):
    @quick
    @given(batches(name), st.randoms(use_true_random=False))
    def check(drawn, random):
        task, batch = drawn
        for i, row in enumerate(batch.tokens):
            said, main, query, answer = read(task, row)
            assert said == name and ORACLES[name](main, query, answer), (main, query, answer)
            others = list(changed(answer, task.options.values, random))
            got = task.verify(batch[np.full(len(others), i)], written(task, others))
            expected = [bool(ORACLES[name](main, query, tuple(other))) for other in others]
            assert got.tolist() == expected, [(main, query, o, e) for o, g, e in zip(others, got, expected) if g != e]
    check()

@pytest.mark.parametrize("name", NAMES)
def test_batch_forms_give_the_answers_of_the_algorithms(name):
    algorithm = ALGORITHMS[name]
    for top, options in ((4, dict(values=5)), (8, dict(values=9, letters=2, degree=5.)), (16, dict(values=32)), (20, dict(values=512, degree=.3))):
        options = {o: v for o, v in options.items() if o == "values" or o in algorithm.reads}
        for n in (1, 250):
            rng = np.random.default_rng(top + n)
            main, query = algorithm.draw(rng.integers(3, top + 1, n), ClrsOptions(max_size=3, algorithms=(name,), **options), rng)
            before = main.copy(), query.copy()
            for *instance, answer in zip(main, query, algorithm.solve(main, query)): assert numbers(answer) == follow(algorithm.run, *map(numbers, instance))[0]
            assert (before[0] == main).all() and (before[1] == query).all()

@pytest.mark.parametrize("name", NAMES)
def test_an_answer_with_any_token_changed_is_rejected_unless_it_is_another_valid_one(name):
    @quick
    @given(batches(name, 1), st.data())
    def check(drawn, data):
        task, batch = drawn
        _, main, query, answer = read(task, batch.tokens[0])
        place, token = data.draw(st.integers(0, len(answer))), data.draw(st.integers(0, task.vocab_size - 1))
        right = task.answers(batch)[0].tolist()
        kind = data.draw(st.sampled_from(("replace", "insert", "delete")))
        wrong = right[:place] + [token] * (kind != "delete") + right[place + (kind != "insert") :]
        words = [task.vocab[t] for t in wrong]
        closed = words[-1:] == ["<eos>"] and all(word.isdigit() for word in words[:-1])
        valid = closed and bool(ORACLES[name](main, query, tuple(map(int, words[:-1]))))
        assert task.verify(batch, np.array([wrong])).tolist() == [valid]
    check()

LENGTHS = dict(sort=3, minimum=2, binary_search=2, quickselect=2, maximum_subarray=3, convex_hull=4, segments_intersect=2, spanning_tree=4, bridges=4)
SMALL = [name for name in NAMES if name != "all_pairs_shortest_paths"]

@pytest.mark.parametrize("name", SMALL)
def test_exhaustively_verify_accepts_what_is_valid_and_admissible_what_leads_there(name):
    task = Clrs(algorithms=(name,), max_size=3, values=4)
    batch = task.batch(8, 11, 0, 3)
    every = [answer for k in range(LENGTHS.get(name, 3) + 1) for answer in itertools.product(range(4), repeat=k)]
    tokens = written(task, every)
    for i, row in enumerate(batch.tokens):
        _, main, query, _ = read(task, row)
        valid = [answer for answer in every if ORACLES[name](main, query, answer)]
        got = task.verify(batch[np.full(len(every), i)], tokens)
        assert [answer for answer, ok in zip(every, got) if ok] == valid and valid, (main, query)
        for answer in valid[:3]:
            again = task.with_answers(batch[[i]], written(task, [answer]))
            start = list(again.tokens[0]).index(task.ans_id)
            allowed = {(j, token) for token in range(task.vocab_size) for j in np.flatnonzero(task.admissible(again, np.full_like(again.tokens, token))[0]) - start}
            closed = [[task.vocab.index(str(x)) for x in other] + [task.eos_id] for other in valid]
            own = [task.vocab.index(str(x)) for x in answer] + [task.eos_id]
            assert allowed == {(j, other[j]) for other in closed for j in range(min(len(other), len(own))) if other[:j] == own[:j]}

def test_all_pairs_accepts_the_product_of_valid_rows():
    task = Clrs(algorithms=("all_pairs_shortest_paths",), max_size=5, values=6, degree=4.)
    batch, many = task.batch(20, 1, 0, 5), 0
    for i, row in enumerate(batch.tokens):
        _, main, _, answer = read(task, row)
        other, graph = list(answer), graph_of(main, 3)
        far = dict(nx.all_pairs_dijkstra_path_length(graph))
        for place in range(25):
            s, v = divmod(place, 5)
            ways = [u for u in graph[v] if v in far[s] and far[s][u] + graph[u][v]["weight"] == far[s][v]] if v != s else []
            if ways: other[place] = max(ways)
        many += other != list(answer)
        assert task.verify(batch[[i]], written(task, [other])).all()
    assert many > 3

@pytest.mark.parametrize("name", NAMES)
def test_what_stands_around_an_answer_matters(name):
    task = Clrs(algorithms=(name,), max_size=5)
    batch = task.batch(4, 5, 0)
    right = task.answers(batch)
    assert task.verify(batch, right).all() and task.verify(batch, np.pad(right, ((0, 0), (0, 3)))).all()
    assert not task.verify(batch, np.where(right == task.eos_id, task.pad_id, right)).any()
    assert not task.verify(batch, right[:, :0]).any() and not task.verify(batch, np.zeros_like(right)).any()
    for token in (task.bos_id, task.query_id, task.ans_id, task.eos_id, task.n_special, task.first_number):
        assert not task.verify(batch, np.pad(right, ((0, 0), (0, 2)), constant_values=((0, 0), (0, token)))).any()
        if token != task.first_number and token != task.eos_id: assert not task.verify(batch, np.pad(right, ((0, 0), (1, 0)), constant_values=token)).any()
    truth = np.pad(batch.tokens[:, 1:], ((0, 0), (0, 1)))
    assert (task.admissible(batch, truth) == batch.answer_mask).all()

def test_nothing_is_admissible_after_a_wrong_token():
    task = Clrs(algorithms=("sort",), max_size=4)
    batch = task.batch(1, 0, 0, 4)
    keys = sorted(read(task, batch.tokens[0])[1])
    wrong = task.with_answers(batch, written(task, [[keys[0], (keys[1] + 1) % 32, *keys[2:]]]))
    admissible = task.admissible(wrong, np.pad(wrong.tokens[:, 1:], ((0, 0), (0, 1))))
    assert admissible[0, wrong.answer_mask[0]].tolist() == [True, False, False, False, False]

# ---- work ----

@pytest.mark.parametrize("name, total", dict(
    sort=lambda n, e, a: n * (n - 1) // 2, minimum=lambda n, e, a: n - 1, maximum_subarray=lambda n, e, a: n - 1, activity_selection=lambda n, e, a: n,
    matrix_chain=lambda n, e, a: (n**3 - n) // 6, optimal_bst=lambda n, e, a: n * (n + 1) * (n + 2) // 6, convex_hull=lambda n, e, a: (n - 2) * len(a),
    dfs=lambda n, e, a: e, topological_sort=lambda n, e, a: 2 * e, articulation_points=lambda n, e, a: 2 * e, bridges=lambda n, e, a: 2 * e,
    strongly_connected_components=lambda n, e, a: 2 * e, spanning_tree=lambda n, e, a: e, shortest_paths=lambda n, e, a: 2 * e, dag_shortest_paths=lambda n, e, a: 3 * e,
    all_pairs_shortest_paths=lambda n, e, a: n**3).items())
def test_total_work_is_what_counting_by_hand_says(name, total):
    task = Clrs(algorithms=(name,), max_size=8)
    batch = task.batch(20, 2, 0)
    table = task.annotate(batch)
    width = 3 if "weight" in ALGORITHMS[name].input else 2
    for i, row in enumerate(batch.tokens):
        _, main, _, answer = read(task, row)
        assert set(table["work_total"][table["instance"] == i]) == {total(int(batch.sizes[i]), (len(main) - 1) // width, answer)}

@pytest.mark.parametrize("name", NAMES)
def test_annotations_are_a_running_count(name):
    task = Clrs(algorithms=(name,), max_size=7)
    batch = task.batch(12, 4, 0)
    table = task.annotate(batch)
    assert set(table) == {"instance", "position", "step", "size", "is_end", "algorithm", "work", "new_work", "work_total"}
    assert all(len(column) == batch.answer_mask.sum() for column in table.values()) and set(table["algorithm"]) == {NAMES.index(name)}
    for i in range(len(batch)):
        mine = table["instance"] == i
        work, new, ends = table["work"][mine], table["new_work"][mine], table["is_end"][mine]
        assert (np.cumsum(new) == work).all() and (new >= 0).all() and work[-1] == table["work_total"][mine][0] and ends.tolist() == [False] * (len(ends) - 1) + [True]

def test_work_of_other_answers_is_the_work_of_the_reference():
    task = Clrs(algorithms=("topological_sort",), max_size=5, degree=.5)
    batch = task.batch(1, 0, 0, 5)
    for answer in ([0], [4, 3, 2, 1, 0, 0, 0]):
        table = task.annotate(task.with_answers(batch, written(task, [answer])))
        reference = task.annotate(batch)["work"].tolist()
        assert table["work"].tolist() == (reference + [reference[-1]] * 9)[: len(answer) + 1]

@quick
@given(st.integers(0, 10**6))
def test_binary_search_takes_logarithmic_work(step):
    task = Clrs(algorithms=("binary_search",), max_size=16)
    batch = task.batch(20, 0, step)
    total = task.work(batch)[:, -1]
    assert (total <= np.ceil(np.log2(batch.sizes + 1))).all() and (total >= np.floor(np.log2(batch.sizes + 1))).all()

# ---- laws ----

def fits(counts, law):
    "Counts follow a law: none outside it, and chi-square at the one-in-a-million level."
    total = sum(counts.values())
    assert set(counts) <= set(law) and abs(sum(law.values()) - 1) < 1e-9, set(counts) - set(law)
    return chisquare([counts[key] for key in law], [float(p) * total for p in law.values()]).pvalue > UNLIKELY

def uniform(keys):
    keys = list(keys)
    return {key: Fraction(1, len(keys)) for key in keys}

def texts(name, n=4000, **options):
    task = Clrs(algorithms=(name,), max_size=3, values=options.pop("values", 4), **options)
    return [read(task, row)[1:3] for row in task.batch(n, 7, 0, 3).tokens]

def acyclic_law():
    law, possible = Counter(), [(0, 1), (0, 2), (1, 2)]
    for edges in itertools.chain.from_iterable(itertools.combinations(possible, k) for k in range(4)):
        for names in itertools.permutations(range(3)): law[frozenset((names[u], names[v]) for u, v in edges)] += Fraction(1, 48)
    return law

@pytest.mark.parametrize("kind, law", (
    ("undirected", uniform(frozenset(c) for k in range(4) for c in itertools.combinations([(0, 1), (0, 2), (1, 2)], k))),
    ("directed", uniform(frozenset(c) for k in range(7) for c in itertools.combinations(list(itertools.permutations(range(3), 2)), k))),
    ("acyclic", acyclic_law())), ids=("undirected", "directed", "acyclic"))
def test_small_graphs_follow_the_law_enumerated_exactly(kind, law):
    drawn = draw_adjacency(np.full(6000, 3), 2., kind, np.random.default_rng(3))
    assert fits(Counter(frozenset(zip(*(x.tolist() for x in np.nonzero(g)))) for g in drawn), law)

@pytest.mark.parametrize("degree, p", ((2., .2), (.5, .05), (50., .5)))
def test_the_density_of_large_graphs_is_the_stated_one(degree, p):
    drawn = draw_adjacency(np.full(400, 11), degree, "undirected", np.random.default_rng(0))
    edges = int(drawn.sum())
    assert fits(Counter({1: edges, 0: 400 * 55 - edges}), {1: p, 0: 1 - p})

def test_edges_stand_in_uniform_order_and_sources_are_uniform():
    rows = texts("bfs", degree=50.)
    whole = [main[1:] for main, _ in rows if len(main) == 7]
    assert fits(Counter(tuple(pairs(main)) for main in whole), uniform(itertools.permutations([(0, 1), (0, 2), (1, 2)])))
    assert fits(Counter(query for _, query in rows), uniform((v,) for v in range(3)))

@pytest.mark.parametrize("name, law", (
    ("sort", uniform(itertools.product(range(4), repeat=3))), ("matrix_chain", uniform(itertools.product(range(1, 4), repeat=4))),
    ("activity_selection", uniform(a + b + c for a, b, c in itertools.product(itertools.combinations(range(4), 2), repeat=3))),
    ("task_scheduling", uniform(itertools.product(range(1, 4), repeat=6))), ("quickselect", uniform(itertools.product(range(4), repeat=3))),
    ("maximum_subarray", uniform(itertools.product(range(4), repeat=3))), ("optimal_bst", uniform(itertools.product(range(1, 4), repeat=3))),
    ("binary_search", {tuple(sorted(keys)): Fraction(len(set(itertools.permutations(keys))), 64) for keys in itertools.combinations_with_replacement(range(4), 3)})), ids=lambda x: x if isinstance(x, str) else "law")
def test_inputs_follow_the_law_enumerated_exactly(name, law):
    assert fits(Counter(main for main, _ in texts(name, 6000)), law)

def test_queries_follow_their_laws():
    assert fits(Counter(query for _, query in texts("quickselect")), uniform((k,) for k in range(3)))
    assert fits(Counter(query for _, query in texts("binary_search")), uniform((k,) for k in range(4)))
    assert fits(Counter(query[:2] for _, query in texts("optimal_bst")), uniform(itertools.product(range(1, 4), repeat=2)))
    strings = list(itertools.product(range(2), repeat=3))
    assert fits(Counter(texts("longest_common_subsequence", letters=2)), uniform(itertools.product(strings, repeat=2)))
    assert fits(Counter(w for main, _ in texts("spanning_tree", values=6) for *_, w in pairs(main[1:], 3)), uniform(range(1, 6)))
    planted = {(text, (letter,)): Fraction(text.count(letter), 24) for text in itertools.product(range(2), repeat=3) for letter in set(text)}
    assert fits(Counter(texts("string_matching", letters=2)), planted)

def test_points_are_distinct_and_uniform_and_segments_meet_half_of_the_time():
    task = Clrs(algorithms=("convex_hull",), max_size=3, values=4)
    points = [pairs(read(task, row)[1]) for row in task.batch(3000, 0, 0, 3).tokens]
    assert all(len(set(three)) == 3 for three in points) and fits(Counter(three[2] for three in points), uniform(itertools.product(range(4), repeat=2)))
    rows = [pairs(main) for main, _ in texts("segments_intersect", 1500)]
    assert fits(Counter(meet(*four) for four in rows), uniform([True, False])) and all(p != q and r != s for p, q, r, s in rows)

def test_segments_are_uniform_among_those_that_meet_and_those_that_do_not():
    grid = list(itertools.product(range(4), repeat=2))
    every = [(p, q, r, s) for p, q in itertools.permutations(grid, 2) for r, s in itertools.combinations(grid, 2)]  # turning a segment round changes nothing
    law = {True: Counter(), False: Counter()}
    for p, q, r, s in every: law[meet(p, q, r, s)][p, (r[0] + s[0], r[1] + s[1])] += 1
    rows = [pairs(main) for main, _ in texts("segments_intersect", 6000)]
    for answer in law:
        drawn, total = Counter((p, (r[0] + s[0], r[1] + s[1])) for p, q, r, s in rows if meet(p, q, r, s) == answer), sum(law[answer].values())
        assert fits(drawn, {key: Fraction(count, total) for key, count in law[answer].items()})

def test_drawing_without_replacement_is_uniform_over_ordered_choices():
    drawn = draw_distinct(3, np.full(6000, 5), np.random.default_rng(1))
    assert fits(Counter(map(tuple, drawn.tolist())), uniform(itertools.permutations(range(5), 3)))

def test_mixtures_are_uniform_over_tasks_and_trained_sizes():
    task = Clrs(max_size=6, held_out=(4,), beyond=(9,))
    drawn = [task.batch(230, 0, step) for step in range(6)]
    assert fits(Counter(np.concatenate([b.detail["algorithm"] for b in drawn]).tolist()), uniform(range(23)))
    assert fits(Counter(np.concatenate([b.sizes for b in drawn]).tolist()), uniform((3, 5, 6)))
    assert task.test_sizes == [3, 4, 5, 6, 9] and set(task.batch(9, 0, 0, 9).sizes) == {9}

def test_sizes_may_be_drawn_by_a_power_of_themselves():
    task = Clrs(max_size=5, held_out=(4,), size_power=2)
    assert fits(Counter(np.concatenate([task.batch(230, 0, step).sizes for step in range(6)]).tolist()), {3: Fraction(9, 34), 5: Fraction(25, 34)})

@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_exact(name):
    for size in (3, 6, 11):
        task = Clrs(algorithms=(name,), max_size=11)
        for row in task.batch(5, 0, 0, size).tokens:
            _, main, query, _ = read(task, row)
            n = dict(matrix_chain=len(main) - 1, activity_selection=len(main) // 2, task_scheduling=len(main) // 2, convex_hull=len(main) // 2).get(name, len(main))
            assert (main[0] if "degree" in ALGORITHMS[name].reads else size if name == "segments_intersect" else n) == size
            assert len(query) == dict(longest_common_subsequence=size, optimal_bst=size + 1, string_matching=max(1, size // 4)).get(name, "|" in ALGORITHMS[name].input)

# ---- determinism ----

HASH = """
import hashlib
from anira.clrs import Clrs
def fingerprint(options):
    task, h = Clrs(**options), hashlib.sha256()
    for seed, step, size in ((0, 1, None), (3, 250000, None), (2**31, 7, 7)):
        batch = task.batch(46, seed, step, size)
        for a in (batch.tokens, batch.answer_mask, batch.sizes, task.work(batch)): h.update(repr((a.shape, a.tolist())).encode())
    return h.hexdigest()[:16]
"""
exec(HASH)
GOLDEN = {"mixture": ({}, "b1efc986340289a3"), "graphs": (dict(algorithms=("dfs", "spanning_tree"), max_size=9, degree=3., held_out=(5,)), "5a2e2e5efd8f02f4")}

@pytest.mark.parametrize("case", GOLDEN)
def test_batches_never_change(case): assert fingerprint(GOLDEN[case][0]) == GOLDEN[case][1]

def test_a_fresh_process_draws_the_same_batches():
    code = f"{HASH}\nprint(*[fingerprint(options) for options in {[options for options, _ in GOLDEN.values()]!r}])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == [known for _, known in GOLDEN.values()]

def test_mixtures_and_empty_graphs_come_in_any_number():
    for n in (1, 2, 30): assert len(Clrs(max_size=4).batch(n, 0, 0)) == n
    for name in NAMES:
        options = dict(degree=.1) if "degree" in ALGORITHMS[name].reads else {}
        task = Clrs(algorithms=(name,), max_size=3, **options)
        for step in range(4): assert (batch := task.batch(1, 0, step)) and task.verify(batch, task.answers(batch)).all()

# ---- cost ----

def test_a_batch_of_the_papers_size_fits_into_a_gigabyte():
    task = Clrs(max_size=16, beyond=(20,))
    tracemalloc.start()
    task.batch(1024, 0, 0)
    task.batch(1024, 0, 0, 20)
    Clrs(algorithms=("all_pairs_shortest_paths",), max_size=16).batch(1024, 0, 0, 16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**28

# ---- refusals ----

@pytest.mark.parametrize("options, sentence", (
    (dict(algorithms=("sorts",)), "unknown name in algorithms 'sorts'"), (dict(algorithms="quick_select"), "did you mean 'quickselect'?"),
    (dict(algorithms=("dfs", "dfs")), "algorithms = ['dfs', 'dfs'] names a task twice"),
    (dict(algorithms=("sort",), degree=3), "degree = 3.0 has no effect on sort"), (dict(algorithms=("bfs",), letters=2), "letters = 2 has no effect on bfs"),
    (dict(letters=33), "letters = 33 is too large"), (dict(letters=1), "letters = 1 is not valid: expected at least 2"), (dict(degree=0), "degree = 0.0 is not valid: expected at least 0.1"),
    (dict(max_size=2), "max_size = 2 is not valid: expected at least 3"), (dict(max_size=32), "values = 32 is too small: size 32 needs the numbers 0 to 32, so values of 33 to 512"),
    (dict(max_size=8, beyond=(40,)), "size 40 needs"), (dict(max_size=8, beyond=(8,)), "beyond = [8] must lie past max_size = 8"), (dict(values=513), "values = 513 is not valid: expected at most 512"), (dict(values=3), "values = 3 is not valid: expected at least 4"),
    (dict(max_size=512), "max_size = 512 is not valid: expected at most 511"), (dict(beyond=(512,)), "beyond = [512] is not valid: sizes go up to 511"), (dict(values=8.5), "values = 8.5 is not valid: expected a whole number"), (dict(degree="many"), "degree = 'many' is not valid: expected a number"), (dict(max_size=8, held_out=(2,)), "held_out = [2] must lie inside the trained range, 3 to 7"),
    (dict(algorithm="sort"), "did you mean 'algorithms'?")), ids=lambda x: "-".join(x) if isinstance(x, dict) else "")
def test_what_cannot_be_meant_is_refused(options, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)): Clrs(**options)

def test_sizes_that_do_not_fit_are_refused():
    task = Clrs(max_size=8, values=12)
    for size, sentence in ((2, "size = 2 is too small for clrs: at least 3"), (12, "values = 12 is too small: size 12")):
        with pytest.raises(ValueError, match=sentence): task.sample(2, np.random.default_rng(0), size=size)
