"""Faults, made for real: kills, requests to stop, full disks, missing permissions, damaged files, rivals, a clock that runs backwards."""
import contextlib, errno, json, os, re, resource, shutil, signal, subprocess, sys, tempfile, time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as tensor_bytes

import soak
from anira import training
from anira.checkpoint import load
from anira.files import SCHEMA, FolderInUse, ManifestError, NewerSchema, _seal, commit_manifest, only_one, sha256, verify_folder, whole_folder, write_bytes
from anira.ensemble import train_ensemble
from anira.model import Anira
from anira.training import Stopped, load_state, main, make_optimizers, save_state, saved_steps, train

torch.set_num_threads(1)
tiny, differences, TESTS = soak.tiny, soak.differences, Path(__file__).resolve().parent

class Killed(BaseException): "Stands for the end of a process."

@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "One finished run, to be copied, never changed."
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(tiny(), folder, quiet=True)
    return folder

@pytest.fixture
def run(finished, tmp_path): return Path(shutil.copytree(finished, tmp_path / "run"))

@pytest.fixture
def unfinished(finished, tmp_path):
    "What the finished run had left on disk at its last saved states."
    for name in ("state", "best"): shutil.copytree(finished / name, tmp_path / "unfinished" / name)
    return tmp_path / "unfinished"

def arguments(folder, config=None):
    "Command line of a tiny run."
    config = config or tiny()
    flat = {k: v for k, v in config.to_dict().items() if k not in ("task", "variant", "profile", "seed", "model", "task_options")}
    flat |= {f"{group}.{k}": ",".join(map(str, v)) if isinstance(v, list) else v for group in ("model", "task_options") for k, v in config.to_dict()[group].items()}
    return ["--task", config.task, "--variant", config.variant, "--out", str(folder), "--set", *(f"{k}={v}" for k, v in flat.items())]

# ---- kills and requests ----

