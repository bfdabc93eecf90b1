"""Training: exact to resume, honest about what it finds, and able to learn."""
import copy, json, os, shutil, signal, subprocess, sys, time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anira import training
from anira.checkpoint import load
from anira.files import ManifestError, _seal, verify_folder
from anira.evaluation import evaluate
from anira.halting import HALTING
from anira.model import EXECUTIONS, Anira
from anira.profiles import run_config
from anira.tasks import TASKS
from anira.training import halting_schedule, learning_rate_factor, main, make_optimizers, save_state, step_noise, train, train_step

torch.set_num_threads(1)

class Killed(BaseException): "Stands for the end of a process."

def small(task="mano", variant="online", **changes):
    "A run of twelve steps that evaluates and saves on the way."
    return run_config(task, variant, "smoke", **{**dict(steps=12, batch_size=6, eval_every=5, eval_instances=4, save_every=3, device="cpu"), **changes})

def weights(folder): return load_file(Path(folder) / "model.safetensors")

def identical(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)

def timeless(folder): return {**json.loads((Path(folder) / "history.json").read_text()), "seconds": 0}

def train_until(config, folder, kill_after, monkeypatch):
    "Train, and die right after a step."
    step = training.train_step
    def dying(*args):
        if args[-1] > kill_after: raise Killed
        return step(*args)
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_step", dying)
        with pytest.raises(Killed): train(config, folder, quiet=True)

@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "One finished run, to be copied, never changed."
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(small(), folder, quiet=True)
    return folder

@pytest.fixture
def run(finished, tmp_path): return Path(shutil.copytree(finished, tmp_path / "run"))

# ---- resume ----

def continued(whole, folder, step):
    "What a run that was killed after saving `step` had on disk."
    shutil.copytree(whole / "state" / f"{step:08d}", folder / "state" / f"{step:08d}")
    if (whole / "best").exists(): shutil.copytree(whole / "best", folder / "best")
    return folder

def resumes_bit_for_bit(config, folder):
    "Train, then again from each state that was left, and compare everything."
    train(config, folder / "whole", quiet=True)
    states = sorted((folder / "whole" / "state").iterdir())
    for state in states:
        again = continued(folder / "whole", folder / state.name, int(state.name))
        train(config, again, quiet=True)
        assert identical(weights(again), weights(folder / "whole")) and timeless(again) == timeless(folder / "whole")
        last, now = ((run / "state" / states[-1].name) for run in (folder / "whole", again))
        assert (last / "optimizer.safetensors").read_bytes() == (now / "optimizer.safetensors").read_bytes() and timeless(last) == timeless(now)
    return len(states)

@pytest.mark.parametrize("variant,execution", [(v, e) for v in HALTING for e in EXECUTIONS if not (e == "packed" and HALTING[v].loss == "expected")])
@pytest.mark.parametrize("task", TASKS)
def test_a_resumed_run_ends_bit_for_bit_like_one_that_was_not_stopped(task, variant, execution, tmp_path):
    config = small(task, variant, execution=execution, steps=4, batch_size=3, eval_every=2, eval_instances=1, save_every=1, optimizer="muon", full_depth_fraction=0.5, length_groups=2)
    assert resumes_bit_for_bit(config, tmp_path) == 2

@pytest.mark.slow
@pytest.mark.parametrize("variant", ("early", "online"))
def test_a_compiled_run_resumes_bit_for_bit_too(variant, tmp_path, request):
    if "slow" not in request.config.option.markexpr: pytest.skip("torch.compile takes minutes on two cores: run it with pytest -m slow")
    assert resumes_bit_for_bit(small("mano", variant, compile=True, steps=6, save_every=2, optimizer="muon"), tmp_path) == 2

@pytest.mark.parametrize("optimizer", ("adamw", "muon"))
def test_a_run_killed_more_than_once_ends_bit_for_bit_like_one_that_was_not(optimizer, tmp_path, monkeypatch):
    config = small("brevo", "online", optimizer=optimizer)
    train(config, tmp_path / "whole", quiet=True)
    for kills in ((2,), (4, 7, 10)):
        folder = tmp_path / "-".join(map(str, kills))
        for kill in kills: train_until(config, folder, kill, monkeypatch)
        assert not (folder / "manifest.json").exists()
        train(config, folder, quiet=True)
        assert identical(weights(folder), weights(tmp_path / "whole")) and timeless(folder) == timeless(tmp_path / "whole")

