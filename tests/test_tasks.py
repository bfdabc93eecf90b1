"""What all tasks promise, and MANO against oracles that share no code with it: recursion over the text, brute force, exact laws."""
import hashlib, itertools, subprocess, sys
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import chisquare

from anira.task import Batch
from anira.tasks import TASKS, make_task

quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)
UNLIKELY = 1e-6  # a right law fails a test at this level once in a million seeds

def test_verify_of_empty_answers_is_false():
    for name in TASKS:
        task = make_task(name, max_size=4)
        assert not task.verify(task.batch(3, 0, 0), np.zeros((3, 0), int)).any()

# ---- MANO ----

def parse(words):
    "One expression off the front of a list of words: (operation, left, right), or an int."
    word = words.pop(0)
    return int(word) if word.isdigit() else (word, parse(words), parse(words))

def value(tree): return tree if isinstance(tree, int) else {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[tree[0]](value(tree[1]), value(tree[2]))
def size(tree): return 0 if isinstance(tree, int) else 1 + size(tree[1]) + size(tree[2])
def height(tree): return 0 if isinstance(tree, int) else 1 + max(height(tree[1]), height(tree[2]))
def count(tree, sign): return 0 if isinstance(tree, int) else (tree[0] == sign) + count(tree[1], sign) + count(tree[2], sign)
def shape(tree): return "." if isinstance(tree, int) else f"({shape(tree[1])}{shape(tree[2])})"

def mano_tree(task, row):
    "The expression of a row, from its text alone, after checking what stands around it."
    words = task.show(row).replace("<len ", "<len").split()
    assert words.pop(0) == "<bos>"
    stated = int(words.pop(0)[4:-1]) if task.options.length_token else None
    tree = parse(words)
    assert words[0] == "<ans>" and len(words) == 2 and stated in (None, size(tree))
    return tree, int(words[1])

@st.composite
def mano_batches(draw, n=8):
    top = draw(st.integers(1, 9))
    options = dict(max_size=top, modulus=draw(st.integers(2, 29)), operations="".join(draw(st.permutations("+-*")))[: draw(st.integers(1, 3))],
                   length_token=draw(st.booleans()), beyond=sorted(draw(st.sets(st.integers(top + 1, top + 5), max_size=2))))
    task = make_task("mano", **options)
    return task, task.batch(n, draw(st.integers(0, 2**31 - 1)), draw(st.integers(0, 10**6)), draw(st.sampled_from([None, *task.test_sizes])))

@settings(quick, max_examples=50)
@given(mano_batches())
def test_mano_answers_and_annotations_equal_a_recursion_over_the_text(drawn):
    task, batch = drawn
    table = task.annotate(batch)
    assert batch.answer_mask.sum(1).tolist() == [1] * len(batch)
    for i, row in enumerate(batch.tokens):
        tree, answer = mano_tree(task, row)
        assert answer == value(tree) % task.options.modulus and size(tree) == batch.sizes[i]
        assert set(task.show(row)) & set("+-*") <= set(task.options.operations)
        expected = dict(instance=i, size=size(tree), tree_depth=height(tree), left_size=size(tree[1]), right_size=size(tree[2]), step=1, is_end=False,
                        n_add=count(tree, "+"), n_subtract=count(tree, "-"), n_multiply=count(tree, "*"), position=list(row).index(task.ans_id))
        assert {key: int(column[i]) for key, column in table.items()} == expected

@quick
@given(mano_batches(n=4))
def test_mano_verify_and_admissible_know_one_answer(drawn):
    task, batch = drawn
    truth = np.array([task.vocab.index(str(mano_tree(task, row)[1])) for row in batch.tokens])
    for token in range(task.vocab_size):
        answers = np.full((len(batch), 1), token)
        assert (task.verify(batch, answers) == (truth == token)).all()
        right = task.admissible(batch, np.full_like(batch.tokens, token))
        assert (right.sum(1) == (truth == token)).all() and not right[~batch.answer_mask].any()
        assert not task.verify(batch, np.stack([truth, np.full_like(truth, token)], 1)).any() or token == task.pad_id
    assert task.verify(batch, task.answers(batch)).all()

# ---- laws: exact enumeration against counts ----

def fits(counts, law):
    "Counts follow a law: none outside it, and chi-square at the one-in-a-million level."
    total = sum(counts.values())
    assert set(counts) <= set(law) and abs(sum(law.values()) - 1) < 1e-9
    return chisquare([counts[key] for key in law], [float(p) * total for p in law.values()]).pvalue > UNLIKELY

def shape_law(ops):
    "Exact law of the shapes of expressions with `ops` operations."
    if ops == 0: return {".": Fraction(1)}
    law = Counter()
    for left in range(ops):
        for (a, p), (b, q) in itertools.product(shape_law(left).items(), shape_law(ops - 1 - left).items()): law[f"({a}{b})"] += p * q / ops
    return law

@pytest.mark.parametrize("ops, kinds", ((3, 5), (4, 14)))
def test_mano_shapes_follow_the_law_enumerated_exactly(ops, kinds):
    task, law = make_task("mano", max_size=ops, length_token=False), shape_law(ops)
    trees = [mano_tree(task, row)[0] for row in task.batch(5000, ops, 0, ops).tokens]
    assert len(law) == kinds and fits(Counter(map(shape, trees)), law)

def test_mano_operations_and_values_are_uniform_and_independent_of_place():
    task = make_task("mano", max_size=2, modulus=3)
    trees = [mano_tree(task, row)[0] for row in task.batch(6000, 1, 0, 1).tokens]
    assert fits(Counter(trees), {tree: Fraction(1, 27) for tree in itertools.product("+-*", range(3), range(3))})

@pytest.mark.parametrize("name, options, law", (
    ("mano", dict(max_size=6, held_out=(2, 5), modulus=5), {n: 0.25 for n in (1, 3, 4, 6)}),
    ("brevo", dict(max_size=9, held_out=(4, 7), beyond=(11,)), {n: 1 / (n + 3) / sum(1 / (m + 3) for m in (3, 5, 6, 8, 9)) for n in (3, 5, 6, 8, 9)})))
def test_training_draws_trained_sizes_only_in_the_stated_proportions(name, options, law):
    task = make_task(name, **options)
    sizes = np.concatenate([task.batch(500, 0, step).sizes for step in range(16)])
    assert fits(Counter(sizes.tolist()), law)
    assert sorted(law) == task.train_sizes and all(task.split(n) == "trained" for n in law)
    assert [task.split(n) for n in options["held_out"]] == ["interpolation"] * 2

# ---- determinism ----

GOLDEN = {("mano", ()): "c7e958d826208445", ("mano", (("max_size", 5), ("modulus", 7), ("length_token", False), ("held_out", (3,)))): "e5e0213953f4c5fb"}
HASH = """
import hashlib
from anira.tasks import make_task
def fingerprint(name, options):
    task, h = make_task(name, **dict(options)), hashlib.sha256()
    for seed, step, size in ((0, 1, None), (3, 250000, None), (2**31, 7, 7)):
        batch = task.batch(16, seed, step, size)
        for a in (batch.tokens, batch.sizes): h.update(repr((a.shape, a.tolist())).encode())
    return h.hexdigest()[:16]
"""
exec(HASH)

@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case[0]}-{len(case[1])}")
def test_batches_never_change(case): assert fingerprint(*case) == GOLDEN[case]