def test_thirty_kills_at_random_moments_lose_nothing():
    done = subprocess.run([sys.executable, "tests/soak.py", "--kills", "30"], cwd=TESTS.parent, env={**os.environ, "PYTHONPATH": str(TESTS.parent)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    timed, aimed, finished = map(int, re.match(r"(\d+) kills at random moments, (\d+) while .*; (\d+) runs ended bit for bit", done.stdout).groups())
    assert timed + aimed >= 30 and finished >= 1

def test_a_process_says_who_holds_the_folder_saves_when_asked_and_says_how_to_continue(tmp_path, capsys):
    config, folder = tiny(steps=4000, save_every=4000, eval_every=4000), tmp_path / "run"
    command = [sys.executable, "-m", "anira.training", *arguments(folder, config)]
    start = lambda: subprocess.Popen(command, cwd=TESTS.parent, stderr=subprocess.PIPE, text=True)
    def ask(process, number):
        "Wait for the first step, then ask; returns exit code, seconds, last lines."
        begun, lines = len((folder / "progress.jsonl").read_bytes()) if (folder / "progress.jsonl").exists() else 0, []
        while not (folder / "progress.jsonl").exists() or len((folder / "progress.jsonl").read_bytes()) == begun: assert process.poll() is None; time.sleep(0.01)
        if number == signal.SIGTERM: assert main(command[3:]) == 2
        asked = time.monotonic()
        process.send_signal(number)
        said = process.communicate()[1]
        return process.returncode, time.monotonic() - asked, said.splitlines()[-2:]
    code, seconds, said = ask(start(), signal.SIGTERM)
    assert re.fullmatch(rf"error: {folder} is in use by process \d+ on \S+: wait until that ends, or choose another folder\n", capsys.readouterr().err)
    (first,) = saved_steps(folder / "state")
    assert code == 0 and seconds < 30 and said[0] == f"stopped: step {first} of 4000 is saved; to continue:" and said[1].split()[:3] == ["python", "-m", "anira.training"]
    code, seconds, said = ask(start(), signal.SIGINT)
    assert code == 130 and saved_steps(folder / "state")[0] == first < saved_steps(folder / "state")[1]
    optimizers = make_optimizers(model := Anira(config.model_config()), config)
    step, history = load_state(folder / "state", model, optimizers, config)
    assert step == saved_steps(folder / "state")[1] and history["tokens"] == sum(int((config.make_task().batch(3, 0, i).tokens != 0).sum()) for i in range(1, step + 1))

@pytest.mark.parametrize("when", ("step", "evaluation", "saving"))
def test_a_request_is_granted_without_losing_a_step_or_an_evaluation(when, finished, tmp_path, monkeypatch, capsys):
    calls = {"step": "train_step", "evaluation": "evaluate", "saving": "save_state"}
    call, seen = getattr(training, calls[when]), []
    def asked(*args, **how):
        seen.append(1)
        if len(seen) == 2: signal.raise_signal(signal.SIGTERM)
        return call(*args, **how)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(training, calls[when], asked)
        with pytest.raises(Stopped): train(tiny(), tmp_path / "run", quiet=True)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert saved_steps(tmp_path / "run" / "state") == {"step": [2], "evaluation": [8, 10], "saving": [4, 5]}[when]
    train(tiny(), tmp_path / "run", quiet=True)
    assert not differences(tmp_path / "run", finished)

def test_a_second_request_ends_the_run_at_once_and_saves_nothing_half_done(finished, tmp_path, monkeypatch):
    step = training.train_step
    def twice(*args):
        if args[-1] == 7: signal.raise_signal(signal.SIGTERM); signal.raise_signal(signal.SIGTERM)
        return step(*args)
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_step", twice)
        with pytest.raises(Stopped): train(tiny(), tmp_path / "run", quiet=True)
    assert saved_steps(tmp_path / "run" / "state") == [4, 6]
    train(tiny(), tmp_path / "run", quiet=True)
    assert not differences(tmp_path / "run", finished)

def test_a_request_before_the_first_step_leaves_no_state(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "train_step", lambda *args: signal.raise_signal(signal.SIGINT))
    assert main(arguments(tmp_path / "run")) == 130
    assert "stopped: step 0 of 12 is saved; to continue:\n  python -m anira.training --task mano" in capsys.readouterr().err and not (tmp_path / "run" / "state").exists()

def test_an_ensemble_killed_between_two_saves_catches_up_and_each_run_may_go_on_alone(tmp_path, monkeypatch):
    config, names = tiny(), [f"mano-online-s{seed}" for seed in (0, 1)]
    train_ensemble(config, (0, 1), tmp_path / "whole", quiet=True)
    save, saved = training.save_state, []
    def dying(*args):
        saved.append(1)
        if len(saved) == 6: raise Killed
        return save(*args)
    for where in ("together", "alone"):
        saved.clear()
        with monkeypatch.context() as patch:
            patch.setattr(training, "save_state", dying)
            with pytest.raises(Killed): train_ensemble(config, (0, 1), tmp_path / where, quiet=True)
        assert [saved_steps(tmp_path / where / name / "state")[-1] for name in names] == [6, 4]
    train_ensemble(config, (0, 1), tmp_path / "together", quiet=True)
    for seed, name in enumerate(names): train(config.replace(seed=seed), tmp_path / "alone" / name, quiet=True)
    for where in ("together", "alone"):
        for name in names:
            a, b = (load(tmp_path / run / name)[0].state_dict() for run in ("whole", where))
            for key in a: torch.testing.assert_close(a[key], b[key], atol=1e-4, rtol=1e-3)

# ---- one process per folder ----

def test_the_lock_ends_with_its_holder(tmp_path):
    if not (pid := os.fork()):
        with only_one(tmp_path): os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    with only_one(tmp_path):
        with pytest.raises(FolderInUse, match=f"is in use by process {os.getpid()} on"):
            with only_one(tmp_path): pass

def test_a_finished_folder_says_so_and_needs_no_lock(run, capsys):
    with only_one(run): assert main(arguments(run)) == 0
    assert capsys.readouterr().err == f"{run} holds this run, finished: nothing is left to do\n"

# ---- what reaches the disk, and in which order ----

@pytest.mark.skipif(sys.platform != "linux", reason="names of open files are read from /proc")
def test_files_are_flushed_before_they_get_their_name_and_folders_after(tmp_path, monkeypatch):
    events, flush, rename, plain = [], os.fsync, os.replace, lambda path: re.sub(r"\.?([^/]+?)\.\d+\.tmp", r"\1*", os.path.relpath(path, tmp_path))
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append(plain(os.readlink(f"/proc/self/fd/{handle}"))), flush(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(f"{plain(a)} -> {plain(b)}"), rename(a, b))[1])
    with whole_folder(tmp_path / "new" / "state") as where: write_bytes(where / "x", b"1")
    assert events == [".", "new", "new/state*/x*", "new/state*/x* -> new/state*/x", "new/state*", "new/state* -> new/state", "new"]

@pytest.mark.parametrize("call", ("fsync", "replace"))
def test_a_save_that_fails_anywhere_leaves_the_last_state_and_no_leftovers(call, tmp_path, monkeypatch):
    config = tiny()
    model = Anira(config.model_config())
    save_state(tmp_path, 1, model, make_optimizers(model, config), {"step": 1}, config)
    before, real = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}, getattr(os, call)
    for fail_at in range(1, 30):
        left = [fail_at]
        def failing(*args):
            left[0] -= 1
            if not left[0]: raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            try: save_state(tmp_path, 2, model, make_optimizers(model, config), {"step": 2}, config)
            except OSError: pass
        if left[0] > 0: break
        if saved_steps(tmp_path) == [1]: assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
        for step in saved_steps(tmp_path): verify_folder(tmp_path / f"{step:08d}")
        shutil.rmtree(tmp_path / "00000002", ignore_errors=True)
    assert fail_at > 5 and saved_steps(tmp_path) == [1, 2]

