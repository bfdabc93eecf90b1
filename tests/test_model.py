"""The model against slow references, and the invariants that make its depths trustworthy."""
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings, strategies as st

from anira.execution import RowMemory
from anira.halting import RULES, depth_by_rule
from anira.layers import rotary_angles
from anira.model import Anira, AniraConfig
from anira.objective import loss_sums
from toys import VOCAB, build, lengths_of, models, noise_for, quick, same, sequences

# ---- invariants over architectures, halting and rules ----

@torch.no_grad()
@quick
@given(models(), lengths_of, st.integers(0, 99))
def test_depths_are_counts_and_exit_probabilities_sum_to_one(model, lengths, seed):
    tokens = sequences(seed, lengths)
    out, real, D = model(tokens), sequences(seed, lengths) != 0, model.config.max_depth
    assert ((out.depth >= 1) & (out.depth <= D))[real].all() and (out.depth[~real] == 0).all()
    assert (out.exit_probs >= 0).all() and out.exit_probs.shape == (*tokens.shape, D) and out.exit_probs.dtype == torch.float32
    torch.testing.assert_close(out.exit_probs.sum(-1), torch.ones(tokens.shape))
    torch.testing.assert_close(out.expected_depth, sum((d + 1) * out.exit_probs[..., d] for d in range(D)))
    assert (model(tokens, full_depth=True).depth == D * real).all()

@torch.no_grad()
@settings(quick, max_examples=40)
@given(models(), st.lists(st.integers(2, 7), min_size=1, max_size=3), st.integers(0, 99), st.data())
def test_the_future_moves_neither_logits_nor_depths_nor_probabilities(model, lengths, seed, data):
    tokens, keep = sequences(seed, lengths, extra=2), data.draw(st.integers(1, min(lengths)))
    noise = noise_for(model, tokens)
    before = model(tokens, noise=noise)
    changed, other = tokens.clone(), noise.clone()
    changed[:, keep:] = sequences(seed + 1, [tokens.shape[1] - keep] * len(tokens))
    other[:, keep:] = noise_for(model, tokens, 1)[:, keep:]
    for variant in (changed, torch.where(torch.arange(tokens.shape[1]) < keep, tokens, 0)):
        same(model(variant, noise=other), before, (slice(None), slice(keep)))
    same(model(tokens[:, :keep].contiguous(), noise=noise[:, :keep]), before, (slice(None), slice(keep)))

@torch.no_grad()
@settings(quick, max_examples=40)
@given(models(), lengths_of, st.integers(0, 99))
def test_a_sequence_alone_equals_itself_in_a_batch_and_with_more_padding(model, lengths, seed):
    tokens = sequences(seed, lengths)
    noise = noise_for(model, tokens)
    whole = model(tokens, noise=noise)
    padded = model(F.pad(tokens, (0, 3)), noise=F.pad(noise, (0, 0, 0, 3), value=0.5))
    for i, length in enumerate(lengths):
        alone = model(tokens[i : i + 1, :length].contiguous(), noise=noise[i : i + 1, :length])
        for other in (whole, padded):
            torch.testing.assert_close(alone.logits[0], other.logits[i, :length], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(alone.exit_probs[0], other.exit_probs[i, :length], atol=1e-5, rtol=1e-5)
            assert torch.equal(alone.depth[0], other.depth[i, :length])

@pytest.mark.parametrize("training", (False, True))
@pytest.mark.parametrize("halting", ("early", "online", "hybrid", "router"))
def test_states_and_key_value_rows_are_bit_identical_after_exit(monkeypatch, halting, training):
    model, tokens, states, rows = build(3, halting=halting, max_depth=5, n_core=2).train(training), sequences(5, [9, 7, 9]), [], {}
    observe, attend = model.halting.observe, RowMemory.attend
    def watched(self, site, *args, **how):
        out = attend(self, site, *args, **how)
        rows.setdefault(site, []).append(tuple(t.detach().clone() for t in self.last[site]))
        return out
    monkeypatch.setattr(model.halting, "observe", lambda state, h, d: (states.append(h.detach().clone()), observe(state, h, d))[1])
    monkeypatch.setattr(RowMemory, "attend", watched)
    depth = model(tokens, noise=noise_for(model, tokens) if training else None).depth
    assert depth[tokens != 0].unique().numel() >= 3
    for d in range(1, 5):
        gone, going = depth <= d, depth > d
        assert torch.equal(states[d][gone & (depth > 0)], states[d - 1][gone & (depth > 0)])
        if going.any(): assert (states[d][going] != states[d - 1][going]).any()
        for site in (("core", 0), ("core", 1)):
            for old, new in zip(rows[site][d - 1], rows[site][d]):
                assert torch.equal(old[gone & (tokens != 0)], new[gone & (tokens != 0)])
                if going.any(): assert (old[going] != new[going]).any()

# ---- slow references ----

def normed(norm, x):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + (norm.eps or torch.finfo(x.dtype).eps)) * norm.weight

