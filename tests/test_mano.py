"MANO against oracles that share no code with it: recursion over the text, exact laws."
import itertools, tracemalloc
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import chisquare

from anira.mano import Mano
from golden import fingerprint, fresh_fingerprints

quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)
UNLIKELY = 1e-6  # a right law fails a test at this level once in a million seeds

# ---- text back into trees ----

def parse(words):
    "One expression off the front of a list of words: (operation, left, right), or an int."
    word = words.pop(0)
    return int(word) if word.isdigit() else (word, parse(words), parse(words))

def value(tree): return tree if isinstance(tree, int) else {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[tree[0]](value(tree[1]), value(tree[2]))
def size(tree): return 0 if isinstance(tree, int) else 1 + size(tree[1]) + size(tree[2])
def height(tree): return 0 if isinstance(tree, int) else 1 + max(height(tree[1]), height(tree[2]))
def count(tree, sign): return 0 if isinstance(tree, int) else (tree[0] == sign) + count(tree[1], sign) + count(tree[2], sign)
def shape(tree): return "." if isinstance(tree, int) else f"({shape(tree[1])}{shape(tree[2])})"

def tree_of(task, row):
    "The expression of a row, from its text alone, after checking what stands around it."
    words = task.show(row).replace("<len ", "<len").split()
    assert words.pop(0) == "<bos>"
    stated = int(words.pop(0)[4:-1]) if task.options.length_token else None
    tree = parse(words)
    assert words[0] == "<ans>" and len(words) == 2 and stated in (None, size(tree))
    return tree, int(words[1])

@st.composite
def batches(draw, n=8):
    "A task with random options, and one of its batches; moduli on both sides of where integer types change."
    top = draw(st.integers(1, 9))
    options = dict(max_size=top, modulus=draw(st.one_of(st.integers(2, 29), st.sampled_from([119, 122, 128, 181, 182]))),
                   operations="".join(draw(st.permutations("+-*")))[: draw(st.integers(1, 3))],
                   length_token=draw(st.booleans()), beyond=sorted(draw(st.sets(st.integers(top + 1, top + 5), max_size=2))))
    task = Mano(**options)
    return task, task.batch(n, draw(st.integers(0, 2**31 - 1)), draw(st.integers(0, 10**6)), draw(st.sampled_from([None, *task.test_sizes])))

# ---- rows ----

@settings(quick, max_examples=40)
@given(batches())
def test_answers_and_annotations_equal_a_recursion_over_the_text(drawn):
    task, batch = drawn
    table = task.annotate(batch)
    assert batch.answer_mask.sum(1).tolist() == [1] * len(batch)
    for i, row in enumerate(batch.tokens):
        tree, answer = tree_of(task, row)
        assert answer == value(tree) % task.options.modulus and size(tree) == batch.sizes[i]
        assert set(task.show(row)) & set("+-*") <= set(task.options.operations)
        expected = dict(instance=i, size=size(tree), tree_depth=height(tree), left_size=size(tree[1]), right_size=size(tree[2]), step=1, is_end=False,
                        n_add=count(tree, "+"), n_subtract=count(tree, "-"), n_multiply=count(tree, "*"), position=list(row).index(task.ans_id))
        assert {key: int(column[i]) for key, column in table.items()} == expected

@quick
@given(batches(n=4))
def test_verify_and_admissible_know_one_answer(drawn):
    task, batch = drawn
    truth = np.array([task.vocab.index(str(tree_of(task, row)[1])) for row in batch.tokens])
    for token in {*range(min(task.vocab_size, 40)), *truth.tolist()}:
        answers = np.full((len(batch), 1), token)
        assert (task.verify(batch, answers) == (truth == token)).all()
        right = task.admissible(batch, np.full_like(batch.tokens, token))
        assert (right.sum(1) == (truth == token)).all() and not right[~batch.answer_mask].any()
        assert not task.verify(batch, np.stack([truth, np.full_like(truth, token)], 1)).any() or token == task.pad_id
    assert task.verify(batch, task.answers(batch)).all()

@pytest.mark.parametrize("modulus", (97, 40009))
def test_long_expressions_and_large_moduli_are_right(modulus):
    task = Mano(max_size=3, modulus=modulus, beyond=(200,), length_token=False)
    batch = task.batch(6, 0, 0, 200)
    for i, row in enumerate(batch.tokens):
        tree, answer = tree_of(task, row)
        assert answer == value(tree) % modulus and (size(tree), height(tree)) == (200, batch.detail["tree_depth"][i])

# ---- laws: exact enumeration against counts ----

def tree_law(ops, operations, modulus):
    "Exact law of whole expressions with `ops` operations, straight from the definition."
    if ops == 0: return {v: Fraction(1, modulus) for v in range(modulus)}
    law = Counter()
    for left in range(ops):
        for (a, p), (b, q) in itertools.product(tree_law(left, operations, modulus).items(), tree_law(ops - 1 - left, operations, modulus).items()):
            for sign in operations: law[sign, a, b] += p * q / ops / len(operations)
    return law

def project(law, what):
    "The law of what a function says about an outcome."
    out = Counter()
    for outcome, p in law.items(): out[what(outcome)] += p
    return out

def fits(counts, law):
    "Counts follow a law: none outside it, and chi-square at the one-in-a-million level."
    total = sum(counts.values())
    assert set(counts) <= set(law) and sum(law.values()) == 1
    return len(law) == 1 or chisquare([counts[key] for key in law], [float(p) * total for p in law.values()]).pvalue > UNLIKELY

@pytest.mark.parametrize("ops, operations, modulus, outcomes", ((1, "+-*", 3, 27), (2, "*-", 2, 64), (2, "+-*", 2, 144), (3, "-", 2, 80)))
def test_whole_expressions_follow_the_law_enumerated_exactly(ops, operations, modulus, outcomes):
    task, law = Mano(max_size=ops, operations=operations, modulus=modulus), tree_law(ops, operations, modulus)
    trees = [tree_of(task, row) for row in task.batch(4000, 1, 0, ops).tokens]
    assert len(law) == outcomes and fits(Counter(tree for tree, _ in trees), law)
    assert fits(Counter(answer for _, answer in trees), project(law, lambda tree: value(tree) % modulus))

@pytest.mark.parametrize("ops, kinds", ((3, 5), (5, 42)))
def test_shapes_follow_the_law_enumerated_exactly(ops, kinds):
    task, law = Mano(max_size=ops, length_token=False), project(tree_law(ops, "+", 1), shape)
    trees = [tree_of(task, row)[0] for row in task.batch(4000, ops, 0, ops).tokens]
    assert len(law) == kinds and fits(Counter(map(shape, trees)), law)

def test_every_size_of_a_mixed_batch_follows_its_own_law():
    task = Mano(max_size=4, modulus=2, operations="+", held_out=(3,))
    batch = task.batch(6000, 5, 0)
    drawn = [(int(n), tree_of(task, row)[0]) for n, row in zip(batch.sizes, batch.tokens)]
    assert fits(Counter(n for n, _ in drawn), {n: Fraction(1, 3) for n in (1, 2, 4)})
    for n in (1, 2, 4): assert fits(Counter(shape(tree) for m, tree in drawn if m == n), project(tree_law(n, "+", 1), shape))

def test_training_draws_trained_sizes_only():
    task = Mano(max_size=6, held_out=(2, 5), modulus=5)
    sizes = np.concatenate([task.batch(500, 0, step).sizes for step in range(16)])
    assert fits(Counter(sizes.tolist()), {n: Fraction(1, 4) for n in (1, 3, 4, 6)})
    assert task.train_sizes == [1, 3, 4, 6] and [task.split(n) for n in (1, 2, 5, 7)] == ["trained", "interpolation", "interpolation", "extrapolation"]

def test_sizes_may_be_drawn_by_a_power_of_themselves():
    task = Mano(max_size=4, held_out=(3,), modulus=5, size_power=2)
    sizes = np.concatenate([task.batch(500, 0, step).sizes for step in range(16)])
    assert fits(Counter(sizes.tolist()), {1: Fraction(1, 21), 2: Fraction(4, 21), 4: Fraction(16, 21)})

# ---- determinism ----

CASES = ({}, dict(max_size=5, modulus=7, length_token=False, held_out=(3,)))
GOLDEN = ("bf1c9607212c6884", "85c3e6cc51f7a5a8")

@pytest.mark.parametrize("i", range(len(CASES)))
def test_batches_never_change(i): assert fingerprint("mano", CASES[i]) == GOLDEN[i]

def test_a_fresh_process_draws_the_same_batches():
    assert fresh_fingerprints([("mano", options) for options in CASES]) == list(GOLDEN)

# ---- cost ----

def test_a_batch_of_paper_size_needs_little_memory():
    task = Mano(max_size=16)
    tracemalloc.start()
    task.batch(1024, 0, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25  # 32 MiB

# ---- what is refused ----

@pytest.mark.parametrize("options, message", (
    (dict(modulo=7), "unknown setting of ManoOptions 'modulo'.*did you mean 'modulus'"), (dict(self=1), "unknown setting of ManoOptions 'self'"),
    (dict(max_size=0), "max_size = 0 is not valid: expected at least 1"), (dict(max_size=4.5), "expected a whole number"),
    (dict(modulus=1), "modulus = 1 is not valid: expected at least 2"), (dict(length_token="perhaps"), "expected true or false"),
    (dict(operations=""), "distinct characters out of"), (dict(operations="++"), "distinct characters out of"), (dict(operations="/"), "distinct characters"),
    (dict(max_size=4, held_out=(4,)), r"held_out = \[4\] must lie inside the trained range, 1 to 3"), (dict(max_size=4, held_out=(9,)), r"held_out = \[9\] must lie inside"),
    (dict(held_out=(0,)), "expected at least 1"), (dict(max_size=4, beyond=(4,)), r"beyond = \[4\] must lie past max_size = 4")))
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message): Mano(**options)

@pytest.mark.parametrize("options, size, message", (
    (dict(max_size=4), 0, "size = 0 is too small for mano: at least 1"),
    (dict(max_size=4, beyond=(6,)), 7, "size = 7 has no length token: list it in beyond, or set length_token=False")))
def test_impossible_sizes_are_refused(options, size, message):
    with pytest.raises(ValueError, match=message): Mano(**options).batch(2, 0, 0, size)

def test_sizes_past_the_list_are_allowed_where_no_token_states_them():
    assert Mano(max_size=2, length_token=False).batch(2, 0, 0, 5).sizes.tolist() == [5, 5]
