"The analysis recomputed by other means: statsmodels by hand, brute force over orders, textbook formulas, copied rows."
import json, shutil
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.api as sm
from hypothesis import given, settings, strategies as st

from anira.analysis import (REGRESSORS, alignment, cluster_means, covariances, decompose, graphs_of, hierarchical, linear_share, linear_shares, lmg, match_sizes, onset, over_runs,
                            permuted_covariances, regress, regression_columns, resampled, size_linearity, some_instances, subset_r2, variance_shares)
from anira.files import commit_manifest
from anira.reproduce import run_notebook

ROOT = Path(__file__).resolve().parent.parent
TRACES = ROOT / "data" / "laptop" / "traces"
FEW = ["size", "n_ancestors", "hub_share", "dfs_depth", "frontier_size", "step"]  # few enough for all orders


def right_answers(folder):
    "The regression's rows of one run, picked without the package."
    t = pd.read_parquet(folder / "trace.parquet")
    return t[(t.answers == "generated") & t.correct_instance & ~t.is_end & (t.split != "extrapolation")].reset_index(drop=True)

def run_folder(variant, seed):
    "Where the shipped run on the paper's graphs lies."
    manifests = {p.parent: json.loads(p.read_text()) for p in TRACES.glob("brevo-*/manifest.json")}
    (found,) = [p for p, m in manifests.items() if (m["run"]["variant"], m["run"]["seed"]) == (variant, seed) and m["config"]["task_options"].get("graphs", "physicslm4") == "physicslm4"]
    return found

def z(table, columns):
    "An intercept and standardised columns."
    x = table[columns].to_numpy(float)
    return np.column_stack([np.ones(len(x)), (x - x.mean(0)) / x.std(0)])

def rss(X, y):
    "Residual sum of squares of least squares."
    return float(((y - X @ np.linalg.lstsq(X, y, rcond=None)[0]) ** 2).sum())

def sandwich(X, y, groups):
    "Coefficients and their covariance clustered by group, with the usual small-sample factor."
    bread = np.linalg.inv(X.T @ X)
    beta = bread @ X.T @ y
    scores = np.stack([X[rows].T @ (y - X @ beta)[rows] for rows in pd.Series(groups).groupby(groups).indices.values()])
    (n, k), g = X.shape, len(scores)
    return beta, bread @ scores.T @ scores @ bread * g / (g - 1) * (n - 1) / (n - k)

@pytest.fixture(scope="module")
def online():
    return right_answers(run_folder("online", 0))

@pytest.fixture(scope="module")
def part(online):
    "The first instances of every size."
    return online[online.instance % 1000 < 60].reset_index(drop=True)

def made_up(rng, n=120, tokens=4, effect=0.0):
    "A table in which depth follows size and step, and another column by `effect`."
    size, step = np.repeat(rng.integers(3, 7, n), tokens), np.tile(np.arange(1, tokens + 1), n)
    t = pd.DataFrame(dict(checkpoint="made-up", instance=np.repeat(np.arange(n), tokens), size=size, step=step, frontier_size=rng.integers(1, 5, n * tokens)))
    return t.assign(expected_depth=.3 * size + .2 * step**2 + effect * t.frontier_size + rng.normal(size=len(t)))


# Ordinary least squares

def test_exported_coefficients_are_those_of_statsmodels_by_hand():
    exported = pd.read_csv(ROOT / "figures" / "tab_timing_coefficients.csv")
    exported = exported[exported.population == "all right answers"]
    assert set(exported.variant) == {"early", "online"}
    for (variant, seed), own in exported.groupby(["variant", "seed"]):
        rows, own = right_answers(run_folder(variant, seed)), own.set_index("column")
        X, y = z(rows, list(own.index)), rows.expected_depth.to_numpy(float)
        naive = sm.OLS(y, X).fit()
        robust = naive.get_robustcov_results("cluster", groups=rows.instance.to_numpy())
        beta, cov = sandwich(X, y, rows.instance.to_numpy())
        for column, mine, again in (("coefficient", naive.params, beta), ("naive_error", naive.bse, naive.bse), ("error", robust.bse, np.sqrt(np.diag(cov)))):
            assert np.allclose(own[column], mine[1:], rtol=1e-5), (variant, seed, column)
            assert np.allclose(mine, again, rtol=1e-6)

