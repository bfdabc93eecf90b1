"""Write clrs_oracle.json: fixed instances of our CLRS tasks, and what the reference algorithms of dm-clrs 2.0.3 answer.

dm-clrs pulls in jax and tensorflow, so it lives in an environment of its own, and only this script ever imports it. From the root of the repository:

    python3.11 -m venv ENV
    ENV/bin/pip install --no-deps dm-clrs==2.0.3
    ENV/bin/pip install numpy==2.4.6 attrs==26.1.0 chex==0.1.92 jax==0.10.2 absl-py==2.5.1 toolz==1.2.0
    PYTHONPATH=. ENV/bin/python tests/data/make_clrs_oracle.py

The algorithms need neither the package's data sets nor its models, hence not tensorflow itself. They order ties as `numpy.argsort` does, which may
differ between processors: another machine may write other answers that are as good.
"""
import json, math, sys, types
from importlib.metadata import distribution
from itertools import combinations
from pathlib import Path

import numpy as np

from anira.clrs import ALGORITHMS, Clrs
from anira.clrs_sequences import numbers

PACKAGE = distribution("dm-clrs")
assert PACKAGE.version == "2.0.3"
for name, contents in dict(tensorflow=dict(Tensor=type("Tensor", (), {})), clrs=dict(__path__=[str(PACKAGE.locate_file("clrs"))])).items():
    sys.modules[name] = types.ModuleType(name)  # without its __init__, which imports models and data sets
    vars(sys.modules[name]).update(contents)
from clrs._src import algorithms

# ---- the package's answers ----

def outputs(source, *inputs):
    "What a reference algorithm predicts: its output probes by name."
    _, probes = getattr(algorithms, source)(*(np.array(x) if np.ndim(x) else x for x in inputs))
    return {name: np.squeeze(np.array(probe["data"])) for place in probes["output"].values() for name, probe in place.items()}

def output(source, *inputs):
    "The only output of a reference algorithm."
    (found,) = outputs(source, *inputs).values()
    return found

def square(main, width=2, both=True):
    "A graph as a square of weights."
    graph = np.zeros((main[0], main[0]))
    for u, v, *w in zip(*(main[1 + i :: width] for i in range(width))): graph[u, v] = w[0] if w else 1
    return graph + graph.T if both else graph

def chain(pointers):
    "The positions of a linked list, from the one that points to itself."
    follower = {int(u): v for v, u in enumerate(pointers) if u != v}
    order = [v for v, u in enumerate(pointers) if u == v]
    while order[-1] in follower: order.append(follower[order[-1]])
    return order

def marked(mask): return np.flatnonzero(mask == 1).tolist()

def ends(square):
    "The edges u < v marked in a square, one after the other."
    return np.argwhere(np.triu(square == 1)).ravel().tolist()

# ---- in our numbers: a function of (source, main, query) per task; a comment where the conventions differ ----

def sort(source, main, query): return [main[i] for i in chain(output(source, main))]  # pointers to predecessors there, keys here

def minimum(source, main, query): return [int(output(source, main).argmax())]

def binary_search(source, main, query):
    return [int(output(source, query[0], [*main, np.inf]).argmax())]  # 0..n-1 there, 0..n here: a last key above all makes room for n

def quickselect(source, main, query):
    _, probes = algorithms.quickselect(np.array(main), i=query[0])  # the rank is n // 2 unless given
    return [int(probes["output"]["node"]["median"]["data"].argmax())]

def maximum_subarray(source, main, query):
    found = outputs(source, [number - query[0] for number in main])  # signed there; here the query is the zero
    return [int(found["start"].argmax()), int(found["end"].argmax())]

def activity_selection(source, main, query):
    return sorted(marked(output(source, main[::2], main[1::2])), key=lambda i: main[2 * i + 1])  # a mask there, in order of time here

def task_scheduling(source, main, query):
    return sorted(marked(output(source, main[::2], main[1::2])), key=lambda i: main[2 * i])  # a mask there, in order of time here

def matrix_chain(source, main, query):
    split = output(source, main).astype(int)  # a table over matrices 1..n there, splits at dimensions in preorder here
    def walk(i, j): return [split[i + 1, j], *walk(i, split[i + 1, j]), *walk(split[i + 1, j], j)] if j - i > 1 else []
    return [int(k) for k in walk(0, len(main) - 1)]

def optimal_bst(source, main, query):
    root = output(source, main, query).astype(int)  # a table of roots there, preorder here
    def walk(i, j): return [root[i, j], *walk(i, root[i, j]), *walk(root[i, j] + 1, j)] if i < j else []
    return [int(k) for k in walk(0, len(main))]

def longest_common_subsequence(source, main, query):
    way, i, j, letters = output(source, main, query)[:, len(main) :].argmax(2), len(main) - 1, len(query) - 1, []
    while i >= 0 and j >= 0:  # a table of directions there (0 both, 1 first, 2 second string), its letters here
        if way[i, j] == 0: letters.append(main[i])
        i, j = i - (way[i, j] != 2), j - (way[i, j] != 1)
    return letters[::-1]

