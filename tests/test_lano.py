"""Grammars and LANO against oracles that share no code with them: enumeration, a textbook Earley parser, nltk, leftmost derivations."""
import hashlib, itertools, tracemalloc
from collections import Counter
from dataclasses import fields
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from scipy.stats import chisquare

from anira.grammar import SHAPES, Grammar, GrammarOptions, GrammarShape, _steps, describe, draw_grammar, draw_strings, is_member, join, inside, named_grammar, parse
from anira.lano import STATE_FEATURES, Lano, LanoOptions
from anira.profiles import run_config
from golden import fingerprint, fresh_fingerprints

quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)
UNLIKELY = 1e-6  # a right law fails a test at this level once in a million seeds

# ---- oracles ----

def weighted(grammar, level, symbol):
    "Productions with exact probabilities."
    sides = grammar.rules[level - 1][symbol]
    weights = [Fraction(w).limit_denominator(1000) for w in grammar.weights[level - 1][symbol]] if grammar.weights else [Fraction(1, len(sides))] * len(sides)
    return list(zip(weights, sides))

def joint_law(grammar, level):
    "Exact law of (string, levels that close at each token) from the root of a level, by enumeration."
    @lru_cache(None)
    def law(level, symbol):
        if level == 0: return {((symbol,), (0,)): Fraction(1)}
        out = Counter()
        for p, side in weighted(grammar, level, symbol):
            partial = {((), ()): p}
            for child in side:
                longer = Counter()
                for (s, c), q in partial.items():
                    for (t, d), r in law(level - 1, child).items(): longer[s + t, c + d] += q * r
                partial = longer
            for (s, c), q in partial.items(): out[s, c[:-1] + (level,)] += q
        return dict(out)
    found = law(level, 0)
    assert sum(found.values()) == 1
    return found

def string_law(grammar, level):
    law = Counter()
    for (s, _), p in joint_law(grammar, level).items(): law[s] += p
    return dict(law)

def leftmost_ways(grammar, level, prefix):
    "How many leftmost derivations produce a prefix, counted when its last token is written."
    @lru_cache(None)
    def ways(stack, rest):
        if not rest: return 1
        if not stack: return 0
        (level, symbol), below = stack[0], stack[1:]
        if level == 0: return ways(below, rest[1:]) if symbol == rest[0] else 0
        return sum(ways(tuple((level - 1, s) for s in side) + below, rest) for side in grammar.rules[level - 1][symbol])
    return ways(((level, 0),), tuple(prefix))

def earley(grammar, level, string):
    "A textbook Earley parser with sets of items (level, symbol, production, dot, origin): the work at every position."
    rules = grammar.rules
    side = lambda item: rules[item[0] - 1][item[1]][item[2]]
    start = {(level, 0, r, 0, 0) for r in range(len(rules[level - 1][0]))}
    sets, work = [], []
    for j in range(len(string) + 1):
        items, pairs, scanned = set(start) if j == 0 else set(), set(), set()
        if j:
            for item in sets[-1]:
                if item[0] == 1 and item[3] < len(side(item)) and side(item)[item[3]] == string[j - 1]: scanned.add((*item[:3], item[3] + 1, item[4]))
        todo = list(items | scanned); items |= scanned
        while todo:
            item = todo.pop()
            new = []
            if item[3] == len(side(item)):
                l, s, _, _, origin = item
                for other in items if origin == j else sets[origin]:
                    if other[0] == l + 1 and other[3] < len(side(other)) and side(other)[other[3]] == s:
                        pairs.add(((l, s, origin), other)); new.append((*other[:3], other[3] + 1, other[4]))
            elif item[0] > 1:
                s = side(item)[item[3]]
                new = [(item[0] - 1, s, r, 0, j) for r in range(len(rules[item[0] - 2][s]))]
            for found in new:
                if found not in items: items.add(found); todo.append(found)
        sets.append(items)
        complete = [i[0] for i in items if i[3] == len(side(i))]
        work.append(dict(expansions=sum(i[3] == 0 for i in items), scans=len(scanned), completions=len(pairs), chart_size=len(items), closes=max(complete, default=0)))
    return work