def test_a_fresh_process_draws_the_same_batches():
    code = f"{HASH}\nimport random; random.seed(); print(*[fingerprint(*case) for case in {list(GOLDEN)!r}])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == list(GOLDEN.values())

@quick
@given(st.sampled_from(list(TASKS)), st.integers(0, 2**32), st.integers(0, 10**7), st.booleans())
def test_a_batch_is_a_function_of_options_seed_and_step(name, seed, step, exact):
    options = dict(max_size=6)
    one = make_task(name, **options)
    np.random.seed(seed % 1000); np.random.random(seed % 7); one.batch(3, seed + 1, step)  # neither global state nor earlier calls matter
    a, b = (task.batch(4, seed, step, 6 if exact else None) for task in (one, make_task(name, **options)))
    assert (a.tokens == b.tokens).all() and all((a.detail[k] == b.detail[k]).all() for k in a.detail)
    others = (one.batch(4, seed + 1, step), one.batch(4, seed, step + 1), make_task(name, max_size=6, beyond=(9,)).batch(4, seed, step))
    assert all(other.tokens.shape != a.tokens.shape or (other.tokens != a.tokens).any() for other in others)

# ---- what is refused ----

@pytest.mark.parametrize("name, options, message", (
    ("maano", {}, "unknown task 'maano': expected one of mano, brevo, clrs, lano.*did you mean 'mano'"),
    ("mano", dict(modulo=7), "unknown setting of ManoOptions 'modulo'.*did you mean 'modulus'"),
    ("brevo", dict(max_degre=2), "unknown setting of BrevoOptions 'max_degre'.*did you mean 'max_degree'"),
    ("brevo", dict(name="x"), "unknown setting of BrevoOptions 'name'"), ("mano", dict(self=1), "unknown setting of ManoOptions 'self'"),
    ("mano", dict(max_size=0), "max_size = 0 is not valid: expected at least 1"), ("brevo", dict(max_size=2), "max_size = 2 is not valid: expected at least 3"),
    ("mano", dict(max_size=4.5), "expected a whole number"), ("mano", dict(modulus=1), "modulus = 1 is not valid: expected at least 2"),
    ("mano", dict(operations=""), "distinct characters out of"), ("mano", dict(operations="++"), "distinct characters out of"), ("mano", dict(operations="/"), "distinct characters"),
    ("mano", dict(length_token="perhaps"), "expected true or false"),
    ("mano", dict(max_size=4, held_out=(4,)), r"held_out = \[4\] must lie inside the trained range, 1 to 3"), ("mano", dict(max_size=4, held_out=(9,)), r"held_out = \[9\] must lie inside"),
    ("brevo", dict(max_size=6, held_out=(2,)), r"held_out = \[2\] must lie inside the trained range, 3 to 5"), ("mano", dict(held_out=(0,)), "expected at least 1"),
    ("mano", dict(max_size=4, beyond=(4,)), r"beyond = \[4\] must lie past max_size = 4"), ("brevo", dict(max_size=6, beyond=(9, 5)), r"beyond = \[5\] must lie past max_size = 6"),
    ("brevo", dict(max_size=8, ids=7), "ids = 7 is too small: sizes up to 8 need as many names"), ("brevo", dict(max_size=8, ids=9, beyond=(10,)), "ids = 9 is too small: sizes up to 10"),
    ("brevo", dict(max_degree=0), "max_degree = 0 is not valid: expected at least 1"), ("brevo", dict(name_tokens="mutli"), "did you mean 'multi'")))