@contextlib.contextmanager
def largest_file(n):
    "No file may grow beyond n bytes."
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, hard))
    try: yield
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

def test_a_full_disk_is_one_sentence_and_the_run_continues_once_there_is_room(finished, tmp_path, capsys):
    folder, size = tmp_path / "run", (finished / "state/00000010/optimizer.safetensors").stat().st_size
    with largest_file(size - 1): assert main(arguments(folder)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"error: \S+/optimizer.safetensors: File too large; what was saved before is whole: mend this and give the same command again", said)
    assert saved_steps(folder / "state") == [] and not list(folder.rglob("*.tmp"))
    train(tiny(), folder, quiet=True)
    assert not differences(folder, finished)

@pytest.fixture
def small_disk(tmp_path):
    "A file system of one megabyte."
    (where := tmp_path / "disk").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", where], capture_output=True).returncode: pytest.skip("mounting needs root")
    yield where
    subprocess.run(["umount", where], check=True)

def test_a_disk_that_fills_up_leaves_the_last_states(small_disk, finished, capsys):
    filler = small_disk / "filler"
    for name in ("state", "best"): shutil.copytree(finished / name, small_disk / "run" / name)
    with open(filler, "wb", buffering=0) as f, contextlib.suppress(OSError):
        while f.write(b"0" * 4096): pass
    assert main(arguments(small_disk / "run")) == 2
    assert re.search(r"error: (\S+: )?No space left on device; what was saved before is whole", capsys.readouterr().err.splitlines()[-1])
    assert saved_steps(small_disk / "run" / "state") == saved_steps(finished / "state")
    for step in saved_steps(finished / "state"): verify_folder(small_disk / "run" / "state" / f"{step:08d}")
    filler.unlink()
    train(tiny(), small_disk / "run", quiet=True)
    assert not differences(small_disk / "run", finished)

@contextlib.contextmanager
def ordinary_user():
    "Not root while the block runs: root may write everywhere."
    if os.geteuid(): yield; return
    os.seteuid(65534)
    try: yield
    finally: os.seteuid(0)

def test_a_folder_that_may_not_be_written_is_one_sentence_and_stays_as_it_was(finished, capsys):
    with tempfile.TemporaryDirectory() as where:
        folder = Path(shutil.copytree(finished / "state", Path(where) / "run" / "state")).parent
        shutil.copytree(finished / "best", folder / "best")
        for path in (Path(where), folder, *folder.rglob("*")):
            if os.geteuid() == 0: os.chown(path, 65534, 65534)
        shutil.rmtree(folder / "state" / "00000010")
        (folder / "state").chmod(0o500)
        before = {p: p.read_bytes() for p in folder.rglob("*.*") if p.is_file()}
        with ordinary_user(): assert main(arguments(folder)) == 2
        assert re.search(r"error: \S+: Permission denied; what was saved before is whole", capsys.readouterr().err)
        assert all(p.read_bytes() == content for p, content in before.items()) and saved_steps(folder / "state") == [8]
        (folder / "state").chmod(0o700)
        train(tiny(), folder, quiet=True)
        assert not differences(folder, finished)

