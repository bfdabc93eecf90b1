"""What every family of tasks promises; each has a suite of its own besides."""
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import chisquare

from anira.task import Batch
from anira.tasks import TASKS, make_task
from golden import fingerprint, fresh_fingerprints

quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)
UNLIKELY = 1e-6  # a right law fails a test at this level once in a million seeds

# ---- what every family promises ----

SMALL = dict(mano=dict(max_size=st.integers(1, 6), modulus=st.integers(2, 9), operations=st.sampled_from(["+-*", "-+", "*"]), length_token=st.booleans()),
             brevo=dict(max_size=st.integers(3, 8), max_degree=st.integers(1, 4), name_tokens=st.sampled_from(["single", "multi"])),
             clrs=dict(max_size=st.integers(3, 6), values=st.integers(8, 12)),
             lano=dict(max_size=st.integers(2, 4), prompt_share=st.sampled_from([0.0, 0.5])),
             depo=dict(max_size=st.integers(3, 8), max_hops=st.integers(1, 9), questions=st.integers(1, 3), name_length=st.integers(1, 2)))
ONE_ANSWER = ("mano", "depo")  # families in which nothing but the drawn answer is right

@st.composite
def family_batches(draw, n=6):
    "A batch of one exact size, of any family with random options; the size may be held out, or beyond training."
    name = draw(st.sampled_from(list(TASKS)))
    options = draw(st.fixed_dictionaries(SMALL[name]))
    low, top = TASKS[name].smallest, options["max_size"]
    if top > low: options["held_out"] = draw(st.sampled_from([(), (top - 1,)]))
    options["beyond"] = draw(st.sampled_from([(), (top + 1,)]))
    task = make_task(name, **options)
    size = draw(st.sampled_from(task.test_sizes))
    return task, size, task.batch(n, draw(st.integers(0, 2**31 - 1)), draw(st.integers(0, 10**6)), size)

def one_change(task, right, random):
    "A right answer with one token replaced, dropped, inserted or appended, or cut off early."
    i, token = random.randrange(len(right)), random.randrange(task.vocab_size)
    return random.choice([right[:i] + [token] + right[i + 1 :], right[:i] + right[i + 1 :], right[:i] + [token] + right[i:], right + [token], right[:i]])

def closes(task, answer, right):
    "An answer ends where it should: with its only `<eos>`, or, in families without one, with its last token."
    if task.eos_id in right: return answer.index(task.eos_id) == len(answer) - 1 if task.eos_id in answer else False
    return len(answer) == len(right)

@settings(quick, max_examples=60)
@given(family_batches(), st.randoms(use_true_random=False))
def test_right_answers_are_accepted_and_changed_ones_are_not_unless_every_token_is_admissible(drawn, random):
    task, size, batch = drawn
    assert (batch.sizes == size).all() and batch.tokens.max() < task.vocab_size and batch.answer_mask.any(1).all()
    answers = task.answers(batch)
    assert task.verify(batch, answers).all() and task.admissible(batch, np.roll(batch.tokens, -1, 1))[batch.answer_mask].all()
    assert (task.with_answers(batch, answers).tokens == batch.tokens).all()
    right = [[int(t) for t in row if t != task.pad_id] for row in answers]
    changed = [one_change(task, row, random) for row in right]
    padded = np.array([row + [task.pad_id] * (answers.shape[1] + 1 - len(row)) for row in changed])
    accepted, again = task.verify(batch, padded), task.with_answers(batch, padded)
    fits_in = (task.admissible(again, np.roll(again.tokens, -1, 1)) | ~again.answer_mask).all(1)
    for row, new, ok, every in zip(right, changed, accepted, fits_in):
        while new and new[-1] == task.pad_id: new.pop()
        assert ok == (new == row or task.name not in ONE_ANSWER and every and task.pad_id not in new and closes(task, new, row)), task.show(new)

@quick
@given(family_batches())
def test_annotations_are_one_row_per_answer_token(drawn):
    task, size, batch = drawn
    table = task.annotate(batch)
    assert {len(column) for column in table.values()} == {int(batch.answer_mask.sum())} and (table["size"] == size).all()
    assert {"instance", "position", "step", "is_end", task.complexity} <= set(table)
    assert (np.stack([table["instance"], table["position"]]) == np.nonzero(batch.answer_mask)).all()
    assert (table["is_end"] == (batch.tokens[table["instance"], table["position"] + 1] == task.eos_id)).all()