def turned(x, position, base):
    "Rotary embedding of (heads, width), as multiplication of complex numbers."
    half = x.shape[-1] // 2
    angle = torch.tensor([position / base ** (i / half) for i in range(half)])
    z = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones(half), angle)
    return torch.cat([z.real, z.imag], -1)

class Slow:
    "One sequence, one token and one step at a time, from weights and definitions alone."
    def __init__(self, model, tokens, depths):
        self.model, self.c, self.depths, self.rows = model, model.config, depths, {}
        h = [model.embed.weight[t] for t in tokens]
        for i, block in enumerate(model.prelude): h = [self.block(block, x, t, ("prelude", i), 0) for t, x in enumerate(h)]
        e = list(h)
        for d in range(1, max(depths) + 1):
            for t in range(len(h)):
                if d > depths[t] and self.c.kv == "frozen": continue
                x = self.inject(h[t], e[t], d)
                for i, block in enumerate(model.core): x = self.block(block, x, t, ("core", i), d)
                if d <= depths[t]: h[t] = x
        for i, block in enumerate(model.coda): h = [self.block(block, x, t, ("coda", i), 0) for t, x in enumerate(h)]
        self.logits = torch.stack([model.head.weight @ normed(model.norm, x) for x in h])

    def inject(self, h, e, d):
        m = self.model.inject
        x = h + m.gain * e if self.c.inject == "add" else m.mix.weight @ torch.cat([h, e]) if self.c.inject == "concat" else h
        return normed(m.norm, x + m.steps[d - 1] if self.c.step_embedding else x)

    def block(self, block, x, t, site, d):
        q, k, v = (block.qkv.weight @ normed(block.norm_attention, x)).view(3, self.c.n_heads, -1)
        q, k = turned(q, t, self.c.rope_base), turned(k, t, self.c.rope_base)
        self.rows[site, t, d] = (k, v)
        read = [self.rows[site, j, min(d, self.depths[j]) if d and self.c.kv == "frozen" else d] for j in range(t + 1)]
        scores = torch.stack([(q * kj).sum(-1) for kj, _ in read]) / math.sqrt(q.shape[-1])
        x = x + block.out.weight @ sum(w[:, None] * vj for w, (_, vj) in zip(scores.softmax(0), read)).flatten()
        up = block.up.weight @ normed(block.norm_mlp, x)
        a, b = up.chunk(2) if self.c.mlp == "swiglu" else (up, None)
        return x + block.down.weight @ (a * a.sigmoid() * b if b is not None else a * 0.5 * (1 + torch.erf(a / math.sqrt(2))))