def test_kills_between_saving_and_tidying_leave_no_pile(tmp_path, monkeypatch):
    tidy, folder, calls = training._tidy, tmp_path / "run", []
    def struck(*args):
        calls.append(args)
        if len(calls) % 2 == 0 and len(saved_steps(folder / "state")) > 2: raise Killed
        tidy(*args)
    monkeypatch.setattr(training, "_tidy", struck)
    most = 0
    while not (folder / "manifest.json").exists():
        with contextlib.suppress(Killed): train(tiny(), folder, quiet=True)
        most = max(most, len(saved_steps(folder / "state")))
        calls.clear()
    assert most == 3

def test_what_a_killed_process_left_is_removed_by_the_next(unfinished, finished):
    write_bytes(unfinished / "state" / ".00000012.77.tmp" / "model.safetensors", b"half"); write_bytes(unfinished / ".history.json.77.tmp", b"ha")
    (unfinished / "progress.jsonl").write_text('{"step": 1}\n{"ste')
    train(tiny(), unfinished, quiet=True)
    assert not list(unfinished.rglob("*.tmp")) and not differences(unfinished, finished)
    assert [json.loads(line)["step"] for line in (unfinished / "progress.jsonl").read_text().splitlines()][0] == 1

# ---- damaged, swapped and foreign files ----

KINDS = ("model.safetensors", "optimizer.safetensors", "history.json", "manifest.json", "trace.parquet")

def folder_with(kind, finished, tmp_path):
    "A copy of a folder that holds a file of this kind."
    if kind.endswith("parquet"):
        write_bytes(tmp_path / "traces" / kind, (TESTS.parent / "data/laptop/traces/mano-early-s0" / kind).read_bytes()[:20_000])
        commit_manifest(tmp_path / "traces", [kind])
        return tmp_path / "traces"
    return Path(shutil.copytree(finished / "state" / "00000010", tmp_path / "00000010"))