def test_every_regressor_is_used(online):
    assert regression_columns(online.assign(tree_depth=1)) == [c for c in REGRESSORS if c in online]
    assert "remaining" not in REGRESSORS and (online.remaining == online.n_ancestors - online.step + 1).all()

@pytest.mark.parametrize("target", ["expected_depth", "depth"])
def test_f_and_wald_equal_the_textbook(part, target):
    columns, y = regression_columns(part), part[target].to_numpy(float)
    found = size_linearity(part, columns, target)
    number = z(part, columns)
    category = np.column_stack([z(part, [c for c in columns if c != "size"]), *((part["size"] == s).to_numpy(float) for s in sorted(part["size"].unique())[1:])])
    q, left = category.shape[1] - number.shape[1], len(y) - category.shape[1]
    f = (rss(number, y) - rss(category, y)) / q / (rss(category, y) / left)
    assert found["bends"] == q == part["size"].nunique() - 2
    assert np.isclose(found["f"], f) and np.isclose(found["f_p"], scipy.stats.f.sf(f, q, left))
    bends = np.column_stack([number, *((part["size"] == s).to_numpy(float) for s in sorted(part["size"].unique())[2:])])
    beta, cov = sandwich(bends, y, part.instance.to_numpy())
    wald = beta[-q:] @ np.linalg.solve(cov[-q:, -q:], beta[-q:])
    assert np.isclose(found["wald"], wald, rtol=1e-5) and np.isclose(found["wald_p"], scipy.stats.chi2.sf(wald, q), rtol=1e-4)


# Shares

def brute_force(X, y):
    "LMG by its definition: the mean gain in R² over all orders of entry, each subset fitted once."
    p, total = X.shape[1], ((y - y.mean()) ** 2).sum()
    r2 = {frozenset(): 0.0}
    gain = np.zeros(p)
    for order in (orders := list(permutations(range(p)))):
        for k, j in enumerate(order):
            before, after = frozenset(order[:k]), frozenset(order[: k + 1])
            if after not in r2: r2[after] = 1 - rss(np.column_stack([np.ones(len(y)), X[:, sorted(after)]]), y) / total
            gain[j] += r2[after] - r2[before]
    return gain / len(orders)

@pytest.mark.parametrize("p", [1, 2, 5])
def test_lmg_equals_brute_force_on_made_up_tables(p):
    rng = np.random.default_rng(p)
    X = rng.normal(size=(200, p)) @ rng.normal(size=(p, p))
    y = X @ rng.normal(size=p) + rng.normal(size=200)
    assert np.allclose(lmg(subset_r2(np.cov(np.column_stack([X, y]), rowvar=False))), brute_force(X, y), atol=1e-10)

@pytest.mark.parametrize("target", ["expected_depth", "depth"])
def test_lmg_equals_brute_force_on_the_real_table(part, target):
    found, by_hand = decompose(covariances(part, FEW, target), FEW), brute_force(part[FEW].to_numpy(float), part[target].to_numpy(float))
    assert np.allclose(found["total"].share, by_hand, atol=1e-9)
    assert np.allclose(found["explained"].share, by_hand / by_hand.sum(), atol=1e-9)
    full = sm.OLS(part[target], z(part, FEW)).fit().rsquared
    without = [sm.OLS(part[target], z(part, [d for d in FEW if d != c])).fit().rsquared for c in FEW]
    alone = [sm.OLS(part[target], z(part, [c])).fit().rsquared for c in FEW]
    assert np.isclose(found["r2"].share["r2"], full)
    assert np.allclose(found["drop_one"].share, full - np.array(without), atol=1e-10) and np.allclose(found["alone"].share, alone, atol=1e-10)

