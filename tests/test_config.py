"""Settings: coercion, ranges, names, round trips and hashes."""
import dataclasses, json, subprocess, sys
from dataclasses import dataclass

import pytest
from hypothesis import given, settings, strategies as st

from anira.config import Config, choose, coerce, config_hash, parse_assignments, setting
from anira.model import AniraConfig
from anira.profiles import PROFILES, RunConfig, grid, run_config

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
ANNOTATIONS = (int, float, bool, str, dict, int | None, float | None, tuple[int, ...], list[float], tuple[bool, ...])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=4), st.complex_numbers(),
                    st.sampled_from(["1", "true", "nan", "-inf", "1e999", "0x10", "[1, 2", "1,,2", "[]", "None", " 7 ", "1_0", 10**400]))
ANYTHING = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)), max_leaves=4)

@dataclass(frozen=True)
class Example(Config):
    count: int = setting(3, "how many", low=1, high=10)
    share: float = setting(0.5, "a share", low=0.0, high=1.0)
    sizes: tuple[int, ...] = setting((1, 2), "some sizes", low=1)
    kind: str = setting("a", "a kind", allowed=("a", "b"))
    flag: bool = setting(False, "a switch")
    limit: int | None = setting(None, "a limit", low=2)
    extra: dict = setting({}, "anything")

def one_sentence(error):
    "The message of a refusal, checked to be a single non-empty line."
    message = str(error)
    assert message.strip() and "\n" not in message and "Traceback" not in message
    return message

def has_type(value, annotation):
    "Whether a coerced value has the annotated type."
    return {int: lambda v: type(v) is int, float: lambda v: type(v) is float, bool: lambda v: type(v) is bool, str: lambda v: isinstance(v, str),
            dict: lambda v: isinstance(v, dict), int | None: lambda v: v is None or type(v) is int, float | None: lambda v: v is None or type(v) is float,
            tuple[int, ...]: lambda v: type(v) is tuple and all(type(i) is int for i in v),
            list[float]: lambda v: type(v) is list and all(type(i) is float for i in v),
            tuple[bool, ...]: lambda v: type(v) is tuple and all(type(i) is bool for i in v)}[annotation](value)

@settings(quick, max_examples=300)
@given(ANYTHING, st.sampled_from(ANNOTATIONS))
def test_coerce_gives_the_annotated_type_or_one_sentence(value, annotation):
    try: result = coerce("thing", value, annotation)
    except ValueError as error: assert "thing" in one_sentence(error)
    else: assert has_type(result, annotation)

@quick
@given(st.integers(-10**12, 10**12), st.lists(st.integers(-99, 99), max_size=4), st.floats(-1e6, 1e6))
def test_text_from_a_command_line_means_what_the_object_means(whole, several, real):
    assert coerce("x", str(whole), int) == whole and coerce("x", repr(real), float) == real
    for text in (str(several), str(tuple(several)), ",".join(map(str, several))): assert coerce("x", text, tuple[int, ...]) == tuple(several)

@pytest.mark.parametrize("value", (True, "1.5", 1.5, "one", None, [1], float("nan"), float("inf"), "", b"1.5x", 1j))
def test_what_is_not_a_whole_number_is_refused(value):
    with pytest.raises(ValueError, match="count = .* is not valid: expected a"): Example(count=value)

@pytest.mark.parametrize("text, value", (("true", True), ("Yes", True), ("1", True), ("FALSE", False), ("no", False), ("0", False), (1, True)))
def test_switches_read_words(text, value): assert Example(flag=text).flag is value

@pytest.mark.parametrize("bad, message", ((dict(count=0), "count = 0 is not valid: expected at least 1"), (dict(count=11), "expected at most 10"),
    (dict(share=-0.1), "expected at least 0"), (dict(sizes=(1, 0)), r"sizes = \(1, 0\) is not valid: expected at least 1"), (dict(limit=1), "expected at least 2"),
    (dict(kind="c"), "unknown kind 'c': expected one of a, b"), (dict(flag="maybe"), "flag = 'maybe' is not valid: expected true or false"),
    (dict(extra=[1]), "expected a mapping"), (dict(sizes=5), "expected a list of int"), (dict(sizes=(1, "x")), r"sizes\[1\] = 'x'"),
    (dict(kind=3), "expected text"), (dict(counts=3), "unknown setting of Example 'counts'.*did you mean 'count'")))
