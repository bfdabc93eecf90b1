"Small models and sequences that several suites share."
import torch
from hypothesis import Phase, settings, strategies as st

from anira.halting import HALTING, RULES
from anira.model import Anira, AniraConfig

torch.set_num_threads(1)
quick = settings(max_examples=25, deadline=None, derandomize=True, database=None, phases=(Phase.generate, Phase.shrink))
VOCAB = 9

def build(seed=0, **config):
    "A small model whose halting head, gains and step embeddings are not at their uniform start."
    torch.manual_seed(seed)
    model = Anira(AniraConfig(**{**dict(vocab_size=VOCAB, width=16, n_heads=2, max_depth=4), **config})).eval()
    for name, p in model.halting.named_parameters():
        if name.endswith("down.weight"): torch.nn.init.normal_(p, std=1.0)
    for name, p in model.named_parameters():
        if "norm" in name or name in ("inject.gain", "inject.steps"): p.data += 0.3 * torch.randn_like(p)
    return model

def sequences(seed, lengths, extra=0):
    "Right-padded random tokens of the given lengths."
    torch.manual_seed(seed)
    tokens = torch.randint(1, VOCAB, (len(lengths), max(lengths) + extra))
    return torch.where(torch.arange(tokens.shape[1]) < torch.tensor(lengths)[:, None], tokens, 0)

def noise_for(model, tokens, seed=0):
    return torch.rand(*tokens.shape, model.halting.noise_width, generator=torch.Generator().manual_seed(seed))

def same(a, b, where=slice(None), tolerance=1e-5):
    "Two outputs agree: logits and probabilities closely, depths exactly."
    torch.testing.assert_close(a.logits[where], b.logits[where], atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(a.exit_probs[where], b.exit_probs[where], atol=tolerance, rtol=tolerance)
    assert torch.equal(a.depth[where], b.depth[where])

@st.composite
def models(draw, rules=RULES, kv=("frozen", "refresh")):
    "Random small architectures with every kind of halting and rule."
    rule = draw(st.sampled_from(rules))
    return build(draw(st.integers(0, 999)), width=draw(st.sampled_from([8, 16])), n_heads=draw(st.sampled_from([1, 2])), n_prelude=draw(st.integers(0, 2)), n_core=draw(st.integers(1, 2)),
                 n_coda=draw(st.integers(0, 1)), mlp=draw(st.sampled_from(["gelu", "swiglu"])), inject=draw(st.sampled_from(["add", "concat", "none"])), step_embedding=draw(st.booleans()),
                 kv=draw(st.sampled_from(kv)), halting=draw(st.sampled_from(["early", "online", "online", *HALTING])), rule=rule, max_depth=draw(st.integers(1, 5)),
                 threshold=draw(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])), decider_width=draw(st.sampled_from([0, 5])))

lengths_of = st.lists(st.integers(1, 7), min_size=1, max_size=4)