def nltk_grammar(grammar, level):
    from nltk import PCFG, Nonterminal, ProbabilisticProduction
    name = lambda l, s: Nonterminal(f"N{l}_{s}") if l else "abcdefgh"[s]
    productions = [ProbabilisticProduction(name(l, s), [name(l - 1, c) for c in side], prob=float(p))
                   for l in range(level, 0, -1) for s in range(len(grammar.rules[l - 1])) for p, side in weighted(grammar, l, s)]
    return PCFG(name(level, 0), productions)

def rows(strings):
    width = max(map(len, strings))
    return np.array([list(s) + [-1] * (width - len(s)) for s in strings]).reshape(len(strings), width)

@st.composite
def grammars(draw, levels=(1, 3), heaviest=3000):
    "Any small layered grammar: ambiguous, weighted, with productions of one to three symbols."
    top, counts = draw(st.integers(*levels)), [draw(st.integers(1, 3))]
    rules, weights = [], []
    for level in range(1, top + 1):
        counts.append(1 if level == top else draw(st.integers(1, 3)))
        side = st.lists(st.integers(0, counts[-2] - 1), min_size=1 if level > 1 else 2, max_size=3).map(tuple)
        rules.append(tuple(tuple(draw(st.lists(side, min_size=1, max_size=3 if level < 3 else 2, unique=True))) for _ in range(counts[-1])))
        parts = [[draw(st.integers(1, 4)) for _ in sides] for sides in rules[-1]]
        weights.append(tuple(tuple(p / sum(ps) for p in ps) for ps in parts))
    grammar = Grammar(tuple(rules), counts[0], tuple(weights) if draw(st.booleans()) else None)
    derivations = [1] * counts[0]
    for level in grammar.rules: derivations = [sum(int(np.prod([derivations[c] for c in side])) for side in sides) for sides in level]
    assume(derivations[0] <= heaviest)
    return grammar

# ---- the parser ----

@quick
@given(grammars())
def test_laws_equal_enumeration(grammar):
    joint = joint_law(grammar, grammar.levels)
    law = string_law(grammar, grammar.levels)
    strings = sorted(law)[:40]
    begins, closing = Counter(), Counter()
    for (s, closes), p in joint.items():
        for j in range(len(s) + 1):
            begins[s[:j]] += p
            if j: closing[s[:j]] += p * closes[j - 1]
    parsed = parse(grammar, rows(strings))
    for i, s in enumerate(strings):
        for j in range(len(s) + 1):
            whole = begins[s[:j]]
            expected = [float(begins[s[:j] + (c,)] / whole) for c in range(grammar.n_terminals)] + [float(law.get(s[:j], 0) / whole)]
            np.testing.assert_allclose(parsed.next_probs[i, j], expected, atol=1e-12)
            assert abs(np.exp(parsed.log_prefix[i, j]) - float(whole)) < 1e-12
            assert abs(parsed.closing_level[i, j] - float(closing[s[:j]] / whole)) < 1e-9
        assert not parsed.next_probs[i, len(s) + 1 :].any()

@quick
@given(grammars(), st.randoms(use_true_random=False))
def test_work_equals_a_textbook_earley_parser(grammar, random):
    strings = sorted(string_law(grammar, grammar.levels))
    strings = random.sample(strings, min(4, len(strings)))
    strings += [tuple(random.randrange(grammar.n_terminals) for _ in range(random.randrange(1, 9))) for _ in range(4)]
    parsed = parse(grammar, rows(strings))
    for i, s in enumerate(strings):
        for j, counted in enumerate(earley(grammar, grammar.levels, s)):
            assert {name: int(getattr(parsed, name)[i, j]) for name in counted} == counted
            assert parsed.derivations[i, j] == leftmost_ways(grammar, grammar.levels, s[:j])
            assert (parsed.derivations[i, j] > 0) == np.isfinite(parsed.log_prefix[i, j]) == (parsed.next_probs[i, j].sum() > 0.5)