def test_each_refusal_names_the_setting_and_what_was_expected(bad, message):
    with pytest.raises(ValueError, match=message) as caught: Example.from_dict(bad)
    one_sentence(caught.value)

@quick
@given(st.text(max_size=10), st.lists(st.text(max_size=6), max_size=4))
def test_choose_accepts_exactly_the_allowed(name, allowed):
    if name in allowed: assert choose(name, allowed) == name
    else:
        with pytest.raises(ValueError, match="unknown name"): choose(name, allowed)

def test_choose_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'median'"): choose("medain", ("mode", "median"), "rule")
    with pytest.raises(ValueError) as caught: choose("zzzz", ("mode", "median"), "rule")
    assert "did you mean" not in str(caught.value)

examples = st.builds(Example, count=st.integers(1, 10), share=st.floats(0, 1), sizes=st.lists(st.integers(1, 50), max_size=4).map(tuple), kind=st.sampled_from("ab"),
                     flag=st.booleans(), limit=st.one_of(st.none(), st.integers(2, 99)), extra=st.dictionaries(st.text(max_size=3), st.integers(), max_size=3))

@quick
@given(examples)
def test_dictionaries_and_json_round_trip(config):
    settings = config.to_dict()
    assert Example.from_dict(settings) == config == Example.from_dict(json.loads(json.dumps(settings)))
    assert config.replace() == config and config.replace(count=7).count == 7

@quick
@given(examples, st.randoms(use_true_random=False))
def test_the_hash_ignores_order_and_sees_every_change(config, random):
    settings = config.to_dict()
    keys = list(settings); random.shuffle(keys)
    assert config_hash({k: settings[k] for k in keys}) == config_hash(settings)
    for changed in (dict(count=config.count % 10 + 1), dict(flag=not config.flag), dict(sizes=(*config.sizes, 51)), dict(kind="b" if config.kind == "a" else "a")):
        assert config_hash(config.replace(**changed).to_dict()) != config_hash(settings)

def test_the_hash_is_the_same_in_every_process():
    code = "from anira.config import config_hash; print(config_hash({'b': [1, 2.5, None], 'a': {'é': 'x'}}))"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert fresh == config_hash({"a": {"é": "x"}, "b": [1, 2.5, None]}) == "b1f07dbd50dc"

def test_settings_are_frozen_and_defaults_are_not_shared():
    one, two = Example(), Example()
    with pytest.raises(dataclasses.FrozenInstanceError): one.count = 4
    one.extra["x"] = 1
    assert two.extra == {} == Example().extra

def test_the_table_shows_every_setting():
    table = Example()._repr_markdown_()
    assert all(f"| `{f.name}` |" in table and f.metadata["doc"] in table for f in dataclasses.fields(Example))

@quick
@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,5}\Z"), st.one_of(st.text(max_size=5), st.dictionaries(st.from_regex(r"\A[a-z]{1,5}\Z"), st.text(max_size=5), min_size=1, max_size=3)), max_size=4))
def test_assignments_rebuild_the_nested_mapping(mapping):
    pairs = [p for k, v in mapping.items() for p in ([f"{k}={v}"] if isinstance(v, str) else [f"{k}.{i}={w}" for i, w in v.items()])]
    assert parse_assignments(pairs) == mapping

@quick
@given(st.lists(st.one_of(st.text(max_size=6), st.from_regex(r"\A[ab](\.[ab]){0,2}=[0-9]?\Z")), max_size=4))
def test_assignments_are_read_or_refused_in_one_sentence(pairs):
    try: parse_assignments(pairs)
    except ValueError as error: assert str(error)

