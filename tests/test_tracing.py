"Traces, sweeps and evaluations against single passes, written down again."
import numpy as np
import pytest

from anira import evaluation
from anira.evaluation import answer, evaluate, read
from anira.profiles import run_config
from anira.tasks import make_task
from anira.tracing import sweep, trace, trace_checkpoint
from anira.training import train
from toys import build

task = make_task("brevo", max_size=5, held_out=(4,), beyond=(6,))
model = build(3, halting="online", vocab_size=task.vocab_size)
batch = task.batch(8, 7, 5, 5)

def test_written_answers_are_traced_as_they_were_written():
    table, written = trace(model, task, 8, "generated", [5], 7), answer(model, task, batch)
    own = task.with_answers(batch, written)
    assert len(table) == own.answer_mask.sum() and not np.array_equal(own.tokens, batch.tokens)
    at = table.instance.to_numpy(), table.position.to_numpy()
    for name, values in read(model, own.tokens).items():
        if name != "predicted": assert np.allclose(table[name], values[at])
    assert table.correct_instance.tolist() == task.verify(batch, written)[at[0]].tolist()

def test_instances_are_numbered_through_the_sizes():
    table = trace(model, task, 4, sizes=[3, 5], seed=7)
    assert (table.instance // 4 == table["size"].map({3: 0, 5: 1})).all()

@pytest.mark.parametrize("setting", [dict(rule="threshold", level=.3), dict(rule="fixed", level=2.0)], ids=str)
def test_a_sweep_and_an_evaluation_average_over_answers_and_over_all_tokens(setting):
    swept = sweep(model, task, 8, [5], 7)
    (row,) = swept[(swept.rule == setting["rule"]) & (swept.level == setting["level"])].itertuples()
    how = dict(depth=2) if setting["rule"] == "fixed" else dict(rule="threshold", threshold=.3)
    seen, mask, real = read(model, batch.tokens, **how), batch.answer_mask, batch.tokens != task.pad_id
    right = task.admissible(batch, seen["predicted"])
    by_hand = dict(depth=seen["depth"][mask].mean(), accuracy=np.mean([right[i][mask[i]].all() for i in range(8)]), validity=right[mask].mean())
    assert {name: getattr(row, name) for name in by_hand} == pytest.approx(by_hand) and row.execution == pytest.approx(seen["depth"][real].mean())
    (record,) = evaluate(model, task, 8, sizes=[5], seed=7, **how)
    assert {name: record[name] for name in by_hand} == pytest.approx(by_hand) and record["depth_all"] == pytest.approx(row.execution)

def test_an_evaluation_writes_answers_by_the_rule_it_was_given(monkeypatch):
    asked = []
    monkeypatch.setattr(evaluation, "answer", lambda model, task, batch, **how: asked.append(how) or answer(model, task, batch, **how))
    evaluate(model, task, 8, generated=True, sizes=[5], rule="threshold", threshold=.3)
    assert asked == [dict(rule="threshold", threshold=.3)]

def test_depths_from_outside_do_not_depend_on_chunks():
    depth = np.random.default_rng(0).integers(1, 5, batch.tokens.shape)
    whole, parts = (read(model, batch.tokens, chunk, depth) for chunk in (8, 3))
    assert (whole["depth"] == parts["depth"]).all() and (whole["depth"] == np.where(batch.tokens == task.pad_id, whole["depth"], depth)).all()

def test_a_fresh_trace_draws_other_instances(tmp_path):
    train(run_config("mano", "early", "smoke", steps=2, eval_every=2, eval_instances=1), tmp_path / "run", quiet=True)
    seeds = [trace_checkpoint(tmp_path / "run", tmp_path / f"{fresh}", n=2, fresh=fresh)["instance_seed"] for fresh in (False, True)]
    assert seeds == [evaluation.EVALUATION_SEED, evaluation.EVALUATION_SEED + 1]