@settings(quick, max_examples=20)
@given(grammars(heaviest=200), st.randoms(use_true_random=False))
def test_nltk_agrees_on_members_probabilities_and_chart(grammar, random):
    from nltk.parse import EarleyChartParser
    from nltk.parse.pchart import InsideChartParser
    theirs, law = nltk_grammar(grammar, grammar.levels), string_law(grammar, grammar.levels)
    covered = {word for p in theirs.productions() for word in p.rhs() if isinstance(word, str)}
    short = sorted(s for s in law if len(s) <= 7)
    strings = random.sample(short, min(2, len(short))) + [tuple(random.randrange(grammar.n_terminals) for _ in range(random.randrange(2, 6))) for _ in range(3)]
    parsed, members = parse(grammar, rows(strings)), is_member(grammar, rows(strings))
    for i, s in enumerate(strings):
        words = ["abcdefgh"[t] for t in s]
        assert members[i] == (s in law)
        if not set(words) <= covered: continue
        chart = EarleyChartParser(theirs).chart_parse(words)
        assert members[i] == bool(list(chart.parses(theirs.start())))
        moved = Counter(edge.end() for edge in chart.edges() if not isinstance(edge.lhs(), str) and edge.dot())  # nltk looks ahead when it predicts
        assert [moved[j] for j in range(len(s) + 1)] == (parsed.chart_size - parsed.expansions)[i, : len(s) + 1].tolist()
        if s in law: assert abs(sum(t.prob() for t in InsideChartParser(theirs).parse(words)) - float(law[s])) < 1e-9

@quick
@given(grammars(), st.integers(0, 1000))
def test_rows_of_a_batch_and_pieces_of_a_join_do_not_meet(grammar, seed):
    rng = np.random.default_rng(seed)
    levels = rng.integers(1, grammar.levels + 1, 7)
    strings, _ = draw_strings(grammar, levels, rng)
    strings[0, -1] = 99  # an unknown token
    whole, apart = parse(grammar, strings, levels), parse(grammar, strings, levels, positions=1)
    for name in whole.__dataclass_fields__: np.testing.assert_allclose(getattr(whole, name), getattr(apart, name), rtol=1e-9, atol=1e-12)
    spans, size = inside(grammar, strings, grammar.levels)[0], strings.shape[0] * (strings.shape[1] + 1)
    for left, right in ((spans[0][0], spans[0][-1]), (spans[1][0], spans[1][0])):
        a, b = join(left, right, size), join(left, right, size, most=1)
        assert (a.start == b.start).all() and (a.end == b.end).all() and np.allclose(a.mass, b.mass)

def test_long_strings_stay_in_range():
    grammar = draw_grammar(GrammarShape(levels=6, lengths=(3,), productions=2))
    strings, closes = draw_strings(grammar, np.full(3, 6), np.random.default_rng(0))
    parsed, real = parse(grammar, strings), np.ones((3, 3**6), bool)
    assert (strings >= 0).all() and strings.shape == (3, 3**6) and np.isfinite(parsed.log_prefix).all()
    np.testing.assert_allclose(parsed.next_probs.sum(2), 1)
    chosen = np.take_along_axis(parsed.next_probs[:, :-1], strings[:, :, None], 2)[:, :, 0]
    np.testing.assert_allclose(np.log(chosen).cumsum(1), parsed.log_prefix[:, 1:], rtol=1e-9, atol=1e-9)
    assert (parsed.closes[:, 1:][real] >= closes[real]).all() and is_member(grammar, strings).all()

# ---- grammars and strings ----

@quick
@given(st.sampled_from(sorted(SHAPES)), st.integers(0, 10**6), st.booleans())
def test_drawn_grammars_have_the_shape_asked_for(name, seed, repeats):
    shape = SHAPES[name].replace(grammar_seed=seed, **({"repeats": repeats} if name != "tiny" else {}))
    grammar = draw_grammar(shape)
    assert [len(level) for level in grammar.rules] == [shape.symbols] * (shape.levels - 1) + [1] and grammar == draw_grammar(shape)
    for i, level in enumerate(grammar.rules):
        sides = [side for sides in level for side in sides]
        below = shape.symbols if i else shape.terminals
        assert {len(s) for s in level} == {shape.productions} and len(set(sides)) == len(sides)
        assert all(len(side) in shape.lengths and max(side) < below for side in sides)
        assert shape.repeats or all(len(set(side)) == len(side) for side in sides)
    if shape.levels < 10:
        taller = draw_grammar(shape.replace(levels=shape.levels + 1))
        assert taller.rules[: shape.levels - 1] == grammar.rules[:-1] and taller.rules[shape.levels - 1][0] == grammar.rules[-1][0]

