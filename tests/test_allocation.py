"Depths that others chose: causal where they claim to be, exact in every execution, and matched in what they spend."
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from scipy.optimize import minimize_scalar
from types import SimpleNamespace

from anira import allocation
from anira.allocation import (ALLOCATIONS, CONTROLS, CRITERIA, ConfidenceExit, allocations, calibrate, class_means, deciding, difficulty, draw_depths, histogram,
                              levels, permuted, policies, proportional_slope, round_at_random, tilted_uniform)
from anira.evaluation import EVALUATION_SEED, read
from anira.execution import SCHEDULES
from anira.layers import attention
from anira.tasks import make_task
from toys import VOCAB, build, quick, same, sequences

def exits(criterion, tokens, seed=0, patience=None, quantile=0.5, **config):
    "A small model under a confidence exit, and a level that lies in a gap between its scores."
    model = build(seed, halting="fixed", **{**dict(max_depth=5, n_core=2), **config})
    seen, halting = [], ConfidenceExit(model.config, criterion, patience)
    score, first = halting.criterion.score, halting.criterion.first
    halting.criterion = halting.criterion._replace(score=lambda *views: seen.append(score(*views)) or seen[-1])
    model.halting = halting
    with torch.no_grad(): model(tokens, threshold=-torch.inf)
    known = torch.cat([s[tokens != 0] for s in seen[first - 1 :]]).sort().values
    low, high = (int(len(known) * q) for q in (quantile - 0.1, quantile + 0.1))
    at = low + int(known[low : high + 1].diff().argmax())
    model.halting = ConfidenceExit(model.config, criterion, patience)
    return model, 0.5 if criterion == "stable" else float(known[at : at + 2].mean())

each_criterion = pytest.mark.parametrize("criterion", CRITERIA)

@torch.no_grad()
@each_criterion
@pytest.mark.parametrize("config", [dict(), dict(n_coda=2), dict(n_coda=0, n_prelude=0), dict(step_embedding=True, inject="concat")], ids=str)
def test_confidence_exits_packed_equal_masked(criterion, config):
    for seed, lengths in enumerate(([7, 4, 9], [9, 5], [8, 8, 8])):  # where nothing is padding, every token takes the first step
        tokens = sequences(seed, lengths)
        model, level = exits(criterion, tokens, seed, **config)
        masked, packed = (model(tokens, threshold=level, execution=how) for how in ("masked", "packed"))
        same(masked, packed, tokens != 0)

@torch.no_grad()
@each_criterion
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kv", ("frozen", "refresh"))
def test_confidence_exits_decode_as_they_read(criterion, schedule, kv):
    for seed, n_coda in ((0, 1), (1, 2)):
        lengths = [3, 6, 2]
        prompts = sequences(seed, lengths)
        model, level = exits(criterion, prompts, seed, kv=kv, n_coda=n_coda)
        made = model.generate(prompts, 6, threshold=level, schedule=schedule)
        for i, length in enumerate(lengths):
            out = model(torch.cat([prompts[i : i + 1, :length], made.tokens[i : i + 1]], 1), threshold=level)
            assert torch.equal(out.depth[0, length - 1 : -1], made.depth[i])
            assert torch.equal(out.logits[0, length - 1 : -1, 1:].argmax(-1) + 1, made.tokens[i])

@torch.no_grad()
@each_criterion
def test_confidence_exits_see_neither_the_future_nor_their_neighbours(criterion):
    for seed in range(3):
        tokens, keep = sequences(seed, [8, 8]), 5
        model, level = exits(criterion, tokens, seed)
        whole, changed = model(tokens, threshold=level), tokens.clone()
        changed[:, keep:] = tokens[:, keep:] % (VOCAB - 1) + 1
        same(model(changed, threshold=level), whole, (slice(None), slice(keep)))
        same(model(F.pad(tokens, (0, 3)), threshold=level), whole, (slice(None), slice(8)))
        alone = model(tokens[1:], threshold=level)
        assert torch.equal(alone.depth[0], whole.depth[1])
        torch.testing.assert_close(alone.logits[0], whole.logits[1], atol=1e-5, rtol=1e-5)

@torch.no_grad()
def test_these_tests_meet_mixed_depths():
    for criterion in CRITERIA:
        found = []
        for seed in range(3):
            tokens = sequences(seed, [7, 4, 9])
            model, level = exits(criterion, tokens, seed)
            found.append(model(tokens, threshold=level).depth[tokens != 0].unique().numel())
        assert max(found) >= 2, (criterion, found)