@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_lmg_is_fair(seed, p):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(40, p + 1)) @ rng.normal(size=(p + 1, p + 1))
    C = np.cov(data, rowvar=False)
    r2, shares = subset_r2(C), lmg(subset_r2(C))
    assert (shares > -1e-9).all() and np.isclose(shares.sum(), r2[-1])
    units = np.append(rng.uniform(.1, 10, p), 3.0)
    assert np.allclose(lmg(subset_r2(C * np.outer(units, units))), shares, atol=1e-8)
    twins = np.ix_([0, *range(p + 1)], [0, *range(p + 1)])
    first, second, *_ = lmg(subset_r2(C[twins]))
    assert np.isclose(first, second) and np.isclose(lmg(subset_r2(C[twins])).sum(), r2[-1])

@pytest.mark.parametrize("variance", [0, 1], ids=["constant", "unrelated"])
def test_a_column_that_says_nothing_gets_nothing(part, variance):
    C = covariances(part, FEW)[0]
    wider = np.insert(np.insert(C, 2, 0, 0), 2, 0, 1)
    wider[2, 2] = variance
    shares = lmg(subset_r2(wider))
    assert np.allclose(np.delete(shares, 2), lmg(subset_r2(C))) and abs(shares[2]) < 1e-12


# Resampling

def test_a_replicate_is_a_table_of_copied_instances(part):
    ids = part.groupby("instance", sort=False).ngroup().to_numpy()
    times = resampled(ids.max() + 1, 3, seed=5)
    assert (times[0] == 1).all() and (times.sum(1) == ids.max() + 1).all()
    shares, straight = variance_shares(part, FEW, draws=3, seed=5), linear_shares(part, draws=3, seed=5)
    for draw in range(3):
        copies = part.loc[part.index.repeat(times[1 + draw, ids].astype(int))].reset_index(drop=True)
        assert np.allclose(shares[draw], variance_shares(copies, FEW).share, atol=1e-9)
        assert np.isclose(straight[1 + draw], linear_share(copies))

@pytest.mark.parametrize("drawn", [
    lambda t, seed: variance_shares(t, FEW, draws=5, seed=seed).to_numpy(),
    lambda t, seed: linear_shares(t, draws=5, seed=seed),
    lambda t, seed: permuted_covariances(t, FEW, draws=3, seed=seed),
    lambda t, seed: alignment(t, draws=5, seed=seed)[1],
    lambda t, seed: cluster_means(t.depth.to_numpy(float), t.instance.to_numpy(), 5, seed),
    lambda t, seed: some_instances(t, 20, seed).instance.to_numpy()[:20],
], ids=["shares", "linear", "permutation", "alignment", "means", "instances"])
def test_the_same_seed_draws_the_same(part, drawn):
    assert np.array_equal(drawn(part, 3), drawn(part, 3))
    assert not np.array_equal(drawn(part, 3), drawn(part, 4))

@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(3, 6)), min_size=3, max_size=60), st.integers(0, 99))
def test_matching_equalises(instances, seed):
    rows = pd.DataFrame([dict(checkpoint=c, size=s, instance=i, token=k) for i, (c, s) in enumerate(instances) for k in range(1 + i % 3)])
    runs, counts = sorted(rows.checkpoint.unique()), rows.drop_duplicates("instance").groupby(["size", "checkpoint"]).size().unstack(fill_value=0)
    kept = match_sizes(rows, seed)
    after = kept.drop_duplicates("instance").groupby(["size", "checkpoint"]).size().unstack(fill_value=0).reindex(index=counts.index, columns=runs, fill_value=0)
    assert (after.to_numpy() == counts.min(axis=1).to_numpy()[:, None]).all()
    assert kept.groupby("instance").size().to_dict() == {i: n for i, n in rows.groupby("instance").size().items() if i in set(kept.instance)}


# The null

