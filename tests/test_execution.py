"""Masked, packed, cached and depth-wise execution compute one function, and skip what they say they skip."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from anira.execution import SCHEDULES, Cache, PackedMemory, RowMemory, Written, pack, put
from toys import VOCAB, build, lengths_of, models, noise_for, quick, same, sequences

INFERENCE = ("mode", "median", "threshold")
thorough = settings(quick, max_examples=60)

def kinds_of_depth(kind, tokens, D):
    "Depths from outside, or none: what the halting rule says."
    if kind == "own": return None
    return {"one": torch.ones_like(tokens), "all": torch.full_like(tokens, D), "random": torch.randint(1, D + 1, tokens.shape)}[kind]

# ---- packed equals masked ----

@torch.no_grad()
@thorough
@given(models(kv=("frozen",)), lengths_of, st.integers(0, 3), st.integers(0, 99), st.sampled_from(["own", "own", "own", "one", "all", "random"]), st.booleans())
def test_packed_equals_masked_in_logits_probabilities_depths_and_rows(model, lengths, padding, seed, kind, full_depth):
    tokens = sequences(seed, lengths, padding)
    for i, length in enumerate(lengths): tokens[i, length:] = 0
    real, memories, outs = tokens != 0, [RowMemory(), PackedMemory()], []
    how = dict(noise=noise_for(model, tokens, seed), depth=kinds_of_depth(kind, tokens, model.config.max_depth), full_depth=full_depth and kind == "own")
    for memory in memories: outs.append(model.run(tokens, memory, **how))
    same(*outs, real)
    torch.testing.assert_close(outs[0].expected_depth[real], outs[1].expected_depth[real], atol=1e-5, rtol=1e-5)
    assert (outs[1].depth[~real] == 0).all()
    for i in range(model.config.n_core):
        for masked, packed in zip(memories[0].last["core", i], memories[1].last["core", i]):
            torch.testing.assert_close(masked[real], packed.view_as(masked)[real], atol=1e-5, rtol=1e-5)

@torch.no_grad()
@quick
@given(models(kv=("frozen",), rules=INFERENCE), st.lists(st.integers(2, 7), min_size=1, max_size=3), st.integers(0, 99), st.data())
def test_packed_execution_is_causal_and_indifferent_to_neighbours_and_padding(model, lengths, seed, data):
    tokens, keep = sequences(seed, lengths), data.draw(st.integers(1, min(lengths)))
    whole = model(tokens, execution="packed")
    changed = tokens.clone()
    changed[:, keep:] = torch.where(tokens[:, keep:] != 0, tokens[:, keep:] % (VOCAB - 1) + 1, 0)
    same(model(changed, execution="packed"), whole, (slice(None), slice(keep)))
    same(model(F.pad(tokens, (0, 3)), execution="packed"), whole, (slice(None), slice(tokens.shape[1])))
    for i, length in enumerate(lengths):
        alone = model(tokens[i : i + 1, :length].contiguous(), execution="packed")
        torch.testing.assert_close(alone.logits[0], whole.logits[i, :length], atol=1e-5, rtol=1e-5)
        assert torch.equal(alone.depth[0], whole.depth[i, :length])

def test_the_packed_path_meets_mixed_depths_in_these_tests():
    depths = [build(seed, halting=halting)(sequences(seed, [7, 5, 6]), execution="packed").depth.unique().numel() for seed in range(6) for halting in ("early", "online")]
    assert sum(n >= 3 for n in depths) >= 8  # padding counts as a depth of 0

@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("full_depth", (False, True))
@pytest.mark.parametrize("halting", ("early", "online", "hybrid", "router", "random", "act"))
def test_gradients_of_packed_equal_those_of_masked_without_the_counterfactual_term(halting, full_depth, seed):
    model, tokens = build(seed, halting=halting, n_core=2, step_embedding=True).train(), sequences(seed, [7, 4, 6])
    real, noise, weight = tokens != 0, noise_for(model, tokens, seed), torch.randn(*tokens.shape, VOCAB, generator=torch.Generator().manual_seed(9))
    def gradients(**how):
        out = model(tokens, noise=noise, full_depth=full_depth, **how)
        loss = (out.logits * weight)[real].sum() + (out.exit_probs[..., 1:] ** 2)[real].sum()
        return torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    packed, masked, straight_through = gradients(execution="packed"), gradients(counterfactual=False), gradients()
    for (name, _), a, b in zip(model.named_parameters(), packed, masked):
        if a is not None or b is not None: torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4, msg=lambda m: f"{name}: {m}")
    if not full_depth and halting not in ("random", "act"): assert max((a - b).abs().max() for a, b in zip(masked, straight_through) if a is not None) > 1e-3

# ---- cached and depth-wise equal recomputation ----

@torch.no_grad()
@thorough
@given(models(rules=INFERENCE), lengths_of, st.integers(0, 99), st.integers(1, VOCAB - 1), st.integers(1, 6), st.sampled_from(SCHEDULES))
def test_cached_generation_equals_recomputation_token_for_token_and_depth_for_depth(model, lengths, seed, eos, most, schedule):
    prompts = sequences(seed, lengths)
    made = model.generate(prompts, max_new_tokens=most, eos_id=eos, schedule=schedule)
    assert 1 <= made.tokens.shape[1] <= most
    for i, length in enumerate(lengths):
        row, ended = prompts[i : i + 1, :length], False
        for k in range(made.tokens.shape[1]):
            if ended:
                assert made.tokens[i, k] == 0 and made.depth[i, k] == 0
                continue
            out = model(row.contiguous())
            token = out.logits[0, -1, 1:].argmax() + 1  # padding is not a token that can be written
            assert made.tokens[i, k] == token and made.depth[i, k] == out.depth[0, -1]
            torch.testing.assert_close(made.exit_probs[i, k], out.exit_probs[0, -1], atol=1e-5, rtol=1e-5)
            row, ended = torch.cat([row, token.view(1, 1)], 1), token == eos
        assert ended or made.tokens.shape[1] == most or (made.tokens == eos).any(1).all()

@torch.no_grad()
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("halting", ("early", "online"))
def test_cached_logits_and_rows_equal_a_full_pass_where_deep_tokens_follow_shallow_ones(monkeypatch, halting, schedule):
    mixed, init, add = 0, Cache.__init__, Written.add
    caches, seen = [], {}
    monkeypatch.setattr(Cache, "__init__", lambda self, *args: (init(self, *args), caches.append(self))[0])
    monkeypatch.setattr(Written, "add", lambda self, rows, logits, *rest: ([seen.setdefault(int(r), []).append(x.clone()) for r, x in zip(rows, logits)], add(self, rows, logits, *rest))[1])
    for seed in range(6):
        model, prompts = build(seed, halting=halting, max_depth=5, n_core=2), sequences(seed, [3, 5, 2, 4])
        seen.clear()
        made, cache = model.generate(prompts, 7, schedule=schedule), caches[-1]
        steps, memory = {}, RowMemory()
        for i, length in enumerate((3, 5, 2, 4)):
            row = torch.cat([prompts[i : i + 1, :length], made.tokens[i : i + 1]], 1)
            whole = model(row)
            torch.testing.assert_close(torch.stack(seen[i]), whole.logits[0, length - 1 : -1], atol=1e-5, rtol=1e-5)
            mixed += int((made.depth[i, 1:-1] < made.depth[i, 2:]).sum())
            for d in range(1, 6):  # run everybody no deeper than d: the rows of step min(d, own depth) are the last ones
                memory = RowMemory()
                model.run(row[:, :-1], memory, depth=whole.depth[:, :-1].clamp(max=d))
                for layer in range(2):
                    stored = cache.pools["core", layer][cache.table[i, : row.shape[1] - 1, d - 1]]
                    for kind in range(2): torch.testing.assert_close(stored[:, kind], memory.last["core", layer][kind][0], atol=1e-5, rtol=1e-5)
    assert mixed > 3

def test_generation_depths_really_vary_in_these_tests():
    depths = [build(seed, halting=halting).generate(sequences(seed, [3, 5, 2]), 6).depth.unique().numel() for seed in range(6) for halting in ("early", "online")]
    assert sum(n >= 2 for n in depths) >= 8

@torch.no_grad()
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_cache_holds_a_row_per_token_and_executed_step_and_no_more(monkeypatch, schedule):
    caches, init = [], Cache.__init__
    monkeypatch.setattr(Cache, "__init__", lambda self, *args: (init(self, *args), caches.append(self))[0])
    for halting in ("early", "online"):
        model, prompts = build(3, halting=halting, max_depth=5), sequences(1, [4, 6, 3])
        made = model.generate(prompts, 5, schedule=schedule)
        executed = int(model(prompts).depth.sum()) + int(made.depth[:, 1:].sum())  # the first new token was predicted by the prompt
        assert caches[-1].used == executed < 5 * (prompts != 0).sum() + 5 * 3 * 4
        assert len(caches[-1].pools["core", 0]) <= max(1.5 * executed, 3 * 11)

# ---- what is skipped ----

class Rows:
    "Counts the rows that pass through modules."
    def __init__(self, *modules):
        self.calls = []
        for module in modules: module.register_forward_hook(lambda m, args, out: self.calls.append(args[0].flatten(0, -2).shape[0]))

@torch.no_grad()
@pytest.mark.parametrize("halting", ("early", "online", "fixed"))
def test_the_core_sees_active_tokens_only_and_the_head_those_it_must_decide(halting):
    model, tokens = build(2, halting=halting, max_depth=5, fixed_depth=3), sequences(2, [9, 4, 7])
    core = Rows(model.core[0].up)
    head = Rows(model.halting.decider) if halting != "fixed" else None
    out = model(tokens, execution="packed")
    assert sum(core.calls) == out.depth.sum() and core.calls == [int((out.depth >= d).sum()) for d in range(1, len(core.calls) + 1)]
    if halting == "online": assert sum(head.calls) == out.depth.clamp(max=4).sum()
    if halting == "early": assert head.calls == [tokens.numel()]
    core.calls.clear()
    model(tokens, depth=torch.ones_like(tokens), execution="packed")
    assert core.calls == [int((tokens != 0).sum())]

@torch.no_grad()
@pytest.mark.parametrize("halting", ("early", "online"))
def test_decoding_runs_the_steps_it_reports_and_depth_wise_needs_fewer_calls(halting):
    fewer = 0
    for seed in range(5):
        model, prompts = build(seed, halting=halting, max_depth=5), sequences(seed, [4, 6, 3, 5, 2, 4])
        core, calls = Rows(model.core[0].up), {}
        for schedule in SCHEDULES:
            core.calls.clear()
            made = model.generate(prompts, 6, eos_id=2, schedule=schedule)
            ran, calls[schedule] = sum(core.calls), len(core.calls)
            assert ran == made.depth[:, 1:].sum() + model(prompts).depth.sum()
        assert calls["depth"] <= calls["token"]
        fewer += calls["depth"] < calls["token"]
    assert fewer >= 2

@pytest.mark.parametrize("D", (3, 9))
@pytest.mark.parametrize("halting", ("early", "online"))
def test_the_host_waits_once_for_early_and_at_most_once_per_step_for_online(monkeypatch, halting, D):
    model, tokens, waits = build(1, halting=halting, max_depth=D), sequences(4, [6, 8]), []
    for name in ("tolist", "item", "nonzero", "__bool__", "__int__", "__float__", "__index__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, *args, original=original, name=name: (waits.append(name), original(self, *args))[1])
    with torch.no_grad(): model.run(tokens, PackedMemory())
    assert len(waits) <= (2 if halting == "early" else D)  # lengths, then all counts; or lengths, then a count per later step

# ---- edges ----

@torch.no_grad()
@pytest.mark.parametrize("halting", ("early", "online", "fixed"))
def test_edges_one_step_one_token_uniform_depths_no_answer(halting):
    one = build(1, halting=halting, max_depth=1)
    same(one(sequences(0, [5, 3]), execution="packed"), one(sequences(0, [5, 3])), sequences(0, [5, 3]) != 0)
    model = build(1, halting=halting)
    single = torch.tensor([[3]])
    same(model(single, execution="packed"), model(single))
    for schedule in SCHEDULES:
        whole = [int(model(single).logits[0, -1, 1:].argmax()) + 1]
        made = model.generate(single, 4, eos_id=whole[0], schedule=schedule)
        assert made.tokens.tolist() == [whole] and made.depth.shape == (1, 1)  # ended at once: an empty answer
    for empty in (torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 0, dtype=torch.long)):
        assert model(empty, execution="packed").depth.sum() == 0
        assert model.generate(empty, 3).tokens.shape == (2, 0)

def test_pack_numbers_active_tokens_as_nonzero_would():
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        active = torch.rand(4, 7, generator=generator) < torch.rand(4, 1, generator=generator)
        rows = pack(active, active.sum(1).tolist())
        sequence, position = active.nonzero(as_tuple=True)
        assert torch.equal(rows.at, sequence * 7 + position)
        assert len(set(rows.cell.tolist())) == len(rows.at) and rows.width == active.sum(1).max()
        for at, cell in zip(rows.at.tolist(), rows.cell.tolist()):
            assert cell // rows.width == at // 7 and rows.mask.flatten(0, 1)[cell].sum() == at % 7 + 1

def test_put_keeps_the_original_where_gradients_are_recorded():
    into, rows = torch.zeros(3, 2), torch.ones(1, 2, requires_grad=True)
    assert put(into, torch.tensor([1]), rows).sum() == 2 and into.sum() == 0
    with torch.no_grad(): assert put(into, torch.tensor([1]), rows) is into and into.sum() == 2

@pytest.mark.parametrize("halting", ("early", "online"))
def test_bfloat16_packed_and_cached_stay_close_to_masked(halting):
    model, tokens = build(0, halting=halting, n_core=2, mlp="swiglu"), sequences(0, [8, 5])
    depth = torch.randint(1, 5, tokens.shape)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        masked, packed = (model(tokens, depth=depth, execution=execution).logits.float() for execution in ("masked", "packed"))
        made = [model.generate(tokens, 4, schedule=schedule) for schedule in SCHEDULES]
    assert (masked - packed)[tokens != 0].abs().max() < 0.03 * masked.abs().max()
    assert torch.equal(made[0].tokens, made[1].tokens) and torch.equal(made[0].depth, made[1].depth)

@pytest.mark.parametrize("call, message", (
    (lambda: build(kv="refresh")(torch.tensor([[1, 2]]), execution="packed"), "execution = 'packed' is not valid with kv = 'refresh'.*use 'masked'"),
    (lambda: build().generate(torch.tensor([[1, 2]]), 2, schedule="deep"), "unknown schedule 'deep': expected one of token, depth; did you mean 'depth'"),
    (lambda: build()(torch.tensor([[1, 0, 2]])), r"padding \(token 0\) must stand on the right"),
    (lambda: build()(torch.tensor([[1, 2]]), execution="packd"), "did you mean 'packed'")))
def test_ways_that_cannot_be_are_refused(call, message):
    with pytest.raises(ValueError, match=message): call()