def test_every_possible_production_can_be_asked_for():
    grammar = draw_grammar(GrammarShape(levels=2, productions=4))
    assert {side for sides in grammar.rules[0] for side in sides} == {s for n in (2, 3) for s in itertools.permutations(range(3), n)}

def test_shared_productions_are_the_same_on_every_level():
    rules = draw_grammar(GrammarShape(levels=5, shared=True, grammar_seed=4)).rules
    assert len(set(rules[:-1])) == 1 and rules[-1][0] == rules[0][0]

def test_grammars_never_change():
    text = "\n\n".join(describe(named_grammar(name, grammar_seed=seed)) for name in sorted(SHAPES) for seed in (0, 1, 2**40))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == GOLDEN_GRAMMARS

def chi_square(counts, law):
    "Counts follow a law: none outside it, rare outcomes pooled, at the one-in-a-million level."
    total = sum(counts.values())
    assert set(counts) <= set(law)
    often = [key for key, p in law.items() if p * total >= 5]
    observed, expected = [counts[key] for key in often], [float(law[key]) * total for key in often]
    rest = total - sum(expected)
    if rest > 1e-6 * total: observed.append(total - sum(observed)); expected.append(rest)
    return len(expected) < 2 or chisquare(observed, expected).pvalue > UNLIKELY

@settings(quick, max_examples=12)
@given(grammars(heaviest=300), st.integers(0, 10**6))
def test_strings_and_structures_follow_the_enumerated_law(grammar, seed):
    strings, closes = draw_strings(grammar, np.full(3000, grammar.levels), np.random.default_rng(seed))
    drawn = Counter((tuple(s[s >= 0].tolist()), tuple(c[c >= 0].tolist())) for s, c in zip(strings, closes))
    assert chi_square(drawn, joint_law(grammar, grammar.levels))

@settings(quick, max_examples=8)
@given(grammars(levels=(2, 3), heaviest=300), st.integers(0, 10**6))
def test_steps_of_one_level_follow_the_same_law(grammar, seed):
    levels = np.random.default_rng(seed).integers(1, grammar.levels + 1, 4000)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("anira.grammar._steps", lambda grammar: _steps(grammar, most=0))
        strings, closes = draw_strings(grammar, levels, np.random.default_rng(seed))
    assert len(_steps(grammar, most=0)) == grammar.levels
    for level in set(levels.tolist()):
        drawn = Counter((tuple(s[s >= 0].tolist()), tuple(c[c >= 0].tolist())) for s, c in zip(strings[levels == level], closes[levels == level]))
        assert chi_square(drawn, joint_law(grammar, level))

def test_rare_productions_keep_their_weight():
    weights = ((1e-3, 0.0, 1 - 1e-3),)
    grammar = Grammar(((((0, 0), (1, 1), (0, 1)),),), 2, (weights,))
    strings, _ = draw_strings(grammar, np.ones(200_000, int), np.random.default_rng(0))
    drawn = np.bincount(strings.sum(1), minlength=3)  # a a, a b, b b
    assert drawn[2] == 0 and chisquare(drawn[:2], [200, 199_800]).pvalue > UNLIKELY

def test_rows_of_mixed_levels_follow_the_law_of_each():
    grammar, levels = named_grammar("small", levels=3), np.tile([1, 2, 3], 2000)
    strings, _ = draw_strings(grammar, levels, np.random.default_rng(3))
    for level in (1, 2, 3):
        assert chi_square(Counter(tuple(s[s >= 0].tolist()) for s in strings[levels == level]), string_law(grammar, level))

@pytest.mark.parametrize("options, message", (
    (dict(productions=5), "productions = 5 is too many: 3 symbols over 3 below have 12 different right-hand sides, expected 1 to 4"),
    (dict(productions=0), "productions = 0 is not valid: expected at least 1"),
    (dict(symbols=1), "symbols = 1 is too few: 1 symbol over 1 below have 0 different right-hand sides, expected at least 2"),
    (dict(terminals=1), "terminals = 1 is too few: .* expected at least 3"), (dict(symbols=2, terminals=2), "productions = 2 is too many: .* expected 1 to 1"),
    (dict(terminals=1, repeats=True), "terminals = 1 is too few: 3 symbols over 1 below have 2 different right-hand sides, expected at least 2"),
    (dict(lengths=(4,)), "at most 3"), (dict(lengths=(1, 2)), "at least 2"),
    (dict(lengths=()), "distinct numbers out of 2, 3"), (dict(lengths=(2, 2)), "distinct numbers out of 2, 3"),
    (dict(lengths=(3,), terminals=2), "terminals = 2 is too few: 3 symbols over 2 below have 0"),
    (dict(shared=True, terminals=4), "shared productions need as many terminals as symbols, 3"),
    (dict(grammar_seed=-1), "grammar_seed = -1 is not valid: expected at least 0"), (dict(symbol=3), "did you mean 'symbols'")))
