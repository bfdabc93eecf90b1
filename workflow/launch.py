"Check what was asked for, run the workflow under a lock, and print the claims."
import sys

if sys.version_info < (3, 11): sys.exit(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}: put a newer one first on PATH, or name it with make PYTHON=...")

import argparse, fcntl, os, subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from anira.config import choose, coerce  # standard library only: this runs before anything is installed

SOURCES = ("traces", "checkpoints", "training")
PROFILES = ("smoke", "laptop", "gpu", "paper")

def parse(argv):
    "The request, or a ValueError in one sentence."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="traces"); parser.add_argument("--profile", default="laptop")
    parser.add_argument("--seeds", default="0"); parser.add_argument("--cores", default="2")
    parser.add_argument("--check", action="store_true", help="only check the request")
    args = parser.parse_args(argv)
    choose(args.source, SOURCES, "FROM"); choose(args.profile, PROFILES, "PROFILE")
    args.seeds, args.cores = coerce("SEEDS", args.seeds, tuple[int, ...]), coerce("CORES", args.cores, int)
    if not args.seeds or min(args.seeds) < 0: raise ValueError("SEEDS must be whole numbers from 0 up, like SEEDS=0,1,2")
    if args.cores < 1: raise ValueError("CORES must be at least 1")
    shipped = ROOT / "data" / args.profile / args.source
    if args.source != "training" and not any(shipped.glob("*/manifest.json")):
        raise ValueError(f"no {args.source} are shipped for the {args.profile} profile: use FROM=training PROFILE={args.profile}")
    return args

def traces_folder(args) -> str:
    "Where the figures of this request read their traces."
    return {"traces": f"data/{args.profile}/traces", "checkpoints": f"runs/{args.profile}/fresh", "training": f"runs/{args.profile}/traces"}[args.source]

def run(args) -> int:
    "Snakemake under a lock, then the claims table."
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    (ROOT / "runs").mkdir(exist_ok=True)
    with open(ROOT / "runs" / "lock", "w") as lock:
        try: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError: raise ValueError("another make reproduce is running in this folder: wait for it to end") from None
        workflow = ["snakemake", "--cores", str(args.cores), "--forcerun", "draw", "claims", "--config",
                    f"profile={args.profile}", f"source={args.source}", f"seeds={list(args.seeds)}"]
        code = subprocess.run(workflow, cwd=ROOT, env=environment, pass_fds=(lock.fileno(),)).returncode
    if code: return 1
    return subprocess.run([sys.executable, "-m", "anira.claims", "--traces", traces_folder(args)], cwd=ROOT, env=environment).returncode

if __name__ == "__main__":
    try:
        args = parse(sys.argv[1:])
        sys.exit(0 if args.check else run(args))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