@torch.no_grad()
@each_criterion
def test_a_confidence_exit_equals_a_loop_over_prefixes_at_every_depth(criterion):
    "Views by definition: a whole pass in which everybody runs no deeper than d."
    tokens = sequences(4, [6])
    model, level = exits(criterion, tokens, 4)
    own, rule = model(tokens, threshold=level), CRITERIA[criterion]
    D = 5
    states, write = {}, type(model).write
    def watched(h, rope, attend, name="coda"):
        states["h"] = h
        return write(model, h, rope, attend, name)
    model.write = watched
    logits, h = {}, {}
    for d in range(1, D + 1):
        logits[d] = model(tokens, depth=own.depth.clamp(max=d)).logits[0]
        h[d] = states["h"][0]
    h[0] = model.read(tokens, model.rope(torch.arange(6)), lambda site, q, k, v: attention(q, k, v))[0]
    views, expected = logits if rule.reads == "output" else h, []
    for t in range(6):
        hits, depth = 0, D
        for d in range(1, D):
            if d >= rule.first:
                hits = hits + 1 if float(rule.score(*(views.get(max(d - back, 0), views[d])[t] for back in range(3)))) <= level else 0
            if hits >= rule.patience:
                depth = d
                break
        expected.append(depth)
    assert own.depth[0].tolist() == expected

def test_levels_spread_the_depths():
    batch = SimpleNamespace(tokens=sequences(0, [9] * 8).numpy())
    model = build(0, halting="online", max_depth=6)
    for criterion in CRITERIA:
        depths = []
        for setting in levels(model, [batch], criterion):
            with deciding(model, ConfidenceExit(model.config, criterion, setting["patience"])), torch.no_grad():
                depths.append(float(model(torch.as_tensor(batch.tokens), threshold=setting["level"]).depth.float().mean()))
        assert len(set(depths)) >= 3, (criterion, depths)
        assert depths == sorted(depths, reverse=criterion != "stable")

# ---- depths by chance and by table ----

@quick
@given(st.integers(2, 14), st.floats(0.01, 0.99))
def test_tilted_uniform_has_the_largest_entropy_of_its_mean(D, share):
    mean, d = 1 + share * (D - 1), np.arange(1, D + 1)
    p = tilted_uniform(mean, D)
    assert np.isclose(p.sum(), 1) and abs((p * d).sum() - mean) < 1e-6
    dual = minimize_scalar(lambda t: np.logaddexp.reduce(t * d) - t * mean, bounds=(-60, 60), method="bounded", options=dict(xatol=1e-10)).fun  # the largest entropy, by duality
    assert abs(-(p * np.log(np.maximum(p, 1e-300))).sum() - dual) < 1e-4

@quick
@given(st.lists(st.floats(0.1, 20), min_size=1, max_size=30), st.integers(2, 9), st.floats(0.05, 0.95))
def test_the_oracle_is_monotone_and_spends_the_mean(hard, D, share):
    hard, mean = np.array(hard), 1 + share * (D - 1)
    depth = np.clip(proportional_slope(hard, mean, D) * hard, 1, D)
    assert abs(depth.mean() - mean) < 1e-6
    assert (np.diff(depth[np.argsort(hard)]) >= -1e-12).all()

@quick
@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 99))
def test_permuted_keeps_rows_and_what_is_left_out(n, L, seed):
    rng = np.random.default_rng(seed)
    depth, where = rng.integers(1, 7, (n, L)), rng.random((n, L)) < 0.6
    dealt = permuted(depth, where, rng)
    assert (dealt[~where] == depth[~where]).all()
    assert (np.sort(np.where(where, dealt, 0), 1) == np.sort(np.where(where, depth, 0), 1)).all()

TASKS = dict(brevo=make_task("brevo", max_size=5, held_out=(4,), beyond=(6,)), mano=make_task("mano", max_size=3, beyond=(4,), modulus=5, length_token=False),
             lano=make_task("lano", max_size=3, beyond=(4,)), clrs=make_task("clrs", max_size=5, beyond=(6,), values=8), depo=make_task("depo", max_size=5, beyond=(6,), max_hops=2))

@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_difficulties_and_every_allocation_runs(name):
    task = TASKS[name]
    model = build(1, halting="online", vocab_size=task.vocab_size)
    known, batch = calibrate(model, task, [task.batch(8, 0, 1, size) for size in task.train_sizes]), task.batch(8, 0, 2, task.train_sizes[-1])
    real, depth = batch.tokens != task.pad_id, read(model, batch.tokens)["depth"]
    assert np.isfinite(difficulty(task, batch)).all()
    for rule, allocate in ALLOCATIONS.items():
        given = allocate(known, task, batch, depth, np.random.default_rng(0))
        assert given.shape == depth.shape and given[real].min() >= 1 and given[real].max() <= 4, rule
        assert (read(model, batch.tokens, depth=given)["depth"] == np.where(real, given, 0)).all()