def string_matching(source, main, query):
    found, begin = [], 0
    while len(main) - begin >= len(query):  # the first position there (the length of the text: none), all here: search on behind each
        begin += int(output(source, main[begin:], query).argmax())
        if begin == len(main): break
        found.append(begin)
        begin += 1
    return found

def segments_intersect(source, main, query): return [int(output(source, main[::2], main[1::2]))]

def convex_hull(source, main, query):
    corners = marked(output(source, main[::2], main[1::2]))  # a mask there, counter-clockwise from the lowest here
    x, y = min(((main[2 * i], main[2 * i + 1]) for i in corners), key=lambda point: point[::-1])
    return sorted(corners, key=lambda i: math.atan2(main[2 * i + 1] - y, main[2 * i] - x) if (main[2 * i], main[2 * i + 1]) != (x, y) else -1)

def dfs(source, main, query):
    parents = output(source, square(main, both=False)).tolist()  # parents there, order of discovery here: children ascending
    def walk(u): return [u, *(v for child, parent in enumerate(parents) if parent == u != child for v in walk(child))]
    return [v for root, parent in enumerate(parents) if parent == root for v in walk(root)]

def bfs(source, main, query):
    parents = output(source, square(main), query[0])  # parents there, one order of many here: kept are the depths, -1 out of reach
    def depth(v): return 0 if v == query[0] else -1 if parents[v] == v else 1 + depth(parents[v])
    return [depth(v) for v in range(main[0])]

def topological_sort(source, main, query): return chain(outputs(source, square(main, both=False))["topo"])[::-1]  # pointers to the next vertex there

def articulation_points(source, main, query): return marked(output(source, square(main)))

def bridges(source, main, query): return ends(output(source, square(main)))

def strongly_connected_components(source, main, query):
    named = output(source, square(main, both=False)).tolist()  # named after any of their vertices there, the least here
    return [named.index(name) for name in named]

def spanning_tree(source, main, query):
    graph = square(main, 3)
    if source == "mst_kruskal": return ends(output(source, graph))
    tree, rest = np.zeros_like(graph), {*range(len(graph))}
    while rest:  # a tree there, a forest here: begin again at the least vertex out of reach
        root = min(rest)
        parents = output(source, graph, root).tolist()
        reached = {v for v, u in enumerate(parents) if u != v}
        for v in reached: tree[min(v, parents[v]), max(v, parents[v])] = 1
        rest -= reached | {root}
    return ends(tree)

def shortest_paths(source, main, query): return output(source, square(main, 3), query[0]).tolist()

def dag_shortest_paths(source, main, query): return output(source, square(main, 3, both=False), query[0]).tolist()

def all_pairs_shortest_paths(source, main, query):
    graph, before = square(main, 3), output(source, square(main, 3)).astype(int)
    apart = (before == np.arange(main[0])[:, None]) & (graph == 0)  # out of reach the predecessor is the source there, the vertex itself here
    return np.where(apart, np.arange(main[0]), before).ravel().tolist()

# ---- the instances ----

def general(main): return all((b[0] - a[0]) * (c[1] - a[1]) != (b[1] - a[1]) * (c[0] - a[0]) for a, b, c in combinations(zip(main[::2], main[1::2]), 3))

def urgent(main, query):
    "The tasks with heavier ones due earlier: the greedy there keeps a task if its deadline is beyond the number kept, which is enough in this order."
    return [x for task in zip(sorted(main[::2]), sorted(main[1::2])[::-1]) for x in task], query

def instances(name):
    "Inputs of every size, some with few numbers and letters, hence many ties."
    sizes = range(6, 17, 2) if name == "string_matching" else range(3, 9)  # a pattern has a quarter of the letters
    few = dict(values=17) | (dict(letters=2) if "letters" in ALGORITHMS[name].reads else {})
    for task in (Clrs(algorithms=(name,), **few), Clrs(algorithms=(name,))):
        for size in sizes:
            detail = task.batch(64, seed=0, step=size, size=size).detail
            drawn = [(numbers(main), numbers(query)) for main, query in zip(detail["main"], detail["query"])]
            if name == "convex_hull": drawn = [(main, query) for main, query in drawn if general(main)]  # there no three points may lie on a line
            if name == "task_scheduling": drawn[1] = urgent(*drawn[1])  # where its greedy is exact; elsewhere it may miss the best schedule
            yield from drawn[:2]

def answered(name):
    "Every instance with the answers of all sources."
    return [[main, query, {source: globals()[name](source, main, query) for source in ALGORITHMS[name].sources}] for main, query in instances(name)]

rows = {name: ",\n".join(json.dumps(row, separators=(",", ":")) for row in answered(name)) for name in ALGORITHMS}
tasks = ",\n".join(f'"{name}": [\n{lines}]' for name, lines in rows.items())
Path(__file__).with_name("clrs_oracle.json").write_text(f'{{"package": "dm-clrs {PACKAGE.version}", "tasks": {{\n{tasks}}}}}\n')