def test_the_null_of_noise_explains_what_noise_explains():
    "Under permutation of everything, R² of p columns has the mean p / (n − 1)."
    t = made_up(np.random.default_rng(0)).assign(all=1)
    r2 = decompose(permuted_covariances(t, ["size", "step", "frontier_size"], strata=("all",), draws=400), ["size", "step", "frontier_size"])["r2"].to_numpy()[0, 1:]
    assert abs(r2.mean() - 3 / (len(t) - 1)) < 4 * r2.std() / np.sqrt(400)

def test_the_null_keeps_what_depth_owes_to_size_and_step(part):
    C = permuted_covariances(part, FEW, draws=5)
    kept = [FEW.index("size"), FEW.index("step"), len(FEW)]
    assert np.allclose(C[:, -1, kept], C[0, -1, kept]) and np.allclose(C[:, :-1, :-1], C[0, :-1, :-1])
    assert not np.allclose(C[1, -1], C[0, -1])

def test_without_an_effect_the_observed_is_one_of_the_permutations():
    "Ranks of what is observed among the permutations are uniform over made-up tables, and extreme where there is an effect."
    columns = ["size", "step", "frontier_size"]
    def rank(seed, effect):
        share = decompose(permuted_covariances(made_up(np.random.default_rng(seed), effect=effect), columns, draws=50, seed=seed), columns)["total"].loc["frontier_size"].to_numpy()
        return (share[1:] < share[0]).mean()
    none = [rank(seed, 0.0) for seed in range(40)]
    assert scipy.stats.kstest(none, "uniform").pvalue > .01
    assert min(rank(seed, .5) for seed in range(5)) == 1


# The hierarchical model

def test_the_hierarchical_model_groups_tokens_by_run_and_instance(part):
    t = some_instances(pd.concat([part.assign(checkpoint="one"), part.assign(checkpoint="two", expected_depth=part.depth + .1 * part.step)]), 40)
    fit = hierarchical(t, FEW)
    assert fit.model.n_groups == t.groupby(["checkpoint", "instance"]).ngroups == 80 > t.instance.nunique()
    labels = (t.checkpoint + "/" + t.instance.astype(str)).to_numpy()
    by_hand = sm.MixedLM(t.expected_depth.to_numpy(float), z(t, FEW), groups=labels).fit()
    assert np.allclose(fit.fe_params, by_hand.fe_params, rtol=1e-3, atol=1e-4) and np.isclose(fit.scale, by_hand.scale, rtol=1e-3)
    assert np.isclose(fit.cov_re.iloc[0, 0], np.asarray(by_hand.cov_re)[0, 0], rtol=1e-2)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_intervals_over_seeds_are_as_wide_as_students(seeds):
    runs = np.random.default_rng(seeds).normal(size=(200, seeds))
    ours = [np.ptp([found["low"], found["high"]]) for found in (over_runs(np.tile(run[:, None], 101)) for run in runs)]
    students = [np.ptp(scipy.stats.t.interval(.95, seeds - 1, scale=scipy.stats.sem(run))) for run in runs]
    assert abs(np.mean(ours) / np.mean(students) - 1) < (.35 if seeds == 2 else .06)  # two seeds have three resamples

# Several seeds, several families

def pretend(folder, variant, seed, graphs, task="brevo", traces=TRACES):
    "A run like a shipped one: a part of its instances, under another seed and perhaps another family of graphs."
    source, name = traces / f"{task}-{variant}-s0", f"{task}-{variant}-{graphs}-s{seed}".replace("_", "")
    manifest, rng, out = json.loads((source / "manifest.json").read_text()), np.random.default_rng(seed), folder / name
    out.mkdir(parents=True)
    trace, dynamics = (pd.read_parquet(source / f"{kind}.parquet").assign(seed=seed, checkpoint=name) for kind in ("trace", "dynamics"))
    trace[trace.instance % 6 == seed].to_parquet(out / "trace.parquet")
    dynamics.assign(depth=dynamics.depth + rng.normal(scale=.2, size=len(dynamics)) * ~dynamics.full_depth).to_parquet(out / "dynamics.parquet")
    shutil.copy(source / "sweep.parquet", out)
    options = manifest["config"]["task_options"] | ({} if graphs == "physicslm4" else dict(graphs=graphs))
    commit_manifest(out, ["trace.parquet", "dynamics.parquet", "sweep.parquet"], run=manifest["run"] | dict(seed=seed, checkpoint=name), config=manifest["config"] | dict(task_options=options, seed=seed))