@pytest.mark.parametrize("name", TASKS)
def test_rows_of_a_batch_stand_on_their_own(name):
    task = make_task(name, max_size=6)
    batch, rows = task.batch(6, 0, 1, 5), np.array([4, 1, 4])
    part, whole = batch[rows], task.annotate(batch)
    assert task.verify(part, task.answers(part)).all() and (part.sizes == batch.sizes[rows]).all()
    table = task.annotate(part)
    for key in table:
        if key != "instance": np.testing.assert_array_equal(table[key][table["instance"] == 0], whole[key][whole["instance"] == 4])

@pytest.mark.parametrize("name", TASKS)
def test_verify_of_empty_answers_is_false(name):
    task = make_task(name, max_size=5)
    assert not task.verify(task.batch(5, 0, 0), np.zeros((5, 0), np.int64)).any()

@pytest.mark.parametrize("name", TASKS)
def test_training_draws_trained_sizes_only_in_the_stated_proportions(name):
    task = make_task(name, max_size=9, held_out=(4, 7), beyond=(10,))
    sizes = np.concatenate([task.batch(256, 0, step).sizes for step in range(8)])
    weights = task.size_weights(np.array(task.train_sizes))
    counts = Counter(sizes.tolist())
    assert set(counts) <= set(task.train_sizes) and {task.split(n) for n in task.train_sizes} == {"trained"}
    assert chisquare([counts[n] for n in task.train_sizes], len(sizes) * weights / weights.sum()).pvalue > UNLIKELY
    assert [task.split(n) for n in (4, 7, 10)] == ["interpolation", "interpolation", "extrapolation"]

# ---- determinism ----

def test_a_fresh_process_draws_the_same_batches():
    cases = [(name, dict(max_size=8, beyond=(9,))) for name in TASKS]
    assert fresh_fingerprints(cases) == [fingerprint(*case) for case in cases]

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
    ("maano", {}, "unknown task 'maano': expected one of mano, brevo, clrs, lano, depo.*did you mean 'mano'"),
    ("brevo", dict(max_degre=2), "unknown setting of BrevoOptions 'max_degre'.*did you mean 'max_degree'"),
    ("brevo", dict(name="x"), "unknown setting of BrevoOptions 'name'"),
    ("brevo", dict(max_size=2), "max_size = 2 is not valid: expected at least 3"),
    ("brevo", dict(max_size=6, held_out=(2,)), r"held_out = \[2\] must lie inside the trained range, 3 to 5"),
    ("brevo", dict(max_size=6, beyond=(9, 5)), r"beyond = \[5\] must lie past max_size = 6"),
    ("brevo", dict(max_size=8, ids=7), "ids = 7 is too small: sizes up to 8 need as many names"), ("brevo", dict(max_size=8, ids=9, beyond=(10,)), "ids = 9 is too small: sizes up to 10"),
    ("brevo", dict(max_degree=0), "max_degree = 0 is not valid: expected at least 1"), ("brevo", dict(name_tokens="mutli"), "did you mean 'multi'")))
def test_impossible_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message): make_task(name, **options)

@pytest.mark.parametrize("name, options, size, message", (
    ("brevo", dict(max_size=4), 2, "size = 2 is too small for brevo: at least 3"),
    ("brevo", dict(max_size=4), 5, "size = 5 needs as many names, and there are 4: set ids to 5 or more"),
    ("brevo", dict(max_size=4, name_tokens="multi"), 337, "size = 337 needs as many names, and there are 336")))
def test_impossible_sizes_are_refused(name, options, size, message):
    with pytest.raises(ValueError, match=message): make_task(name, **options).batch(2, 0, 0, size)

@pytest.mark.parametrize("n", (0, -1))
def test_an_empty_batch_is_refused(n):
    with pytest.raises(ValueError, match="a batch has at least one instance"): make_task("mano").batch(n, 0, 0)

def test_sizes_past_the_list_are_allowed_where_tokens_exist():
    assert make_task("brevo", max_size=4, ids=9).batch(2, 0, 0, 9).sizes.tolist() == [9, 9]
    assert isinstance(make_task("brevo", max_size=4, name_tokens="multi").batch(2, 0, 0, 40), Batch)
