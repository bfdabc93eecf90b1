"The CLRS tasks against the package they come from: answers of dm-clrs 2.0.3, written once by data/make_clrs_oracle.py, which says how."
import json
from pathlib import Path

import numpy as np
import pytest

from anira.clrs import ALGORITHMS, Clrs
from anira.clrs_sequences import follow
from anira.task import Batch

TASKS = json.loads((Path(__file__).parent / "data" / "clrs_oracle.json").read_text())["tasks"]
TASK = Clrs()

# ---- the stored instances ----

def padded(rows): return np.array([row + [-1] * (max(map(len, rows)) - len(row)) for row in rows], np.int64)

def verified(name, answers):
    "Whether the task accepts an answer to each of the stored instances."
    main, query = (padded(column) for column in list(zip(*TASKS[name]))[:2])
    which, numbers = np.full(len(main), list(ALGORITHMS).index(name)), padded(answers)
    tokens, answer_mask = TASK._write(which, main, query, numbers)
    batch = Batch(tokens, answer_mask, (main >= 0).sum(1), dict(algorithm=which, main=main, query=query))
    return TASK.verify(batch, TASK.answers(batch)).tolist()

def cases(name):
    "Per stored instance: main, query, our answer, the package's answer; one after the other for every source."
    for main, query, answers in TASKS[name]:
        ours, _ = follow(ALGORITHMS[name].run, main, query)
        for source in ALGORITHMS[name].sources: yield main, query, ours, answers[source]

def from_source(name, source): return [answers[source] for _, _, answers in TASKS[name]]

# ---- what all valid answers have in common ----

def triples(main): return list(zip(main[1::3], main[2::3], main[3::3]))

def key(main, query, answer): return main[answer[0]]

def total(main, query, answer): return sum(number - query[0] for number in main[answer[0] : answer[1] + 1])

def count(main, query, answer): return len(answer)

def multiplications(main, query, answer):
    splits = iter(answer)
    def price(i, j): return main[i] * main[(k := next(splits))] * main[j] + price(i, k) + price(k, j) if j - i > 1 else 0
    return price(0, len(main) - 1)

def search_cost(main, query, answer):
    roots = iter(answer)
    def price(i, j): return sum(main[i:j]) + sum(query[i : j + 1]) + (price(i, k := next(roots)) + price(k + 1, j) if i < j else 0)
    return price(0, len(main))

def tree_weight(main, query, answer):
    weights = {(u, v): w for u, v, w in triples(main)}
    return sum(weights[edge] for edge in zip(answer[::2], answer[1::2]))

def ways(main, query, answer):
    "Per vertex the length of the way along its predecessors, None where there is none."
    weights = {(u, v): w for u, v, w in triples(main)}
    def length(v): return 0 if v == query[0] else None if answer[v] == v else length(answer[v]) + weights[answer[v], v]
    return [length(v) for v in range(main[0])]

def both_ways(main, query, answer): return ways([main[0], *(x for u, v, w in triples(main) for x in (u, v, w, v, u, w))], query, answer)

def all_ways(main, query, answer): return [both_ways(main, [v], answer[v * main[0] :]) for v in range(main[0])]

VALUE = dict(minimum=key, quickselect=key, maximum_subarray=total, activity_selection=count, matrix_chain=multiplications, optimal_bst=search_cost, longest_common_subsequence=count,
             spanning_tree=tree_weight, shortest_paths=both_ways, dag_shortest_paths=ways, all_pairs_shortest_paths=all_ways)
EQUAL = ["sort", "binary_search", "string_matching", "segments_intersect", "convex_hull", "dfs", "articulation_points", "bridges", "strongly_connected_components"]
OTHER = ["bfs", "topological_sort", "task_scheduling"]

# ---- tests ----

def test_every_task_and_every_source_is_covered():
    assert sorted([*VALUE, *EQUAL, *OTHER]) == sorted(TASKS) == sorted(ALGORITHMS)
    assert all(len(TASKS[name]) == 24 and all(tuple(answers) == algorithm.sources for *_, answers in TASKS[name]) for name, algorithm in ALGORITHMS.items())

@pytest.mark.parametrize("name", EQUAL)
def test_our_answer_is_the_one_of_the_package(name):
    for main, query, ours, theirs in cases(name): assert ours == theirs, (main, query)

@pytest.mark.parametrize("name", VALUE)
def test_our_answer_is_as_good_as_the_one_of_the_package(name):
    for main, query, ours, theirs in cases(name): assert VALUE[name](main, query, ours) == VALUE[name](main, query, theirs), (main, query)

@pytest.mark.parametrize("name", ALGORITHMS)
def test_our_answer_passes_our_check(name): assert all(verified(name, [follow(ALGORITHMS[name].run, main, query)[0] for main, query, _ in TASKS[name]]))

@pytest.mark.parametrize("name, source", [(name, source) for name, algorithm in ALGORITHMS.items() for source in algorithm.sources if name not in ("bfs", "task_scheduling")])
def test_the_package_passes_our_check(name, source):
    answers = from_source(name, source)
    assert all(verified(name, answers))
    assert not all(verified(name, answers[1:] + answers[:1]))  # those of other instances do not

def test_breadth_first_orders_go_through_the_layers_of_the_package():
    for main, query, ours, depths in cases("bfs"):
        assert sorted(ours) == [v for v, depth in enumerate(depths) if depth >= 0]
        assert [depths[v] for v in ours] == sorted(depths[v] for v in ours), (main, query)

def test_schedules_weigh_as_much_as_those_of_the_package_where_its_greedy_is_exact():
    "It keeps a task whose deadline is beyond the number kept before, though others could move up: exact if heavier tasks are due earlier, else it may miss the best, and we refuse its schedule."
    exact, best = [], []
    for main, query, ours, theirs in cases("task_scheduling"):
        assert all(slot <= main[2 * i] for slot, i in enumerate(theirs, 1)), main
        mine, other = (sum(main[2 * i + 1] for i in answer) for answer in (ours, theirs))
        assert mine >= other
        best.append(mine == other)
        exact.append(sorted(main[::2]) == main[::2] and sorted(main[1::2])[::-1] == main[1::2])
    assert sum(exact) >= 12 and all(b for b, e in zip(best, exact) if e)
    assert verified("task_scheduling", from_source("task_scheduling", "task_scheduling")) == best