@torch.no_grad()
@settings(quick, max_examples=30)
@given(models(), st.integers(1, 7), st.integers(0, 99), st.sampled_from(["one", "all", "random", "random"]))
def test_given_depths_equal_a_loop_over_tokens_and_steps(model, length, seed, kind):
    tokens, D = sequences(seed, [length]), model.config.max_depth
    depth = {"one": torch.ones(1, length, dtype=torch.long), "all": torch.full((1, length), D), "random": torch.randint(1, D + 1, (1, length))}[kind]
    out = model(tokens, depth=depth)
    torch.testing.assert_close(out.logits[0], Slow(model, tokens[0].tolist(), depth[0].tolist()).logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(out.depth, depth) and torch.equal(out.exit_probs.argmax(-1) + 1, depth)

@torch.no_grad()
@quick
@given(models(rules=("mode", "median", "threshold")), st.integers(1, 7), st.integers(0, 99))
def test_the_models_own_depths_equal_the_loop_too(model, length, seed):
    assume(model.config.halting != "act")  # hands on a mean of states: below
    tokens = sequences(seed, [length])
    out = model(tokens)
    torch.testing.assert_close(out.logits[0], Slow(model, tokens[0].tolist(), out.depth[0].tolist()).logits, atol=1e-5, rtol=1e-5)

@torch.no_grad()
@pytest.mark.parametrize("rule", ("sample", "mode", "median", "threshold"))
def test_act_hands_on_the_mean_of_its_states_under_its_probabilities(monkeypatch, rule):
    model, tokens, states = build(5, halting="act", max_depth=5, rule=rule, threshold=0.8), sequences(5, [7]), []
    out, write = model(tokens), model.write
    monkeypatch.setattr(model, "write", lambda h, rope, attend: (states.append(h), write(h, rope, attend))[1])
    for d in range(1, 6): model(tokens, depth=out.depth.clamp(max=d))
    mean = sum(out.exit_probs[..., d, None] * states[d] for d in range(5))
    rope = model.rope(torch.arange(7))
    torch.testing.assert_close(write(mean, rope, RowMemory().attend), out.logits, atol=1e-5, rtol=1e-5)
    assert (out.exit_probs * (torch.arange(1, 6) > out.depth[..., None])).sum() == 0 and out.depth.unique().numel() >= 2

@torch.no_grad()
def test_frozen_and_refreshed_rows_are_different_functions():
    tokens, depth = sequences(0, [7]), torch.tensor([[1, 4, 2, 1, 3, 1, 4]])
    a, b = (build(1, kv=kv)(tokens, depth=depth).logits for kv in ("frozen", "refresh"))
    assert (a - b).abs().max() > 1e-3

def plain(model, tokens, steps):
    "An ordinary Transformer: prelude, the core `steps` times over, coda."
    mask, x = torch.full((tokens.shape[1],) * 2, -torch.inf).triu(1), model.embed(tokens)
    def block(b, x):
        q, k, v = b.qkv(b.norm_attention(x)).unflatten(-1, (3, model.config.n_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (torch.stack([torch.stack([turned(row[:, t], t, model.config.rope_base) for t in range(row.shape[1])], 1) for row in r]) for r in (q, k))
        mixed = ((q @ k.mT) / math.sqrt(q.shape[-1]) + mask).softmax(-1) @ v
        x = x + b.out(mixed.transpose(1, 2).flatten(-2))
        return x + b.down(F.gelu(b.up(b.norm_mlp(x))))
    for b in model.prelude: x = block(b, x)
    e = x
    for d in range(steps):
        x = model.inject(x, e, d + 1)
        for b in model.core: x = block(b, x)
    for b in model.coda: x = block(b, x)
    return model.head(model.norm(x))

@torch.no_grad()
@pytest.mark.parametrize("steps", (1, 3))
@pytest.mark.parametrize("halting", ("early", "online", "fixed"))
def test_uniform_depth_equals_a_plain_transformer(halting, steps):
    tokens = sequences(2, [6, 6])
    model = build(4, halting=halting, max_depth=steps, n_core=2)
    for out in (model(tokens, full_depth=True), model(tokens, depth=torch.full_like(tokens, steps)), *[model(tokens)] * (steps == 1 or halting == "fixed")):
        torch.testing.assert_close(out.logits, plain(model, tokens, steps), atol=1e-5, rtol=1e-5)

# ---- rules ----

@quick
@given(st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any), st.floats(0.01, 0.99))
def test_rules_pick_the_depth_their_definition_names(weights, level):
    q = [w / sum(weights) for w in weights]
    cdf = [sum(q[: d + 1]) for d in range(len(q))]
    first = lambda x: next((d + 1 for d in range(len(q) - 1) if cdf[d] >= x), len(q))
    if any(abs(c - x) < 1e-5 for c in cdf for x in (0.5, level)): return
    t = torch.tensor(q)
    assert depth_by_rule(t, "mode") == q.index(max(q)) + 1
    assert depth_by_rule(t, "median") == first(0.5)
    assert depth_by_rule(t, "threshold", level) == first(level) == depth_by_rule(t, "sample", noise=torch.tensor([level]))

@torch.no_grad()
@pytest.mark.parametrize("rule", ("median", "threshold"))
def test_online_stops_where_the_rule_reads_on_its_own_distribution(rule):
    for seed in range(8):
        model, tokens = build(seed, halting="online", max_depth=5), sequences(seed, [8, 8])
        out = model(tokens, rule=rule, threshold=0.3)
        assert torch.equal(out.depth, depth_by_rule(out.exit_probs, rule, 0.3))

@torch.no_grad()
def test_online_mode_stops_at_the_first_step_from_which_a_constant_hazard_could_not_overtake_the_mode():
    for seed in range(8):
        model, tokens, D = build(seed, halting="online", max_depth=5), sequences(seed, [8, 8]), 5
        out = model(tokens, rule="mode")
        for q, depth in zip(out.exit_probs.view(-1, D).double(), out.depth.view(-1).tolist()):
            left = [1 - float(q[:d].sum()) for d in range(D + 1)]
            tail = lambda d: left[d] * (left[d] / left[d - 1]) ** (D - 1 - d)
            margins = [float(q[:d].max()) - tail(d) for d in range(1, D)]
            assert depth == next((d for d, margin in enumerate(margins, 1) if margin >= 0), D) or min(map(abs, margins)) < 1e-5
            assert q.argmax() + 1 <= depth

@torch.no_grad()
@pytest.mark.parametrize("halting", ("early", "online"))
def test_sampled_depths_follow_the_exit_probabilities(halting):
    model = build(7, halting=halting, max_depth=4, n_core=1)
    tokens = torch.full((20000, 1), 3)
    out = model(tokens, rule="sample", noise=noise_for(model, tokens))
    share = torch.bincount(out.depth[:, 0], minlength=5)[1:] / len(tokens)
    reference = model(tokens[:1], full_depth=True).exit_probs[0, 0]  # one token of one history: the law at every step
    assert (share - reference).abs().max() < 0.02 and (share > 0).sum() >= 3

# ---- gradients ----

def explicit(model, tokens, noise):
    "The recurrence as the formula says it: h + a·(y − h), a = m + s − stop_grad(s)."
    memory, real = RowMemory(), tokens != 0
    rope = rotary_angles(torch.arange(tokens.shape[1]), model.config.width // model.config.n_heads, model.config.rope_base)
    attend = lambda site, d, m: lambda q, k, v: memory.attend(site, q, k, v, d, m)
    e = model.embed(tokens)
    for i, block in enumerate(model.prelude): e = block(e, rope, attend(("prelude", i), 0, None))
    h, D = e, model.config.max_depth
    if model.config.halting == "early":
        q = model.halting.decider(e).softmax(-1)
        relaxed = ((model.halting.decider(e) - torch.log(-torch.log(noise))) / model.config.temperature).softmax(-1)
        hard, soft = relaxed.argmax(-1) + 1, [relaxed[..., d:].sum(-1) for d in range(D)]
    else: reached, spent, qs, hard = torch.ones(tokens.shape), torch.zeros(tokens.shape), [], torch.full(tokens.shape, D)
    for d in range(1, D + 1):
        m = ((hard >= d) if model.config.halting == "early" else ~((noise[..., 0] <= spent) & (d > 1))) & real
        s = soft[d - 1] if model.config.halting == "early" else reached
        if d > 1 and model.config.halting == "online": m = m & before
        before = m
        y = model.inject(h, e, d)
        for i, block in enumerate(model.core): y = block(y, rope, attend(("core", i), d, m))
        a = (m + s - s.detach()) * real
        h = h + a[..., None] * (y - h)
        if model.config.halting == "online":
            hazard = torch.ones_like(reached) if d == D else model.halting.decider(h)[..., 0].sigmoid()
            qs.append(reached * hazard)
            reached = reached * (1 - hazard)
            spent = 1 - reached
    for i, block in enumerate(model.coda): h = block(h, rope, attend(("coda", i), 0, None))
    return model.head(model.norm(h)), q if model.config.halting == "early" else torch.stack(qs, -1)

@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("halting", ("early", "online"))
def test_straight_through_gradients_equal_those_of_the_explicit_formula(halting, seed):
    model, tokens = build(seed, halting=halting, n_core=2).train(), sequences(seed, [7, 4])
    noise, weight = noise_for(model, tokens, seed), torch.randn(*tokens.shape, VOCAB, generator=torch.Generator().manual_seed(9))
    out = model(tokens, noise=noise)
    assert out.depth[tokens != 0].unique().numel() >= 2
    logits, q = explicit(model, tokens, noise)
    torch.testing.assert_close(out.logits, logits, atol=1e-5, rtol=1e-5)
    loss = lambda logits, q: (logits * weight)[tokens != 0].sum() + (q[..., 1:] ** 2)[tokens != 0].sum()
    got, expected = (torch.autograd.grad(loss(*pair), list(model.parameters())) for pair in ((out.logits, out.exit_probs), (logits, q)))
    for (name, _), a, b in zip(model.named_parameters(), got, expected): torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4, msg=lambda m: f"{name}: {m}")

@pytest.mark.parametrize("halting", ("early", "online", "hybrid", "router", "ponder"))
def test_cross_entropy_alone_reaches_the_halting_head_only_through_sampled_gates(halting):
    model, tokens = build(2, halting=halting), sequences(1, [8, 8, 8])
    mask = torch.zeros_like(tokens, dtype=torch.bool); mask[:, 4:7] = True
    def head_gradient(**how):
        ce = loss_sums(model(tokens, **how), tokens, mask, 1.1)["ce"]
        return sum(g.abs().sum() for g in torch.autograd.grad(ce, list(model.halting.parameters()), allow_unused=True) if g is not None)
    model.train()
    assert head_gradient(noise=noise_for(model, tokens)) > 1e-4
    assert head_gradient(noise=noise_for(model, tokens), full_depth=True) == 0

@pytest.mark.parametrize("seed", range(3))
def test_the_expected_loss_reads_every_token_at_every_depth_and_weights_it_by_its_own_q(seed):
    model, tokens = build(seed, halting="ponder", max_depth=4, n_coda=2).train(), sequences(seed, [8, 6, 8])
    mask = torch.zeros_like(tokens, dtype=torch.bool); mask[0, 4:7] = mask[1, 3:5] = mask[2, 6] = True
    out = model(tokens)
    assert torch.equal(out.depth, 4 * (tokens != 0)) and out.exit_probs[mask].std(0).max() > 1e-3
    ce = 0.0
    for d in range(1, 5):
        alone = model.eval()(tokens, depth=torch.full_like(tokens, d)).logits
        torch.testing.assert_close(out.step_logits[d - 1][tokens != 0], alone[tokens != 0], atol=1e-5, rtol=1e-5)
        for i, t in mask.nonzero().tolist(): ce -= out.exit_probs[i, t, d - 1] * alone[i, t].log_softmax(-1)[tokens[i, t + 1]]
    torch.testing.assert_close(loss_sums(out, tokens, mask, 1.1)["ce"], ce)
    assert model(tokens).step_logits is None and model.train()(tokens, full_depth=True).step_logits is None
    with pytest.raises(ValueError, match="'packed' is not valid while halting = 'ponder' trains"): model(tokens, execution="packed")

# ---- objective ----

def test_cross_entropy_sees_answer_targets_only():
    model, tokens = build(1), sequences(3, [8, 6, 8])
    mask = torch.zeros_like(tokens, dtype=torch.bool); mask[0, 4:7] = mask[1, 3:5] = mask[2, 6] = True
    out = model(tokens)
    ce = lambda targets: loss_sums(out, targets, mask, 1.1)["ce"]
    expected = -sum(out.logits[i, t].log_softmax(-1)[tokens[i, t + 1]] for i, t in mask.nonzero().tolist())
    torch.testing.assert_close(ce(tokens), expected)
    answers = F.pad(mask, (1, 0))[:, :-1]
    other = torch.where(answers | (tokens == 0), tokens, tokens % (VOCAB - 1) + 1)
    assert (other != tokens).any() and ce(other) == ce(tokens)
    for i, t in answers.nonzero().tolist():
        one = tokens.clone(); one[i, t] = one[i, t] % (VOCAB - 1) + 1
        assert ce(one) != ce(tokens)

@torch.no_grad()
@pytest.mark.parametrize("base", (1.0, 1.1, 2.0))
def test_the_divergence_is_summed_over_all_real_tokens_and_no_other(base):
    model, tokens = build(1, halting="early"), sequences(3, [8, 5])
    mask = torch.zeros_like(tokens, dtype=torch.bool); mask[:, 3] = True
    out = model(tokens)
    prior = [base**-d for d in range(1, 5)]
    kl = sum(p * math.log(p / (r / sum(prior))) for i, t in (tokens != 0).nonzero().tolist() for p, r in zip(out.exit_probs[i, t].tolist(), prior))
    sums = loss_sums(out, tokens, mask, base)
    assert float(sums["kl"]) == pytest.approx(kl, rel=1e-4) and sums["depth"] == out.depth.sum()
    assert float(sums["expected_depth"]) == pytest.approx(float(out.expected_depth[tokens != 0].sum()), rel=1e-5)
    for place, moves in (((1, 7), False), ((0, 0), True), ((0, 3), True)):
        q = out.exit_probs.clone(); q[place] = torch.tensor([0.97, 0.01, 0.01, 0.01])
        changed = loss_sums(type(out)(out.logits, q, out.depth, out.expected_depth), tokens, mask, base)
        assert (abs(float(changed["kl"]) - float(sums["kl"])) > 1e-4) == moves

# ---- precision and compilation ----

@pytest.mark.parametrize("halting", ("early", "online"))
def test_bfloat16_autocast_trains_decodes_and_stays_close(halting):
    model, tokens = build(0, halting=halting, n_core=2, mlp="swiglu"), sequences(0, [8, 5])
    depth = torch.randint(1, 5, tokens.shape)
    exact = model(tokens, depth=depth).logits
    with torch.autocast("cpu", torch.bfloat16):
        out, rough = model.train()(tokens, noise=noise_for(model, tokens)), model(tokens, depth=depth).logits.float()
        made = model.generate(tokens, 4)
    assert out.exit_probs.dtype == torch.float32 and made.tokens.shape == (2, 4) and (made.depth[:, 0] >= 1).all()
    torch.testing.assert_close(out.exit_probs.sum(-1), torch.ones(tokens.shape))
    assert 0 < (rough - exact).abs().max() < 0.15 * exact.abs().max()
    (out.logits.float().square().mean() + out.exit_probs[..., 0].mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.dtype == torch.float32 for p in model.parameters())

@pytest.mark.slow
@pytest.mark.parametrize("halting", ("early", "online"))
def test_compiled_equals_eager(halting, request):
    if "slow" not in request.config.option.markexpr: pytest.skip("torch.compile takes minutes on two cores: run it with pytest -m slow")
    model = build(0, halting=halting).train()
    compiled = torch.compile(model, dynamic=True)
    for seed, lengths in enumerate(([8, 5], [11, 9, 3])):
        tokens = sequences(seed, lengths)
        noise = noise_for(model, tokens)
        outs = [f(tokens, noise=noise) for f in (model, compiled)]
        same(*outs, tolerance=1e-4)
        a, b = (torch.autograd.grad(out.logits.square().sum() + out.exit_probs.square().sum(), list(model.parameters())) for out in outs)
        for x, y in zip(a, b): torch.testing.assert_close(x, y, atol=1e-3, rtol=1e-3)

# ---- what is refused, and what is not lost ----

@pytest.mark.parametrize("tokens, message", ((torch.zeros(3, dtype=torch.long), r"tokens of shape \(3,\) are not valid: expected \(batch, length\)"),
    (torch.zeros(1, 2, 3, dtype=torch.long), r"expected \(batch, length\)"), (torch.zeros(1, 3), "tokens of type torch.float32 are not valid: expected torch.int64"),
    (torch.zeros(1, 3, dtype=torch.int32), "expected torch.int64"), (torch.tensor([[1, VOCAB]]), r"tokens must lie in 0..8 \(vocab_size = 9\), found 1..9"), (torch.tensor([[-1, 2]]), r"found -1..2")))
def test_tokens_that_cannot_be_read_are_refused(tokens, message):
    model = build()
    with pytest.raises(ValueError, match=message): model(tokens)
    with pytest.raises(ValueError, match=message): model.generate(tokens, 2)

@pytest.mark.parametrize("how, message", ((dict(execution="mask"), "unknown execution 'mask'.*did you mean 'masked'"), (dict(rule="medain"), "unknown rule 'medain'.*did you mean 'median'"),
    (dict(threshold=7), "threshold = 7 is not valid: expected a number from 0.0 to 1.0"), (dict(threshold="high"), "threshold = 'high' is not valid: expected a number from"),
    (dict(depth=torch.tensor([[0, 1]])), r"depth must lie in 1..4, found 0..1"), (dict(depth=torch.tensor([[1, 5]])), r"depth must lie in 1..4, found 1..5"),
    (dict(depth=torch.tensor([1, 2])), r"depth of shape \(2,\) does not fit tokens of shape \(1, 2\)")))
def test_ways_of_running_that_do_not_exist_are_refused(how, message):
    with pytest.raises(ValueError, match=message): build()(torch.tensor([[1, 2]]), **how)

def test_generation_needs_a_length_and_gives_the_training_mode_back():
    model = build().train()
    with pytest.raises(ValueError, match="max_new_tokens = 0 is not valid: expected at least 1"): model.generate(torch.tensor([[1]]), 0)
    model.generate(torch.tensor([[1]]), 1)
    assert model.training

def test_an_empty_prompt_stays_empty_and_leaves_its_neighbours_alone():
    model = build(1)
    made = model.generate(torch.tensor([[1, 2, 3], [0, 0, 0]]), 3)
    assert (made.tokens[1] == 0).all() and (made.depth[1] == 0).all()
    assert torch.equal(made.tokens[:1], model.generate(torch.tensor([[1, 2, 3]]), 3).tokens)