def later(function, where, by=9):
    "A function of the step that begins again at 1 after step 9."
    def counting_anew(*args): return function(*(a - by if i == where else a for i, a in enumerate(args)))
    return counting_anew

@pytest.mark.parametrize("forgotten", ("nothing", "optimizer", "learning rate", "data", "noise"))
def test_a_resume_that_forgets_one_thing_is_not_bit_for_bit(forgotten, finished, tmp_path, monkeypatch):
    "The controls: a test of equality that cannot fail shows nothing."
    folder = continued(finished, tmp_path / "run", 9)
    if forgotten == "optimizer": monkeypatch.setattr(training, "_restore_optimizers", lambda *args: None)
    if forgotten == "learning rate": monkeypatch.setattr(training, "learning_rate_factor", later(learning_rate_factor, 1))
    if forgotten == "noise": monkeypatch.setattr(training, "step_noise", later(step_noise, 1))
    if forgotten == "data":
        task = type(small().make_task())
        monkeypatch.setattr(task, "batch", later_batch(task.batch))
    train(small(), folder, quiet=True)
    assert identical(weights(folder), weights(finished)) == (forgotten == "nothing")

def later_batch(batch):
    "Training batches that begin again at step 1 after step 9; evaluations have no step."
    return lambda task, n, seed, *step: batch(task, n, seed, *(s - 9 if len(step) == 1 else s for s in step))

def test_a_process_ended_by_sigkill_is_resumed_bit_for_bit(tmp_path):
    settings = ["steps=150", "batch_size=4", "eval_every=100", "eval_instances=2", "save_every=10", "device=cpu"]
    command = [sys.executable, "-m", "anira.training", "--task", "mano", "--variant", "early", "--out", str(tmp_path / "killed"), "--set", *settings]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline, progress = time.monotonic() + 300, tmp_path / "killed" / "progress.jsonl"
    while not (progress.exists() and list(tmp_path.glob("killed/state/*[0-9]/manifest.json"))):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "killed" / "manifest.json").exists()
    lines = [json.loads(line) for line in progress.read_text().splitlines()]
    assert lines[0]["step"] == 1 and lines[0]["of"] == 150 and {"ce", "kl", "depth", "gamma", "seconds_left", "steps_per_second"} <= set(lines[0])
    config = run_config("mano", "early", "smoke", "0", **training.parse_assignments(settings))
    train(config, tmp_path / "killed", quiet=True)
    resumed = [json.loads(line)["step"] for line in progress.read_text().splitlines()][len(lines) :]
    assert resumed[0] > 10
    train(config, tmp_path / "whole", quiet=True)
    assert identical(weights(tmp_path / "killed"), weights(tmp_path / "whole")) and timeless(tmp_path / "killed") == timeless(tmp_path / "whole")

@pytest.mark.parametrize("damage", ("cut off", "altered", "missing", "no manifest", "broken manifest"))
def test_a_damaged_newest_state_is_named_and_the_one_before_it_used(damage, finished, tmp_path, monkeypatch, capsys):
    train_until(small(), tmp_path, 7, monkeypatch)
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == ["00000003", "00000006"]
    newest = tmp_path / "state" / "00000006"
    file = newest / ("manifest.json" if "manifest" in damage else "optimizer.safetensors")
    content = file.read_bytes()
    if damage in ("missing", "no manifest"): file.unlink()
    else: file.write_bytes({"cut off": content[:-9], "altered": content[:-1] + bytes([content[-1] ^ 1]), "broken manifest": content[:20]}[damage])
    begun = []
    step = training.train_step
    monkeypatch.setattr(training, "train_step", lambda *args: (begun.append(args[-1]), step(*args))[1])
    train(small(), tmp_path, quiet=True)
    said = capsys.readouterr().err
    assert "skipping a saved state" in said and "00000006" in said and begun[0] == 4
    assert identical(weights(tmp_path), weights(finished)) and timeless(tmp_path) == timeless(finished)

def test_a_run_with_no_state_left_begins_again_and_says_so(finished, tmp_path, monkeypatch, capsys):
    train_until(small(), tmp_path, 7, monkeypatch)
    for manifest in tmp_path.glob("state/*/manifest.json"): manifest.write_text("{}")
    train(small(), tmp_path, quiet=True)
    assert capsys.readouterr().err.count("skipping a saved state") == 2 and identical(weights(tmp_path), weights(finished))

