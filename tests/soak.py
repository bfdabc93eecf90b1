"""Kill a training again and again, and check that it never loses anything: `make soak`, or `python tests/soak.py --kills 500`.

One process imports once and forks the trainings, so that a kill costs a fraction of a second. Half of the kills come from outside at a random
moment, half strike at a random one of the system calls that make files durable; each seventh start is asked to stop with SIGTERM instead.
"""
import argparse, json, os, random, shutil, signal, sys, tempfile, time, traceback
from pathlib import Path

import torch
import torch._dynamo  # the first step of an optimizer imports it: here once, not in every child

from anira.files import FolderInUse, only_one, verify_folder
from anira.profiles import run_config
from anira.training import Stopped, saved_steps, train

DONE, FAILED, STOPPED, IN_USE = 0, 1, 10, 11


def tiny(variant="online", **changes):
    "A run of twelve steps that saves five times and evaluates three times."
    settings = dict(steps=12, batch_size=3, eval_every=5, eval_instances=1, save_every=2, optimizer="muon", device="cpu",
                    model=dict(width=8, n_heads=1, max_depth=2), task_options=dict(max_size=2, held_out=(), beyond=(3,)))
    return run_config("mano", variant, "smoke", **{**settings, **changes})


def fork(work, log) -> int:
    "Run `work` in a child whose exit code says how it ended; returns its process id."
    if pid := os.fork(): return pid
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
    try: work(); code = DONE
    except Stopped: code = STOPPED
    except FolderInUse: code = IN_USE
    except BaseException: traceback.print_exc(); code = FAILED
    os._exit(code)


def count_durable_calls(act=lambda n: None):
    "Call `act` with 1, 2, … before every flush and rename of this process."
    calls = [0]
    def counted(call):
        def run(*args):
            calls[0] += 1
            act(calls[0])
            return call(*args)
        return run
    os.fsync, os.replace = counted(os.fsync), counted(os.replace)
    return calls


def contents(run) -> dict:
    "Everything that finished runs must agree on: weights, best, losses, evaluations, and the optimizer where both saved it."
    files = {p: p.read_bytes() for p in (run / "model.safetensors", run / "best/model.safetensors", *run.glob("state/*/*.safetensors"))}
    return {str(p.relative_to(run)): content for p, content in files.items()} | {"history": {**json.loads((run / "history.json").read_text()), "seconds": 0}}


def differences(run, reference) -> list[str]:
    "What two finished runs disagree on; a run that was asked to stop has saved some other steps too."
    a, b = contents(run), contents(reference)
    return [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name) and not (name.startswith("state/") and (name not in a or name not in b))]


def wait_for_lock(run, seconds=30):
    "A process that dies while it starts another leaves the lock with that one until it has begun: not for long."
    for left in reversed(range(10 * seconds)):
        try:
            with only_one(run): return
        except FolderInUse:
            if not left: raise
            time.sleep(.1)


def check(run, newest) -> int:
    "After a kill: what has a name is whole, nothing saved is lost, the lock is free. Returns the newest saved step."
    for manifest in run.rglob("manifest.json"):
        if not any(part.endswith(".tmp") for part in manifest.parts): verify_folder(manifest.parent)
    wait_for_lock(run)
    steps = saved_steps(run / "state")
    assert len(steps) <= 3 and max(steps, default=0) >= newest, f"step {newest} was saved, found {steps}"
    return max(steps, default=0)


class Soak:
    "Trains the reference, then kills and checks."
    def __init__(self, folder: Path, seed: int):
        self.folder, self.random, self.log = folder, random.Random(seed), folder / "log"
        self.config, self.counts = tiny(), dict(timed=0, aimed=0, stopped=0, finished=0)
        begun, calls = time.monotonic(), folder / "calls"
        def reference():
            counted = count_durable_calls()
            train(self.config, folder / "reference", quiet=True)
            calls.write_text(str(counted[0]))
        assert os.waitstatus_to_exitcode(os.waitpid(fork(reference, self.log), 0)[1]) == DONE, self.log.read_text()
        self.span, self.calls = time.monotonic() - begun, int(calls.read_text())

    def start(self, run, kind) -> int:
        "One start that is ended in the given way, or finishes before; returns its exit code."
        moment, call = self.random.uniform(0, self.span / 2), self.random.randint(1, self.calls // 3)
        def work():
            if kind == "aimed": count_durable_calls(lambda n: os.kill(os.getpid(), signal.SIGKILL) if n == call else None)
            train(self.config, run, quiet=True)
        pid = fork(work, self.log)
        if kind != "aimed":
            time.sleep(moment)
            os.kill(pid, signal.SIGKILL if kind == "timed" else signal.SIGTERM)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def round(self, run, newest) -> int:
        "Start, end, check; returns the newest saved step, 0 after a finished run."
        kind = "stopped" if sum(self.counts.values()) % 7 == 6 else self.random.choice(("timed", "aimed"))
        code = self.start(run, kind)
        if code in (-signal.SIGKILL, -signal.SIGTERM): self.counts[kind] += 1  # SIGTERM ends a process that has not begun to train
        elif code == STOPPED: self.counts["stopped"] += 1
        else: assert code == DONE, f"exit code {code}: {self.log.read_text()}"
        newest = check(run, newest)
        return newest if not (run / "manifest.json").exists() else self.finish(run)

    def finish(self, run) -> int:
        "Let a run end, and compare it with the reference."
        assert os.waitstatus_to_exitcode(os.waitpid(fork(lambda: train(self.config, run, quiet=True), self.log), 0)[1]) == DONE, self.log.read_text()
        assert not (found := differences(run, self.folder / "reference")), f"not bit for bit: {found}"
        shutil.rmtree(run)
        self.counts["finished"] += 1
        return 0

    def rivals(self):
        "Two starts at once on one folder: one trains, the other is told."
        pids = [fork(lambda: train(self.config, self.folder / "rivals", quiet=True), self.log) for _ in range(2)]
        assert sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids) == [DONE, IN_USE], self.log.read_text()
        assert not differences(self.folder / "rivals", self.folder / "reference")

    def run(self, kills: int) -> dict:
        "Until so many kills have struck."
        self.rivals()
        run, newest = self.folder / "run", 0
        while self.counts["timed"] + self.counts["aimed"] < kills: newest = self.round(run, newest)
        self.finish(run)
        return self.counts


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill a training at random, and check that it never loses anything.")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; default: another each time")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seed, begun = int(time.time()) if args.seed is None else args.seed, time.monotonic()
    with tempfile.TemporaryDirectory() as folder: counts = Soak(Path(folder), seed).run(args.kills)
    print(f"{counts['timed']} kills at random moments, {counts['aimed']} while files were being made durable, {counts['stopped']} requests to stop; "
          f"{counts['finished']} runs ended bit for bit like the one left alone (seed {seed}, {time.monotonic() - begun:.0f} s)")
    return 0


if __name__ == "__main__": sys.exit(main())