def test_impossible_grammars_are_refused(options, message):
    for build in (lambda: GrammarShape.from_dict(options), lambda: Lano(**options)):
        with pytest.raises(ValueError, match=message): build()

@pytest.mark.parametrize("options, message", (
    (dict(max_size=0), "max_size = 0 is not valid: expected at least 1"), (dict(max_size=11), "max_size = 11 is not valid: expected at most 10"),
    (dict(max_size=4, beyond=(6, 11)), r"beyond = \[6, 11\] is not valid: sizes go up to 10"), (dict(max_size=4, beyond=(4,)), "must lie past max_size = 4"),
    (dict(max_size=4, held_out=(4,)), "must lie inside the trained range, 1 to 3"),
    (dict(prompt_share=-.1), "prompt_share = -0.1 is not valid"), (dict(prompt_share=2), "expected at most 1.0")))
def test_impossible_tasks_are_refused(options, message):
    with pytest.raises(ValueError, match=message): Lano(**options)

@pytest.mark.parametrize("size, message", ((0, "size = 0 is too small for lano: at least 1"), (4, "size = 4 is too large for lano: the grammar has 3 levels")))
def test_impossible_sizes_are_refused(size, message):
    with pytest.raises(ValueError, match=message): Lano(max_size=3).batch(2, 0, 0, size)
    with pytest.raises(ValueError, match="at least one instance"): Lano(max_size=3).batch(0, 0, 0)

# ---- the task ----

@st.composite
def tasks(draw, top=3):
    "A LANO task whose languages can be listed."
    shape = draw(st.sampled_from([dict(), dict(symbols=2, terminals=2, repeats=True), dict(shared=True, repeats=True), dict(terminals=4, lengths=(2,)), dict(productions=1)]))
    size = draw(st.integers(1, top))
    beyond = [size + 1] if size < top and draw(st.booleans()) else []
    return Lano(max_size=size, beyond=beyond, grammar_seed=draw(st.integers(0, 99)), prompt_share=draw(st.sampled_from([0, .3, .5, 1])), **shape)

def languages(task): return {size: string_law(task.grammar, size) for size in task.test_sizes}

def read_row(task, row):
    "(size, string of terminals) of a row, read from its text alone."
    words = task.show(row).split()
    at = words.index("<ans>")
    assert words[0] == "<bos>" and set(words[1:at]) == {"<level>"} and words[-1] == "<eos>"
    return at - 1, tuple(ord(w) - ord("a") for w in words[at + 1 : -1])

@quick
@given(tasks(), st.integers(0, 10**6))
def test_rows_are_strings_of_their_size_and_their_law_is_the_language(task, seed):
    batch, laws = task.batch(12, seed, 0), languages(task)
    table, law = task.annotate(batch), task.law(batch)
    assert {len(column) for column in table.values()} == {batch.answer_mask.sum()} == {len(law)}
    assert set(STATE_FEATURES) < set(table)
    for i, row in enumerate(batch.tokens):
        size, string = read_row(task, row)
        assert size == batch.sizes[i] and string in laws[size]
        mine = table["instance"] == i
        assert abs(table["log_prob"][mine].sum() - float(np.log(float(laws[size][string])))) < 1e-9
        assert table["step"][mine].tolist() == list(range(1, len(string) + 2)) and table["is_end"][mine].tolist() == [False] * len(string) + [True]
        assert set(table["string_length"][mine]) == {len(string)} and set(table["size"][mine]) == {size}
        assert table["position"][mine].tolist() == list(range(size + 1, size + 2 + len(string)))
        for j, (p, following) in enumerate(zip(law[mine], table["entropy"][mine])):
            begins = {t: sum(q for s, q in laws[size].items() if s[: j + 1] == string[:j] + (t,)) for t in range(task.options.terminals)}
            expected = np.zeros(task.vocab_size)
            whole = sum(begins.values()) + laws[size].get(string[:j], 0)
            expected[task.n_special + 1 :], expected[task.eos_id] = [float(b / whole) for b in begins.values()], float(laws[size].get(string[:j], 0) / whole)
            np.testing.assert_allclose(p, expected, atol=1e-12)
            assert abs(following + sum(q * np.log(q) for q in expected if q)) < 1e-9
        work = earley(task.grammar, size, string)
        for name in work[0]: assert table[name][mine].tolist() == [w[name] for w in work]
        ways = [leftmost_ways(task.grammar, size, string[:j]) for j in range(len(string) + 1)]
        np.testing.assert_allclose(2 ** table["ambiguity"][mine], ways)