def test_only_two_states_are_kept_and_a_half_written_one_is_never_used(tmp_path):
    config = small()
    model = Anira(config.model_config())
    for step in (1, 2, 3): save_state(tmp_path, step, model, make_optimizers(model, config), {"step": step}, config)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000002", "00000003"]
    (tmp_path / "00000003" / "manifest.json").unlink()
    said = []
    assert training.load_state(tmp_path, model, make_optimizers(model, config), config, said.append) == (2, {"step": 2}) and len(said) == 2 and "skipping" in said[0] and said[1] == "continuing after step 2"

def test_other_settings_never_continue_a_run(finished, tmp_path, monkeypatch):
    train_until(small(), tmp_path, 4, monkeypatch)
    with pytest.raises(ValueError, match=r"holds a run with other settings \(seed\): choose another folder or delete it"): train(small(seed=1), tmp_path, quiet=True)
    with pytest.raises(ValueError, match="holds a finished run with other settings"): train(small(seed=1), finished, quiet=True)

# ---- what a run leaves behind ----

def test_a_finished_run_is_not_run_again(run, monkeypatch):
    monkeypatch.setattr(training, "train_step", None)
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    assert train(small(), run, quiet=True) == verify_folder(run) and {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before

def test_the_history_holds_the_loss_curve_and_every_size_at_every_evaluation(finished):
    history, config = json.loads((finished / "history.json").read_text()), small()
    assert [r["step"] for r in history["train"]] == list(range(1, 13)) and all({"step", "ce", "kl", "depth", "expected_depth", "gamma"} == set(r) for r in history["train"])
    assert [(e["step"], e["full_depth"]) for e in history["evaluations"]] == [(5, False), (10, False), (12, False)]
    for evaluation in history["evaluations"]:
        assert [(r["size"], r["split"]) for r in evaluation["sizes"]] == [(1, "trained"), (2, "interpolation"), (3, "trained"), (4, "extrapolation")]
        assert all(0 <= r["accuracy"] <= 1 and 1 <= r["depth"] <= 3 and r["n"] == 4 for r in evaluation["sizes"])
        assert ("generated_accuracy" in evaluation["sizes"][0]) == (evaluation["step"] == 12)
    task = config.make_task()
    assert history["tokens"] == sum(int((task.batch(6, 0, step).tokens != 0).sum()) for step in range(1, 13))
    assert [r["gamma"] for r in history["train"]] == [halting_schedule(config, step)[1] for step in range(1, 13)]

def test_the_manifest_says_what_was_run_and_the_checkpoint_reproduces_its_last_evaluation(finished):
    model, manifest = load(finished)
    assert manifest["config"] == small().to_dict() and manifest["seed"] == 0 and manifest["cost"]["steps"] == 12 and not model.training
    assert {"commit", "dirty", "versions", "device", "hardware", "platform"} <= set(manifest["provenance"]) and set(manifest["files"]) == {"history.json", "model.safetensors"}
    assert manifest["n_parameters"] == sum(t.numel() for t in weights(finished).values())
    assert evaluate(model, small().make_task(), 4, generated=True) == manifest["final"] == timeless(finished)["evaluations"][-1]["sizes"]

def rewrite(path, **changes):
    manifest = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({**manifest, "seal": _seal(manifest)}))

@pytest.mark.parametrize("damage, message", (
    (lambda run: (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-4] + b"\0\0\0\1"), "model.safetensors does not have the sha256 in its manifest"),
    (lambda run: (run / "model.safetensors").write_bytes(b""), "does not have the sha256"), (lambda run: (run / "history.json").write_text("{}"), "history.json does not have the sha256"),
    (lambda run: (run / "model.safetensors").unlink(), "is listed in the manifest but missing"), (lambda run: (run / "manifest.json").unlink(), "has no manifest.json"),
    (lambda run: (run / "manifest.json").write_text('{"files": '), "is not readable JSON"), (lambda run: (run / "manifest.json").write_bytes(b"\xff\xfe\0"), "is not readable JSON"),
    (lambda run: (run / "manifest.json").write_text("[1]"), "lists no files"), (lambda run: rewrite(run / "manifest.json", schema=99), "has schema 99, this version reads 2: update anira"),
    (lambda run: rewrite(run / "manifest.json", files={}), "holds no model"), (lambda run: rewrite(run / "manifest.json", files={"../model.safetensors": "0"}), "lies outside its folder"),
    (lambda run: rewrite(run / "manifest.json", model={**json.loads((run / "manifest.json").read_text())["model"], "width": 32}), "does not fit its configuration"),
    (lambda run: (run / "manifest.json").write_text((run / "manifest.json").read_text().replace('"steps": 12', '"steps": 13')), "does not have the content it was sealed with")))
