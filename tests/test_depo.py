"Depo against an oracle that only follows edges, and against exact laws."
import itertools, tracemalloc
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import chisquare

from anira.depo import Depo, shuffled
from golden import fingerprint, fresh_fingerprints

quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)
UNLIKELY = 1e-6  # a right law fails a test at this level once in a million seeds

class Instance:
    "One row, read from its text alone: the order of its edges, its questions, its answers."
    def __init__(self, task, row):
        vocab = task.vocab
        words = [vocab[t] for t in row if t != task.pad_id]
        q, a = words.index("<query>"), words.index("<ans>")
        assert words[0] == "<bos>" and words[-1] == "<eos>"
        names = self.names(words[1:q])
        self.edges, asked = list(zip(names[::2], names[1::2])), words[q + 1 : a]
        self.hops = [int(word[2:-1]) for word in asked if word[0] == "<"]
        self.starts, self.answers = self.names([word for word in asked if word[0] != "<"]), self.names(words[a + 1 : -1])
        self.successor = dict(self.edges)

    def names(self, words):
        "Words up to and including one without a hyphen are a name."
        out, name = [], ()
        for word in words:
            name += (word,)
            if word[-1] != "-": out.append(name); name = ()
        assert not name
        return out

    def walk(self, node, hops): return node if hops == 0 else self.walk(self.successor[node], hops - 1)

@st.composite
def batches(draw, n=6):
    "A task with random options, one of its batches, and its instances."
    top = draw(st.integers(3, 12))
    options = dict(max_size=top, beyond=sorted(draw(st.sets(st.integers(top + 1, top + 5), max_size=2))), max_hops=draw(st.integers(1, 14)),
                   questions=draw(st.integers(1, 4)), name_length=draw(st.integers(1, 3)))
    if draw(st.booleans()): options["letters"] = max(top, *options["beyond"], 3) + draw(st.integers(0, 3))
    task = Depo(**options)
    batch = task.batch(n, draw(st.integers(0, 2**31 - 1)), draw(st.integers(0, 10**6)), draw(st.sampled_from([None, *task.test_sizes])))
    return task, batch, [Instance(task, row) for row in batch.tokens]

# ---- rows ----

@settings(quick, max_examples=40)
@given(batches())
def test_rows_are_one_cycle_with_questions_that_never_lap_it(drawn):
    task, batch, instances = drawn
    for instance, n in zip(instances, batch.sizes):
        assert len(instance.edges) == len(instance.successor) == n and set(instance.successor) == set(instance.successor.values())
        first = instance.edges[0][0]
        assert [k for k in range(1, n + 1) if instance.walk(first, k) == first] == [n]  # one cycle, not several
        assert len({len(name) for name in instance.successor}) == 1 and len(instance.hops) == len(instance.starts) == task.options.questions
        assert all(1 <= k <= min(task.options.max_hops, n - 1) for k in instance.hops)
        assert instance.answers == [instance.walk(node, k) for node, k in zip(instance.starts, instance.hops)]

@quick
@given(batches())
def test_annotations_equal_definitions(drawn):
    task, batch, instances = drawn
    table, expected = task.annotate(batch), []
    for i, instance in enumerate(instances):
        position, step, row = list(batch.tokens[i]).index(task.ans_id), 1, dict(instance=i, size=int(batch.sizes[i]))
        for j, (name, k) in enumerate(zip([*instance.answers, ("<eos>",)], [*instance.hops, 0])):
            for _ in name:
                expected.append(dict(**row, position=position, step=step, is_end=k == 0, question=j + 1, hops=k))
                position, step = position + 1, step + 1
    assert [{key: int(column[i]) for key, column in table.items()} for i in range(len(expected))] == expected and len(table["hops"]) == len(expected)
    assert task.complexity in table