@quick
@given(tasks(), st.integers(0, 10**6))
def test_admissible_is_a_positive_probability(task, seed):
    batch = task.batch(6, seed, 1)
    law = task.law(batch)
    for token in range(-1, task.vocab_size + 1):
        right = task.admissible(batch, np.full_like(batch.tokens, token))
        assert not right[~batch.answer_mask].any()
        assert right[batch.answer_mask].tolist() == ((law[:, token] > 0).tolist() if 0 <= token < task.vocab_size else [False] * len(law))

@quick
@given(tasks(), st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_verify_accepts_members_and_rejects_everything_else(task, seed, random):
    batch, laws = task.batch(6, seed, 2), languages(task)
    answers = task.answers(batch)
    assert task.verify(batch, answers).all() and (task.with_answers(batch, answers).tokens == batch.tokens).all()
    prompts = task.prompts(batch)
    lengths = batch.answer_mask.sum(1) - 1
    assert ((prompts != task.pad_id).sum(1) == batch.sizes + 2 + np.floor(task.options.prompt_share * lengths)).all()
    for _ in range(8):
        made = []
        for row in answers:  # substitute, delete, insert or swap; or another member with the same beginning
            row = [int(t) for t in row if t != task.pad_id]
            at, token = random.randrange(len(row)), random.randrange(task.vocab_size)
            edit = random.choice(["substitute", "delete", "insert", "swap", "append"])
            if edit == "substitute": row[at] = token
            if edit == "delete": del row[at]
            if edit == "insert": row.insert(at, token)
            if edit == "swap": other = random.randrange(len(row)); row[at], row[other] = row[other], row[at]
            if edit == "append": row.append(token)
            made.append(row)
        width = max(map(len, made)) + 1
        padded = np.array([row + [task.pad_id] * (width - len(row)) for row in made])
        judged = task.verify(batch, padded)
        for i, row in enumerate(made):
            while row and row[-1] == task.pad_id: row.pop()
            start = [int(t) for t in prompts[i] if t != task.pad_id][batch.sizes[i] + 2 :]
            text = [t - task.n_special - 1 for t in start + row[:-1]]
            member = bool(row) and row[-1] == task.eos_id and task.pad_id not in row and tuple(text) in laws[batch.sizes[i]]
            assert judged[i] == member

@quick
@given(tasks(), st.integers(0, 10**6))
def test_every_continuation_in_the_language_is_right(task, seed):
    batch, laws = task.batch(1, seed, 3), languages(task)
    start = tuple(int(t) - task.n_special - 1 for t in task.prompts(batch)[0, batch.sizes[0] + 2 :])
    rest = [s[len(start) :] for s in sorted(laws[batch.sizes[0]]) if s[: len(start)] == start][:60]
    for ending in rest: assert task.verify(batch, np.array([[t + task.n_special + 1 for t in ending] + [task.eos_id]]))[0]

def test_answers_without_a_token_are_wrong():
    task = Lano(max_size=2)
    batch = task.batch(3, 0, 0)
    assert not task.verify(batch, np.zeros((3, 0), int)).any() and not task.verify(batch, np.zeros((3, 4), int)).any()

def test_strings_that_leave_the_language_are_annotated_without_an_error():
    task = Lano(max_size=3, prompt_share=0)
    batch = task.batch(4, 0, 0, 3)
    with np.errstate(all="raise"): table = task.annotate(task.with_answers(batch, np.full((4, 5), task.n_special + 1)))  # a a a a a
    assert len(table["step"]) == 20 and np.isneginf(table["log_prob"]).any() and (table["entropy"] >= 0).all()
    last = table["step"] == 5
    assert not table["chart_size"][last].any() and not table["ambiguity"][last].any()

def test_rows_stand_on_their_own():
    task = Lano(max_size=4)
    batch = task.batch(8, 0, 0)
    part, whole = task.annotate(batch[np.array([5, 2])]), task.annotate(batch)
    for mine, theirs in ((0, 5), (1, 2)):
        for name in STATE_FEATURES: np.testing.assert_allclose(part[name][part["instance"] == mine], whole[name][whole["instance"] == theirs], rtol=1e-9, atol=1e-12)

def test_counts_add_up():
    task = Lano()
    table = task.annotate(task.batch(6, 0, 0, 6))
    first = table["step"] == 1
    assert (table["scans"][first] == 0).all() and (table["scans"][~first] >= 1).all()  # every token is scanned
    assert (table["chart_size"] >= table["expansions"] + table["scans"]).all() and (table["chart_size"] <= table["expansions"] + table["scans"] + table["completions"]).all()
    assert ((table["closes"] > 1) <= (table["completions"] > 0)).all() and (table["closing_level"] <= table["closes"] + 1e-9).all()
    assert (table["closes"][table["is_end"]] == 6).all() and (table["expansions"][first] > 0).all()

def test_sizes_splits_and_shares():
    task = Lano(max_size=5, held_out=(2, 4), beyond=(6,))
    assert task.train_sizes == [1, 3, 5] and [task.split(s) for s in (1, 2, 6)] == ["trained", "interpolation", "extrapolation"]
    assert set(task.batch(400, 0, 0).sizes.tolist()) == {1, 3, 5}
    assert Lano(max_size=5, beyond=(6,)).grammar == Lano(max_size=6).grammar

CASES = ({}, dict(max_size=4, held_out=(2,), beyond=(5,), shared=True, grammar_seed=7), dict(max_size=3, symbols=4, terminals=5, productions=3, lengths=(3,), repeats=True))
GOLDEN, GOLDEN_GRAMMARS = ("fa5826131175bc10", "2ce1812823e29249", "dc4496a97dc4240f"), "f7ecbf2c5272d2bc"

@pytest.mark.parametrize("i", range(3))
def test_batches_never_change(i): assert fingerprint("lano", CASES[i], size=3) == GOLDEN[i]

def test_a_fresh_process_draws_the_same_batches():
    assert fresh_fingerprints([("lano", options, 3) for options in CASES]) == list(GOLDEN)

@pytest.mark.parametrize("options, size", ((run_config("lano", "early", "paper").task_options, 7), (dict(lengths=(3,), beyond=(7,)), 7)))
def test_a_batch_of_the_paper_fits_in_memory(options, size):
    tracemalloc.start()
    batch = Lano(**options).sample(1024, np.random.default_rng(0), size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert batch.tokens.shape[1] > 300 and peak < 2**30

@pytest.mark.parametrize("changed", (dict(max_size=4), dict(held_out=(2,)), dict(beyond=(5,)), dict(symbols=4), dict(terminals=4), dict(productions=3),
                                     dict(lengths=(2,)), dict(repeats=True), dict(shared=True), dict(grammar_seed=1), dict(prompt_share=.25)), ids=lambda c: next(iter(c)))
def test_no_option_is_ignored(changed):
    seen = []
    for options in (dict(max_size=3), dict(max_size=3) | changed):
        task = Lano(**options)
        seen.append((task.grammar, task.train_sizes, task.test_sizes, task.prompts(task.sample(8, np.random.default_rng(0), 3)).tolist()))
    assert seen[0] != seen[1] and {f.name for f in fields(LanoOptions)} >= set(changed)

def test_the_settings_of_a_grammar_have_one_home():
    shared = {f.name for f in fields(GrammarOptions)}
    assert {f.name for f in fields(GrammarShape)} == shared | {"levels"}
    assert {f.name for f in fields(LanoOptions)} == shared | {"max_size", "held_out", "beyond", "prompt_share"}
    assert not shared & set(LanoOptions.__annotations__) and not shared & set(GrammarShape.__annotations__)