@pytest.fixture(scope="module")
def many(tmp_path_factory):
    "Two seeds on the paper's graphs, one on others."
    folder = tmp_path_factory.mktemp("traces")
    for variant in ("early", "online"):
        for seed, graphs in ((0, "physicslm4"), (1, "physicslm4"), (2, "erdos_renyi")): pretend(folder, variant, seed, graphs)
    return folder

def drawn(notebook, many, folder):
    run_notebook(ROOT / "nbs" / "experiments" / f"{notebook}.ipynb", folder / f"{notebook}.ipynb", dict(traces=str(many), figures=str(folder)))
    return lambda name: pd.read_csv(folder / f"{name}.csv")

def test_regression_over_seeds(many, tmp_path):
    read = drawn("tab_timing_regression", many, tmp_path)
    shares = read("tab_timing_shares")
    assert set(shares.seeds) == {2} and (shares.low <= shares["value"] + 1e-9).all() and (shares["value"] <= shares.high + 1e-9).all()
    assert set(read("tab_timing_coefficients").seed) == set(read("tab_timing_linearity").seed) == {0, 1}  # the other family is not pooled in

def test_robustness_over_seeds_families_and_rules(many, tmp_path):
    (tmp_path / "laptop").mkdir(); (tmp_path / "laptop/traces").symlink_to(many)
    pretend(tmp_path / "laptop-other-rules/traces", "hybrid", 1, "physicslm4", traces=ROOT / "data/laptop-other-rules/traces")
    read = drawn("tab_timing_robustness", tmp_path / "laptop/traces", tmp_path)
    families = read("tab_timing_families").set_index(["graphs", "variant"])
    expected = {("physicslm4", "early"): 2, ("physicslm4", "online"): 2, ("erdos_renyi", "early"): 1, ("erdos_renyi", "online"): 1}
    assert families.trained.to_dict() == families.learnt.to_dict() == expected
    assert set(read("fig_timing_robustness").seeds) == {2} and set(read("tab_timing_hierarchical").seed) == {0, 1}
    rules = read("fig_timing_rules").set_index(["profile", "variant"])
    assert rules.learnt.to_dict() == {("laptop", "early"): 2, ("laptop", "online"): 2, ("laptop-other-rules", "hybrid"): 1}
    shares = rules.set_index("statistic", append=True)["value"].unstack()
    assert np.allclose(shares.structure + shares.state, 1)

def test_dynamics_over_seeds_and_families(many, tmp_path):
    summary = drawn("fig_dynamics", many, tmp_path)("tab_dynamics").set_index(["model", "variant"])
    assert summary.seeds.to_dict() == {("brevo", "early"): 2, ("brevo", "online"): 2, ("brevo (erdos_renyi)", "early"): 1, ("brevo (erdos_renyi)", "online"): 1}
    several = summary[summary.seeds == 2]
    assert (several.accuracy_low <= several.accuracy).all() and summary[summary.seeds == 1].accuracy_low.isna().all()

def test_graphs_come_from_the_manifest(many):
    assert {graphs_of(json.loads(p.read_text())) for p in many.glob("*/manifest.json")} == {"physicslm4", "erdos_renyi"}


def test_a_replicate_of_a_mean_weighs_rows_not_instances():
    assert set(cluster_means(np.array([0.] * 9 + [1]), np.array([0] * 9 + [1])).round(9)) == {0, .1, 1}


def test_few_replicates_serve_more_than_once():
    runs = np.array([[0.], [1.], [4.]])
    assert over_runs(np.tile(runs, 11)) == over_runs(np.tile(runs, 2001))


def test_an_onset_is_above_the_threshold():
    assert onset([1, 2], [.1, .2], .1) == 2