def test_impossible_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message): make_task(name, **options)

@pytest.mark.parametrize("name, options, size, message", (
    ("mano", dict(max_size=4), 0, "size = 0 is too small for mano: at least 1"), ("brevo", dict(max_size=4), 2, "size = 2 is too small for brevo: at least 3"),
    ("mano", dict(max_size=4, beyond=(6,)), 7, "size = 7 has no length token: list it in beyond, or set length_token=False"),
    ("brevo", dict(max_size=4), 5, "size = 5 needs as many names, and there are 4: set ids to 5 or more"),
    ("brevo", dict(max_size=4, name_tokens="multi"), 337, "size = 337 needs as many names, and there are 336")))
def test_impossible_sizes_are_refused(name, options, size, message):
    with pytest.raises(ValueError, match=message): make_task(name, **options).batch(2, 0, 0, size)

@pytest.mark.parametrize("n", (0, -1))
def test_an_empty_batch_is_refused(n):
    with pytest.raises(ValueError, match="a batch has at least one instance"): make_task("mano").batch(n, 0, 0)

def test_sizes_past_the_list_are_allowed_where_tokens_exist():
    assert make_task("mano", max_size=2, length_token=False).batch(2, 0, 0, 5).sizes.tolist() == [5, 5]
    assert make_task("brevo", max_size=4, ids=9).batch(2, 0, 0, 9).sizes.tolist() == [9, 9]
    assert isinstance(make_task("brevo", max_size=4, name_tokens="multi").batch(2, 0, 0, 40), Batch)