def test_an_altered_checkpoint_is_refused(run, damage, message):
    damage(run)
    with pytest.raises(ManifestError, match=message) as caught: load(run)
    assert "\n" not in str(caught.value)

def test_the_best_is_the_first_with_the_highest_accuracy_on_trained_sizes_once_halting_is_on(tmp_path, monkeypatch):
    scores = {2: (1.0, 0.0), 4: (0.25, 0.0), 6: (0.75, 0.0), 8: (0.5, 1.0), 10: (0.75, 1.0)}
    def scored(config, step): return dict(step=step, full_depth=halting_schedule(config, step)[0], sizes=[dict(split=s, accuracy=a) for s, a in zip(("trained", "extrapolation"), scores[step])])
    monkeypatch.setattr(training, "_evaluation", lambda model, task, config, step: scored(config, step))
    config = small(steps=10, eval_every=2, save_every=2, batch_size=2)
    train(config, tmp_path / "run", quiet=True)
    model, manifest = load(tmp_path / "run" / "best")
    assert manifest["step"] == 6 and manifest["validation_accuracy"] == 0.75 and manifest["config"] == config.to_dict()
    train(config.replace(steps=10), continued(tmp_path / "run", tmp_path / "again", 8), quiet=True)
    assert identical(weights(tmp_path / "again" / "best"), weights(tmp_path / "run" / "best")) and not identical(weights(tmp_path / "run"), weights(tmp_path / "run" / "best"))

# ---- the steps themselves ----

def test_data_and_weights_do_not_depend_on_evaluating_or_saving(tmp_path):
    for i, changes in enumerate((dict(eval_every=1, save_every=1), dict(eval_every=100, save_every=100, eval_instances=2))): train(small(steps=6, **changes), tmp_path / str(i), quiet=True)
    assert identical(weights(tmp_path / "0"), weights(tmp_path / "1"))

def test_the_global_generator_plays_no_part(finished, tmp_path):
    torch.rand(17)
    train(small(), tmp_path, quiet=True)
    assert identical(weights(tmp_path), weights(finished))

def test_seeds_differ_and_noise_is_a_function_of_seed_and_step(finished, tmp_path):
    train(small(seed=1), tmp_path, quiet=True)
    assert not identical(weights(tmp_path), weights(finished))
    assert torch.equal(step_noise(small(), 5, (2, 3, 1)), step_noise(small(), 5, (2, 3, 1)))
    draws = [step_noise(small(seed=seed), step, (2, 3, 1)) for seed in (0, 1) for step in (1, 2)]
    assert not any(torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])

@pytest.mark.parametrize("variant", ("early", "online"))
def test_sorting_a_batch_into_length_groups_changes_nothing_but_rounding(variant):
    records, models = [], []
    for groups in (1, 4):
        config = small("brevo", variant, length_groups=groups, full_depth_fraction=0.0, batch_size=12)
        torch.manual_seed(0)
        model = Anira(config.model_config()).train()
        torch.nn.init.normal_(model.halting.decider.down.weight)
        records.append(train_step(model, model, [], config.make_task(), config, 9)); models.append(model)
    assert records[0] == pytest.approx(records[1], rel=1e-4)
    for a, b in zip(*(m.parameters() for m in models)): torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4)

def test_a_step_minimises_answer_cross_entropy_plus_gamma_times_mean_divergence():
    config = small("mano", "early", full_depth_fraction=0.0, ramp_steps=0, ponder_weight=0.5, prior_base=2.0, clip_norm=1e9)
    torch.manual_seed(0)
    model, task = Anira(config.model_config()).train(), config.make_task()
    reference = copy.deepcopy(model)
    record, batch = train_step(model, model, [], task, config, 3), task.batch(6, 0, 3)
    tokens, mask = torch.as_tensor(batch.tokens), torch.as_tensor(batch.answer_mask)
    out = reference(tokens, noise=step_noise(config, 3, (*tokens.shape, 3)))
    prior = torch.tensor([4.0, 2.0, 1.0]) / 7
    ce = -out.logits.log_softmax(-1)[mask].gather(1, tokens.roll(-1, 1)[mask][:, None]).mean()
    kl = (out.exit_probs * (out.exit_probs / prior).log()).sum(-1)[tokens != 0].mean()
    (ce + 0.5 * kl).backward()
    assert record["gamma"] == 0.5 and record["ce"] == pytest.approx(float(ce.detach()), rel=1e-5) and record["kl"] == pytest.approx(float(kl.detach()), rel=1e-4)
    for a, b in zip(model.parameters(), reference.parameters()): torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-4)

