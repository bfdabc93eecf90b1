"The ledger's numbers, counted by hand on tables in which every other choice of rows gives another number."
import numpy as np
import pandas as pd
import pytest

from anira.claims import MIN_INSTANCES, MIN_SEEDS, accuracy_by_size, countable, findings, judge, judge_timing, timing_population

SPLITS = {3: "interpolation", 6: "extrapolation"}  # of sizes 1 to 6
RIGHT = dict(early=[20, 18, 9, 17, 16, 4], online=[20, 18, 9, 17, 16, 9])  # of 20 written answers of each size
FORCED, WRITTEN = [1, 3, 6, 2, 4, 5], [1, 2, 3, 4, 6, 8]  # depth of each size

def run(variant, seed=0, task="mano"):
    "Twenty instances of every size, three tokens each, the last one closing."
    rows = []
    for answers, right, depth in (("forced", [20] * 6, FORCED), ("generated", RIGHT[variant], WRITTEN)):
        for size in range(1, 7):
            for i in range(20):
                same = dict(task=task, variant=variant, seed=seed, checkpoint=f"{task}-{variant}-s{seed}", answers=answers, instance=20 * size + i, size=size, split=SPLITS.get(size, "trained"), correct_instance=i < right[size - 1])
                rows += [same | dict(depth=depth[size - 1], expected_depth=9.0 - depth[size - 1], is_end=False)] * 2 + [same | dict(depth=7, expected_depth=7.0, is_end=True)]
    return pd.DataFrame(rows)

def test_what_is_said_of_sizes_is_counted_by_hand():
    found = findings(pd.concat([run(variant, seed) for variant in RIGHT for seed in range(MIN_SEEDS)])).set_index(["claim", "statistic", "variant"]).value
    own = lambda claim, statistic: [found[claim, statistic, variant] for variant in RIGHT]
    assert own("C1", "ρ(depth, size)") == pytest.approx([.8, .8])  # sizes 1, 2, 4, 5 against depths 1, 3, 2, 4
    assert own("C2", "fall of accuracy beyond") == pytest.approx([(16 - 4) / 20, (16 - 9) / 20])
    assert own("C2", "rise of depth beyond") == pytest.approx([8 - 6] * 2)
    assert own("C2b", "fall of accuracy inside") == pytest.approx([((18 + 17) / 2 - 9) / 20] * 2)
    assert found["C2c", "fall of accuracy beyond", "early − online"] == pytest.approx((9 - 4) / 20)

def test_a_run_counts_at_eight_in_ten_at_its_worst_trained_size():
    assert accuracy_by_size(run("early")).loc["mano-early-s0"].tolist() == [k / 20 for k in RIGHT["early"]]  # 16 of 20 at the worst: it counts
    assert accuracy_by_size(run("early", task="lano")).loc["lano-early-s0"].tolist() == [1] * 6
    table = run("early")
    assert len(countable(table)) == len(table)
    assert not len(countable(table.assign(correct_instance=table.correct_instance & ~((table["size"] == 5) & (table.instance == 100)))))  # 15 of 20

@pytest.mark.parametrize("low, high", [(.1, .3), (-.3, .1)])
def test_an_interval_that_touches_the_threshold_decides_nothing(low, high):
    assert judge(low, high, .1) == "inconclusive"

def graphs(variant, seed=0, n=400, wrong=0.0, task="brevo", answers="generated"):
    "Depth follows size in early halting, but zigzags; in online halting it follows the frontier, and size in a straight line."
    rng, rows = np.random.default_rng([seed, len(variant)]), []
    for i in range(n):
        size = int(rng.choice([3, 4, 5, 6, 7], p=[.1, .1, .2, .3, .3] if variant == "early" else [.3, .3, .2, .1, .1]))
        right = bool(rng.random() >= wrong)
        for step in range(1, 4):
            frontier = int(rng.integers(1, 5))
            depth = [1, 4, 2, 5, 9][size - 3] if variant == "early" else .7 * frontier + .6 * size
            rows.append(dict(task=task, variant=variant, seed=seed, checkpoint=f"{task}-{variant}-s{seed}", answers=answers, instance=i, size=size, split={4: "interpolation", 7: "extrapolation"}.get(size, "trained"),
                             is_end=step == 3, correct_instance=right, step=step, frontier_size=frontier, depth=1, expected_depth=(depth if right else -depth) + .1 * rng.normal()))
    return pd.DataFrame(rows)

def test_the_regressions_read_right_written_answers_inside_the_range():
    kept, few, flat = graphs("early", wrong=.3), graphs("online", seed=1, n=MIN_INSTANCES - 1), graphs("online", seed=2).assign(expected_depth=3.0)
    table = pd.concat([kept, few, flat, graphs("early", answers="forced"), graphs("early", task="mano")], ignore_index=True)
    by_hand = kept[kept.correct_instance & ~kept.is_end & kept["size"].isin([3, 4, 5, 6])]
    assert timing_population(table).equals(by_hand) and set(by_hand.split) == {"trained", "interpolation"}
    matched = timing_population(pd.concat([graphs("early"), graphs("online")]), matched=True)
    early, online = (matched[matched.variant == v].drop_duplicates("instance")["size"].value_counts().to_dict() for v in ("early", "online"))
    assert early == online

def test_who_follows_what_is_found_where_it_is_known():
    found = pd.DataFrame(judge_timing(pd.concat([graphs(variant, seed) for variant in ("early", "online") for seed in range(MIN_SEEDS)]))).set_index(["claim", "variant"])
    assert set(found.verdict[["C3"]]) == {"supported", "not judged"} and set(found.verdict[["C4", "C5"]]) == {"supported"}
    assert found["value"]["C5", "early"] < .7 < .95 < found["value"]["C5", "online"]
    assert found["value"]["C3", "online"] < .5 < found["value"]["C4", "online − early"]

def test_parser_effort_is_read_at_the_largest_trained_size():
    def strings(variant, seed):
        i = np.arange(300)
        size, effort = 1 + i % 3, np.random.default_rng(seed).permutation(300)
        return pd.DataFrame(dict(task="lano", variant=variant, seed=seed, checkpoint=f"lano-{variant}-s{seed}", answers="forced", instance=i, size=size, split=np.where(size == 3, "extrapolation", "trained"), is_end=False,
                                 correct_instance=True, expansions=effort, depth=-effort, expected_depth=np.where(size == 2, effort, -effort)))
    found = findings(pd.concat([strings(variant, seed) for variant in ("early", "online") for seed in range(MIN_SEEDS)]))
    assert found[found.claim == "C6"].value.tolist() == pytest.approx([1, 1])