@pytest.mark.parametrize("text", ("steps", "=3", "a b=3", "a..b=3", ".a=3", "a.=3", "1a=2"))
def test_malformed_assignments_are_refused(text):
    with pytest.raises(ValueError, match="is not of the form name=value"): parse_assignments([text])

@pytest.mark.parametrize("pairs", (["a=1", "a.b=2"], ["a.b=1", "a.b.c=2"]))
def test_a_value_cannot_also_be_a_group(pairs):
    with pytest.raises(ValueError, match="both a value and a group"): parse_assignments(pairs)

@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("task", ("mano", "brevo"))
@pytest.mark.parametrize("variant", ("early", "online", "fixed"))
def test_every_profile_resolves_and_round_trips(profile, task, variant):
    config = run_config(task, variant, profile, 3)
    assert (config.task, config.variant, config.profile, config.seed) == (task, variant, profile, 3)
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))).to_dict() == config.to_dict()
    assert config.model_config().vocab_size == config.make_task().vocab_size

def test_changes_to_a_profile_merge_into_nested_settings_and_leave_the_profile_alone():
    before = json.dumps(PROFILES)
    config = run_config("mano", "early", "smoke", model=dict(width=32), task_options=dict(modulus=11))
    assert config.model == dict(width=32, n_heads=2, max_depth=3) and config.make_task().options.modulus == 11
    assert json.dumps(PROFILES) == before

@pytest.mark.parametrize("changes, message", ((dict(task="mano2"), "unknown task 'mano2'.*did you mean 'mano'"), (dict(variant="onlin"), "unknown variant 'onlin'.*did you mean 'online'"),
    (dict(profile="smok"), "unknown profile 'smok'.*did you mean 'smoke'"), (dict(step=3), "unknown setting of RunConfig 'step'.*did you mean 'steps'"),
    (dict(model=dict(widht=3)), "did you mean 'width'"), (dict(model=dict(vocab_size=9)), "vocab_size follows from task and variant"),
    (dict(task_options=dict(modulos=3)), "did you mean 'modulus'"), (dict(task_options=dict(name="x")), "unknown setting of ManoOptions 'name'"),
    (dict(seed=2**31), "seed = 2147483648 is not valid: expected at most"), (dict(seed=-1), "expected at least 0"), (dict(precision="fp16"), "unknown precision 'fp16'")))
def test_run_settings_are_refused_with_the_nearest_name(changes, message):
    with pytest.raises(ValueError, match=message): run_config(**{**dict(task="mano", variant="online"), **changes})

@pytest.mark.parametrize("bad, message", ((dict(width=30), "width = 30 must be a multiple of 2·n_heads = 8"), (dict(fixed_depth=7), "fixed_depth = 7 must be at most max_depth = 6"),
    (dict(halting="onlin"), "unknown halting 'onlin'.*did you mean 'online'"), (dict(rule="medain"), "did you mean 'median'"), (dict(threshold=1.1), "expected at most 1.0"),
    (dict(vocab_size=1), "expected at least 2"), (dict(max_depth=0), "expected at least 1"), (dict(kv="fresh"), "did you mean 'refresh'"), (dict(inject="sum"), "unknown inject 'sum'"),
    (dict(mlp="relu"), "unknown mlp 'relu'")))
def test_model_settings_are_refused_with_their_range(bad, message):
    with pytest.raises(ValueError, match=message): AniraConfig(**{**dict(vocab_size=9), **bad})

def test_a_missing_setting_is_named():
    with pytest.raises(ValueError, match="AniraConfig needs vocab_size"): AniraConfig.from_dict({})

def test_a_study_changes_what_it_names_and_nothing_else():
    own, base = (run_config("brevo", "online", p).to_dict() for p in ("laptop-own-rates", "laptop"))
    assert {k: v for k, v in own.items() if v != base[k]} == dict(profile="laptop-own-rates", learning_rate=4e-3, muon_learning_rate=0.04)
    assert grid("laptop-own-rates", variants=("early",)) == [("brevo", "early", 0)]