def test_schedules_at_their_corners():
    config = small(steps=100, warmup_steps=10, full_depth_fraction=0.3, ramp_steps=20, ponder_weight=0.4, full_depth_ponder=0.1, final_learning_rate=0.05)
    assert [halting_schedule(config, step) for step in (1, 30)] == [(True, pytest.approx(0.04))] * 2
    assert halting_schedule(config, 31) == (False, pytest.approx(0.02)) and halting_schedule(config, 50) == halting_schedule(config, 100) == (False, 0.4)
    rates = [learning_rate_factor(config, step) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.1, rel=1e-2) and rates[-1] == pytest.approx(0.05) and rates.index(max(rates)) == 9 and rates[9:] == sorted(rates[9:], reverse=True)
    assert halting_schedule(small(full_depth_fraction=0.0), 1)[0] is False and halting_schedule(small(full_depth_fraction=1.0), 12)[0] is True

@pytest.mark.parametrize("changes", (dict(precision="bf16"), dict(variant="fixed"), dict(optimizer="muon", length_groups=3, model=dict(inject="concat", step_embedding=True, mlp="swiglu", kv="refresh"))))
def test_every_way_of_training_runs_to_a_loadable_checkpoint(changes, tmp_path):
    train(small(**{"steps": 4, **changes}), tmp_path, quiet=True)
    assert load(tmp_path)[0].config.max_depth == 3

@pytest.mark.parametrize("variant", ("early", "online"))
def test_a_tiny_task_is_learnt_completely(variant, tmp_path):
    config = run_config("mano", variant, "smoke", steps=160, batch_size=64, learning_rate=5e-3, warmup_steps=20, eval_every=80, eval_instances=200, save_every=1000, device="cpu",
                        model=dict(width=32, n_heads=2, max_depth=3), task_options=dict(max_size=1, held_out=(), beyond=(), modulus=3))
    (size,) = train(config, tmp_path, quiet=True)["final"]
    losses = [r["ce"] for r in timeless(tmp_path)["train"]]
    assert size["accuracy"] == size["generated_accuracy"] == 1.0
    assert losses[0] > 10 * losses[-1] and losses[-1] < 0.05

# ---- command line ----

def test_the_command_line_trains_and_reports_in_text(tmp_path, capsys):
    assert main(["--task", "mano", "--variant", "early", "--out", str(tmp_path), "--set", "steps=3", "batch_size=4", "eval_instances=2", "model.width=8", "device=cpu"]) == 0
    assert "step 3/3  loss" in capsys.readouterr().err
    assert load(tmp_path)[0].config.width == 8

@pytest.mark.parametrize("arguments, message", (
    (["--task", "maano"], "unknown task 'maano'"), (["--variant", "onlin"], "did you mean 'online'"), (["--profile", "smoky"], "did you mean 'smoke'"), (["--seed", "x"], "seed = 'x' is not valid"),
    (["--seed", "-1"], "seed = '?-1'? is not valid|expected at least 0"), (["--set", "step=3"], "did you mean 'steps'"), (["--set", "steps"], "not of the form name=value"), (["--set", "steps=many"], "steps = 'many' is not valid"),
    (["--set", "model.width=30"], "width = 30 must be a multiple"), (["--set", "model=3", "model.width=8"], "both a value and a group"), (["--set", "task=brevo"], "task has an option of its own: use --task"),
    (["--set", "task_options.name=x"], "unknown setting of ManoOptions 'name'"), (["--set", "task_options.max_size=0"], "max_size = 0 is not valid"), (["--set", "learning_rate=nan"], "expected a finite number"),
    (["--set", "model.vocab_size=9"], "vocab_size follows from task and variant"), (["--set", "steps=0"], "expected at least 1"), (["--set", "seed=1"], "seed has an option of its own")))
def test_the_command_line_refuses_in_one_sentence(arguments, message, tmp_path, capsys):
    import re
    assert main(["--task", "mano", "--variant", "online", "--out", str(tmp_path / "out"), *arguments]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "out").exists()

@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_named(tmp_path, capsys):
    assert main(["--task", "mano", "--variant", "online", "--out", str(tmp_path), "--set", "device=cuda"]) == 2
    assert "device = 'cuda' is not available here: use device=cpu" in capsys.readouterr().err

def test_a_process_that_refuses_exits_with_2_and_no_traceback(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    command = [sys.executable, "-m", "anira.training", "--task", "mano", "--variant", "early", "--out", str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