@pytest.mark.parametrize("rule", [name for name in ALLOCATIONS if name not in CONTROLS and name != "oracle"])
def test_an_allocation_that_claims_to_be_causal_looks_at_no_other_token(rule):
    task, n = TASKS["brevo"], 6
    model = build(1, halting="early", vocab_size=task.vocab_size)
    known, batch = calibrate(model, task, [task.batch(8, 0, 1, 5)]), task.batch(n, 0, 2, 5)
    give = lambda tokens, depth: ALLOCATIONS[rule](known, task, SimpleNamespace(tokens=tokens, answer_mask=batch.answer_mask), depth, np.random.default_rng(0))
    before, cut = give(batch.tokens, np.ones_like(batch.tokens)), batch.tokens.shape[1] // 2
    changed = batch.tokens.copy()
    changed[:, cut:] = 7
    assert (give(changed, np.full_like(batch.tokens, 3))[:, :cut] == before[:, :cut]).all()

def test_the_table_is_deterministic_and_its_answers_are_those_of_single_passes():
    task = TASKS["brevo"]
    model = build(2, halting="online", vocab_size=task.vocab_size)
    table = allocations(model, task, n=6)
    assert table.equals(allocations(model, task, n=6))
    assert set(table.split) == {"trained", "interpolation", "extrapolation"} and table.instance.nunique() == 6 * len(task.test_sizes)
    batch = task.batch(6, EVALUATION_SEED, 5, 5)
    for d in range(1, 5):
        rows = table[(table.kind == "fixed") & (table.level == d) & (table["size"] == 5)]
        predicted = model(torch.as_tensor(batch.tokens), depth=torch.full(batch.tokens.shape, d)).logits.argmax(-1).numpy()
        assert rows.right.tolist() == (task.admissible(batch, predicted) | ~batch.answer_mask).all(1).tolist()

def test_a_model_of_fixed_depth_has_no_policy_to_reallocate():
    task = TASKS["mano"]
    assert set(allocations(build(0, halting="fixed", vocab_size=task.vocab_size), task, n=4).kind) == {"fixed", "confidence"}

def stripped(batches): return {tuple(row[row > 0]) for b in batches for row in b.tokens}

def test_calibration_reads_trained_sizes_and_no_instance_that_is_evaluated(monkeypatch):
    task, seen = TASKS["brevo"], []
    model = build(2, halting="online", vocab_size=task.vocab_size)
    monkeypatch.setattr(allocation, "calibrate", lambda model, task, batches, **how: seen.append(batches) or calibrate(model, task, batches, **how))
    allocations(model, task, n=6)
    assert len(seen) == len(policies(model)) and all([set(b.sizes) for b in batches] == [{size} for size in task.train_sizes] for batches in seen)
    assert not stripped(seen[0]) & stripped(task.batch(6, EVALUATION_SEED, size, size) for size in task.test_sizes)

def test_the_table_counts_steps_on_answers_and_decisions_by_hand():
    task, D = TASKS["brevo"], 4
    model = build(2, halting="online", vocab_size=task.vocab_size)
    table, batch = allocations(model, task, n=6, sizes=[5]), task.batch(6, EVALUATION_SEED, 5, 5)
    real, known = batch.tokens != task.pad_id, [task.batch(6, EVALUATION_SEED + 2, size, size) for size in task.train_sizes]
    depth = read(model, batch.tokens, rule="threshold", threshold=.3)["depth"]
    own = table[(table.rule == "threshold") & (table.level == .3)]
    assert own.steps.tolist() == (depth * real).sum(1).tolist() and own.answer_steps.tolist() == (depth * batch.answer_mask).sum(1).tolist()
    assert own.decisions.tolist() == (np.minimum(depth, D - 1) * real).sum(1).tolist()
    for setting in levels(model, known, "kl"):
        with deciding(model, ConfidenceExit(model.config, "kl")): depth = read(model, batch.tokens, threshold=setting["level"])["depth"]
        assert table[(table.rule == "kl") & (table.level == setting["level"])].decisions.tolist() == (np.minimum(depth, D - 1) * real).sum(1).tolist()

@torch.no_grad()
@pytest.mark.parametrize("criterion", [name for name in CRITERIA if name != "stable"])
def test_levels_are_quantiles_of_every_score_that_means_something(criterion):
    batch, model, seen = SimpleNamespace(tokens=sequences(0, [9, 4, 6]).numpy()), build(0, halting="online", max_depth=5), []
    halting = ConfidenceExit(model.config, criterion)
    score, first = halting.criterion.score, halting.criterion.first
    halting.criterion = halting.criterion._replace(score=lambda *views: seen.append(score(*views)) or seen[-1])
    with deciding(model, halting): model(torch.as_tensor(batch.tokens), threshold=-torch.inf)
    assert len(seen) == 4
    known = np.concatenate([seen[d - 1].numpy()[batch.tokens != 0] for d in range(first, 5)])
    assert np.allclose([s["level"] for s in levels(model, [batch], criterion)], np.quantile(known, allocation.QUANTILES), rtol=1e-5)