@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_bit_and_every_truncation_is_found_and_named(kind, finished, tmp_path):
    import random
    folder, dice = folder_with(kind, finished, tmp_path), random.Random(kind)
    whole = (folder / kind).read_bytes()
    flipped = [whole[:i] + bytes([whole[i] ^ 1 << dice.randrange(8)]) + whole[i + 1 :] for i in (0, len(whole) - 1, *(dice.randrange(len(whole)) for _ in range(120)))]
    cut = [whole[:n] for n in (0, 1, 7, len(whole) // 2, len(whole) - 2, *(dice.randrange(len(whole) - 1) for _ in range(10)))]
    for content in flipped + cut + [whole + b"0"]:
        (folder / kind).write_bytes(content)
        with pytest.raises(ManifestError) as refused: verify_folder(folder)
        assert (kind in str(refused.value) or kind == "manifest.json") and str(folder) in str(refused.value) and ": " in str(refused.value) and "\n" not in str(refused.value)
    (folder / kind).write_bytes(whole)
    verify_folder(folder)

def reseal(folder, **changes):
    "Rewrite a manifest as someone would who knows how: right hashes, right seal."
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    manifest["files"] = changes.get("files") or {name: sha256(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "seal": _seal(manifest)}))

def swap(folder, a="model.safetensors", b="optimizer.safetensors"):
    x, y = (folder / a).read_bytes(), (folder / b).read_bytes()
    (folder / a).write_bytes(y); (folder / b).write_bytes(x)

TRICKS = {
    "an oversized header": (lambda f: (f / "optimizer.safetensors").write_bytes((2**60).to_bytes(8, "little") + b"{}"), "optimizer.safetensors is not a safetensors file"),
    "a header of 200 MB that is not there": (lambda f: (f / "model.safetensors").write_bytes((200_000_000).to_bytes(8, "little") + b"{}"), "model.safetensors is not a safetensors file"),
    "a pickle": (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94."), "model.safetensors is not a safetensors file"),
    "swapped files": (swap, "optimizer.safetensors does not fit its configuration|model.safetensors does not fit its configuration"),
    "a wrong shape": (lambda f: (f / "optimizer.safetensors").write_bytes(tensor_bytes({"0.0.step": torch.zeros(()), "0.0.exp_avg": torch.zeros(3), "0.0.exp_avg_sq": torch.zeros(3)})), r"'0.0.exp_avg' is float32 \(3,\), expected float32"),
    "a missing moment": (lambda f: (f / "optimizer.safetensors").write_bytes(tensor_bytes({"0.0.step": torch.zeros(())})), "'0.0.exp_avg' is nothing, expected float32"),
    "a parameter that is not there": (lambda f: (f / "optimizer.safetensors").write_bytes(tensor_bytes({"0.99.step": torch.zeros(())})), r"'0.99.step' is float32 \(\), expected nothing"),
    "a wrong type": (lambda f: (f / "model.safetensors").write_bytes(tensor_bytes({"embed.weight": torch.zeros(2, dtype=torch.int8)})), "model.safetensors does not fit its configuration"),
}

@pytest.mark.parametrize("trick", TRICKS)
def test_a_state_that_verifies_but_is_not_what_it_says_is_named_and_the_one_before_it_used(trick, unfinished, finished, capsys):
    newest = unfinished / "state" / "00000010"
    TRICKS[trick][0](newest); reseal(newest)
    train(tiny(), unfinished, quiet=True)
    said = capsys.readouterr().err
    assert re.search(f"skipping a saved state: .*00000010.*({TRICKS[trick][1]}).*\n", said) and said.endswith("continuing after step 8\n")
    assert not differences(unfinished, finished)

def test_a_renamed_state_is_not_taken_for_a_later_one(unfinished, finished, capsys):
    shutil.rmtree(unfinished / "state" / "00000010"); (unfinished / "state" / "00000008").rename(unfinished / "state" / "00000011")
    train(tiny(), unfinished, quiet=True)
    assert "00000011 holds the state of step 8: a folder was renamed" in capsys.readouterr().err and not differences(unfinished, finished)

def test_a_state_of_a_later_version_is_neither_used_nor_overwritten(unfinished, capsys):
    reseal(unfinished / "state" / "00000010", schema=SCHEMA + 1)
    before = {p: p.read_bytes() for p in unfinished.rglob("*.*") if p.is_file()}
    assert main(arguments(unfinished)) == 2
    assert re.fullmatch(rf"error: \S+/00000010/manifest.json has schema {SCHEMA + 1}, this version reads {SCHEMA}: update anira\n", capsys.readouterr().err)
    assert all(p.read_bytes() == content for p, content in before.items())
    with pytest.raises(NewerSchema): verify_folder(unfinished / "state" / "00000010")

def test_a_state_from_elsewhere_continues_and_says_what_that_means(unfinished, capsys):
    reseal(unfinished / "state" / "00000010", machine={"device": "cpu", "hardware": "abacus"})
    train(tiny(), unfinished, quiet=True)
    assert "the end will agree with an unbroken run statistically, not bit for bit\ncontinuing after step 10\n" in capsys.readouterr().err

def test_nothing_is_unpickled(run, unfinished, monkeypatch):
    import pickle
    def refuse(*args, **how): raise AssertionError("something was unpickled")
    for where, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")): monkeypatch.setattr(where, name, refuse)
    load(run)
    train(tiny(), unfinished, quiet=True)

# ---- time ----

def test_a_clock_that_runs_backwards_changes_nothing(unfinished, finished, monkeypatch):
    for i, path in enumerate(sorted(unfinished.rglob("*"))): os.utime(path, (10**9 - 10**6 * i,) * 2)
    now = [2e9]
    def backwards(): now[0] -= 3600; return now[0]
    monkeypatch.setattr(time, "time", backwards)
    begun, step = [], training.train_step
    monkeypatch.setattr(training, "train_step", lambda *args: (begun.append(args[-1]), step(*args))[1])
    train(tiny(), unfinished, quiet=True)
    assert begun == [11, 12] and not differences(unfinished, finished)
    lines = [json.loads(line) for line in (unfinished / "progress.jsonl").read_text().splitlines()]
    assert all(line["seconds_left"] >= 0 and line["steps_per_second"] > 0 for line in lines) and json.loads((unfinished / "history.json").read_text())["seconds"] > 0