@quick
@given(batches(n=3))
def test_verify_and_admissible_know_one_answer(drawn):
    task, batch, instances = drawn
    right = task.answers(batch)
    assert task.verify(batch, right).all() and task.verify(batch, np.pad(right, ((0, 0), (0, 2)), constant_values=task.pad_id)).all()
    for j in range(right.shape[1]):
        for token in range(task.vocab_size):
            changed, inserted = right.copy(), np.insert(right, j, token, axis=1)
            changed[:, j] = token
            assert (task.verify(batch, changed) == (right[:, j] == token)).all()
            assert not task.verify(batch, inserted).any()
        assert not task.verify(batch, np.delete(right, j, axis=1)).any() and not task.verify(batch, right[:, :j]).any()
    for token in range(task.vocab_size):
        assert token == task.pad_id or not task.verify(batch, np.insert(right, right.shape[1], token, axis=1)).any()
        expected = np.zeros_like(batch.answer_mask)
        expected[batch.answer_mask] = (right == token).ravel()
        assert (task.admissible(batch, np.full_like(batch.tokens, token)) == expected).all()

@pytest.mark.parametrize("written, hops, right", (("a", "1", 1), ("aaaaa", "12000", 1), ("ba", "12", 0), ("ab", "12", 2), ("ab.a", "1200", 3)))
def test_answers_of_another_length_are_annotated_and_judged(written, hops, right):
    "a and b are the two right names of an instance, a full stop its `<eos>`; hops say which question's a token is."
    task = Depo(max_size=6, questions=2, held_out=(3, 4))
    row = next(i for i, (a, b, _) in enumerate(task.answers(task.batch(40, 0, 0))) if a != b)
    batch = task.batch(40, 0, 0)[np.array([row])]
    token, asked = dict(zip("ab.", task.answers(batch)[0])), dict(zip("120", [*batch.detail["hops"][0], 0]))
    again = task.with_answers(batch, np.array([[token[letter] for letter in written]]))
    assert task.annotate(again)["hops"].tolist() == [asked[which] for which in hops] and (task.prompts(again) == task.prompts(batch)).all()
    assert not task.verify(again, task.answers(again)).any()
    assert task.admissible(again, np.roll(again.tokens, -1, 1)).sum() == right

# ---- laws ----

def fits(counts, law):
    "Counts follow a law: none outside it, and chi-square at the one-in-a-million level."
    total = sum(counts.values())
    assert set(counts) <= set(law) and abs(sum(law.values()) - 1) < 1e-9
    return len(law) == 1 or chisquare([counts[key] for key in law], [float(p) * total for p in law.values()]).pvalue > UNLIKELY

def uniform(outcomes): return {outcome: Fraction(1, len(outcomes)) for outcome in outcomes}

def test_whole_instances_of_three_nodes_follow_the_law_enumerated_exactly():
    "Each of the 2 cycles × 3! orders of its edges × 3 nodes × 2 hop counts is equally likely."
    task = Depo(max_size=3, max_hops=5)
    drawn = Counter((tuple(i.edges), i.starts[0], i.hops[0]) for i in (Instance(task, row) for row in task.batch(7200, 0, 0).tokens))
    names, (a, b, c) = [("1",), ("2",), ("3",)], (("1",), ("2",), ("3",))
    cycles = [[(a, b), (b, c), (c, a)], [(a, c), (c, b), (b, a)]]
    every = [(order, start, k) for cycle in cycles for order in itertools.permutations(cycle) for start in names for k in (1, 2)]
    assert len(every) == 72 and fits(drawn, uniform(every))

@pytest.mark.parametrize("n, names", ((4, 4), (4, 5)))
def test_cycles_are_uniform_among_those_with_any_names(n, names):
    task = Depo(max_size=n, letters=names)
    drawn = Counter(frozenset(Instance(task, row).edges) for row in task.batch(4000, 1, 0, n).tokens)
    every = {frozenset(zip(order, order[1:] + order[:1])) for order in itertools.permutations([(str(i),) for i in range(1, names + 1)], n)}
    assert len(every) == {4: 6, 5: 30}[names] and fits(drawn, uniform(every))

