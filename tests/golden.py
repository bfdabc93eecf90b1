"Fingerprints of batches, which no process and no machine may change."
import hashlib, subprocess, sys
from pathlib import Path

from anira.tasks import make_task

TESTS = Path(__file__).resolve().parent

def fingerprint(name, options=(), size=7):
    "Hash of three batches of a task, the last of one exact size."
    task, h = make_task(name, **dict(options)), hashlib.sha256()
    for seed, step, exact in ((0, 1, None), (3, 250000, None), (2**31, 7, size)):
        batch = task.batch(16, seed, step, exact)
        for a in (batch.tokens, batch.sizes): h.update(repr((a.shape, a.tolist())).encode())
    return h.hexdigest()[:16]

def fresh_fingerprints(cases):
    "The same, from a process of its own."
    code = f"import random, golden; random.seed(); print(*[golden.fingerprint(*case) for case in {cases!r}])"
    environment = f"import sys; sys.path[:0] = {[str(TESTS), str(TESTS.parent)]!r}; "
    return subprocess.run([sys.executable, "-c", environment + code], capture_output=True, text=True, check=True).stdout.split()