def test_hops_and_size_are_independent_above_the_largest_hop_count():
    task = Depo(max_size=9, max_hops=4, held_out=(3, 4))
    batch = task.batch(8000, 0, 0)
    p = {n: 1 / (n + 3) for n in range(5, 10)}
    law = {(n, k): p[n] / sum(p.values()) / 4 for n in p for k in (1, 2, 3, 4)}
    assert fits(Counter(zip(batch.sizes.tolist(), batch.detail["hops"][:, 0].tolist())), law)

def test_short_cycles_ask_for_fewer_hops():
    for n in (3, 4, 6): assert fits(Counter(Depo(max_size=6).batch(3000, 2, 0, n).detail["hops"].ravel().tolist()), uniform(range(1, n)))

def test_decks_of_mixed_sizes_are_shuffled_uniformly():
    cards, deal = np.tile([1, 5, 4, 3], 3000), np.tile([1, 2, 3, 3], 3000)
    decks = shuffled(cards, deal, np.random.default_rng(0))
    for n, m in ((1, 1), (5, 2), (4, 3), (3, 3)): assert fits(Counter(map(tuple, decks[cards == n, :m].tolist())), uniform(list(itertools.permutations(range(n), m))))

# ---- determinism ----

CASES = ({}, dict(max_size=9, max_hops=4, questions=3, name_length=2, held_out=(5,), beyond=(12,)))
GOLDEN = ("3a8b7be3fa0272c9", "b6d04bc0e21bf123")

@pytest.mark.parametrize("i", range(len(CASES)))
def test_batches_never_change(i): assert fingerprint("depo", CASES[i]) == GOLDEN[i]

def test_a_fresh_process_draws_the_same_batches():
    assert fresh_fingerprints([("depo", options) for options in CASES]) == list(GOLDEN)

# ---- cost ----

def test_a_batch_needs_little_memory():
    task = Depo()
    tracemalloc.start()
    task.batch(1024, 0, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25  # 32 MiB

# ---- what is refused ----

@pytest.mark.parametrize("options, message", (
    (dict(max_size=2), "max_size = 2 is not valid: expected at least 3"), (dict(max_hops=0), "max_hops = 0 is not valid: expected at least 1"),
    (dict(questions=0), "questions = 0 is not valid: expected at least 1"), (dict(name_length=0), "name_length = 0 is not valid: expected at least 1"),
    (dict(letters=0), "letters = 0 is not valid: expected at least 1"), (dict(max_hop=3), "unknown setting of DepoOptions 'max_hop'.*did you mean 'max_hops'"),
    (dict(max_hops=2.5), "expected a whole number"), (dict(questions="many"), "expected a number"),
    (dict(max_size=9, letters=8), "letters = 8 is too small: sizes up to 9 need as many names, and 8 can be spelled"),
    (dict(max_size=9, beyond=(28,), letters=3, name_length=3), "letters = 3 is too small: sizes up to 28 need as many names, and 27 can be spelled"),
    (dict(max_size=6, held_out=(2,)), r"held_out = \[2\] must lie inside the trained range, 3 to 5"), (dict(max_size=3, held_out=(3,)), r"held_out = \[3\] must lie inside"),
    (dict(max_size=6, beyond=(5,)), r"beyond = \[5\] must lie past max_size = 6"), (dict(max_size=5, held_out=(3, 4), beyond=(5,)), "must lie past")))
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message): Depo(**options)

@pytest.mark.parametrize("options, size, message", (
    (dict(max_size=4), 2, "size = 2 is too small for depo: at least 3"), (dict(max_size=4), 5, "size = 5 needs as many names, and 4 can be spelled: list it in beyond, or set letters")))
def test_impossible_sizes_are_refused(options, size, message):
    with pytest.raises(ValueError, match=message): Depo(**options).batch(2, 0, 0, size)

def test_sizes_past_the_list_are_allowed_where_names_exist():
    assert Depo(max_size=4, letters=9).batch(2, 0, 0, 9).sizes.tolist() == [9, 9]
