"Check what was asked for, run the workflow under a lock, and print what came of it."
import sys

if sys.version_info < (3, 11): sys.exit(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}: put a newer one first on PATH, or name it with make PYTHON=...")

import fcntl, importlib.util, os, re, subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from anira.config import CommandLine, choose, coerce, refuse, show  # standard library only: this runs before anything is installed

SOURCES = ("traces", "checkpoints", "training", "sweep")
PROFILES = ("smoke", "laptop", "gpu", "paper", "laptop-erdos-renyi", "laptop-own-rates", "laptop-other-rules", "laptop-uniform-prior", "laptop-depth-1", "laptop-depth-2", "laptop-depth-4")
VARIABLES = dict(FROM="traces", PROFILE="laptop", SEEDS="", TASKS="", VARIANTS="", CORES="", GPUS="", SLURM="", DRY="")
READ_BY = dict(reproduce=list(VARIABLES), sweep=[name for name in VARIABLES if name != "FROM"], search=["PROFILE"])
MOST_SEEDS, MOST_SLOTS, SECONDS_BETWEEN_LINES = 10_000, 1024, 10


# What was asked for

def seeds(text):
    "Whole numbers and ranges, like 0,1,2 or 0-9, in order and once each."
    found = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,10})(?:-([0-9]{1,10}))?\s*", part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high or high >= 2**31: raise ValueError(f"SEEDS = {show(text)} is not valid: expected whole numbers from 0 to {2**31 - 1} or rising ranges, like 0,1,2 or 0-9")
        if high - low + len(found) >= MOST_SEEDS: raise ValueError(f"SEEDS = {show(text)} is not valid: expected at most {MOST_SEEDS} seeds")
        found |= dict.fromkeys(range(low, high + 1))
    return list(found)

def whole(name, text, low):
    "A whole number from `low` to the most that makes sense."
    number = coerce(name, text, int)
    if not low <= number <= MOST_SLOTS: raise ValueError(f"{name} = {show(text)} is not valid: expected a whole number from {low} to {MOST_SLOTS}")
    return number

def words(name, text):
    "Names separated by commas."
    found = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[a-z][a-z0-9_]{0,30}", word) for word in found): raise ValueError(f"{name} = {show(text)} is not valid: expected names separated by commas")
    return found

def check_variables(makeflags, known):
    "Refuse variables on make's command line that this target does not read."
    assigned = re.sub(r"\\.", "_", f" {makeflags}".partition(" -- ")[2])
    for word in assigned.split(): choose(re.split(r"[:+?!]*=", word)[0], known, "make variable")

def parse(argv, makeflags=""):
    "The request, or a ValueError in one sentence."
    parser = CommandLine(prog="launch.py", description=__doc__)
    parser.add_argument("command", help="reproduce or sweep; search is only checked")
    parser.add_argument("assignments", nargs="*", metavar="NAME=VALUE", help=f"of {', '.join(VARIABLES)}; an empty value is the default")
    parser.add_argument("--check", action="store_true", help="only check the request")
    args = parser.parse_args(argv)
    known, values = READ_BY[choose(args.command, READ_BY, "command")], dict(VARIABLES)
    check_variables(makeflags, [*known, "PYTHON"])
    for name, _, value in (pair.partition("=") for pair in args.assignments):
        if choose(name, known, "make variable") and value: values[name] = value
    for name, value in values.items(): setattr(args, "source" if name == "FROM" else name.lower(), value)
    if args.command == "sweep": args.source = "sweep"
    choose(args.source, SOURCES, "FROM"); choose(args.profile, PROFILES, "PROFILE")
    if args.command == "search" and not args.check: raise ValueError("search is run by `python -m anira.tuning`: use --check here")
    trains = args.source in ("training", "sweep")
    for name in ("SEEDS", "TASKS", "VARIANTS", "GPUS"):
        if getattr(args, name.lower()) and not trains: raise ValueError(f"{name} says what to train, and FROM={args.source} trains nothing: leave it out, or use FROM=training")
    args.seeds = seeds(args.seeds or "0")
    args.tasks, args.variants = (words(name, text) if text else [] for name, text in (("TASKS", args.tasks), ("VARIANTS", args.variants)))
    args.slurm, args.dry = coerce("SLURM", args.slurm or "0", bool), coerce("DRY", args.dry or "0", bool)
    if args.slurm and (args.cores or args.gpus): raise ValueError("CORES and GPUS count what this machine has, and with SLURM=1 the cluster counts its own: leave them out")
    args.cores, args.gpus = whole("CORES", args.cores or "2", 1), whole("GPUS", args.gpus, 1) if args.gpus else 0
    if not trains and not any((ROOT / "data" / args.profile / args.source).glob("*/manifest.json")):
        raise ValueError(f"no {args.source} are shipped for the {args.profile} profile: use FROM=training PROFILE={args.profile}")
    return args


# What is done about it

def figures_of(args):
    "Where figures go: the committed ones are those of the laptop profile from the shipped traces."
    return "figures" if (args.profile, args.source) == ("laptop", "traces") else f"runs/{args.profile}/figures"

def command(args):
    "The call of Snakemake, and how many trainings run at a time."
    from anira.sweeps import needs_gpu
    gpu = args.source in ("training", "sweep") and (args.gpus > 0 or needs_gpu(args.profile))
    devices = (args.gpus or 1) if gpu and not args.slurm else 0
    values = dict(profile=args.profile, source=args.source, figures=figures_of(args), seeds=args.seeds, tasks=args.tasks, variants=args.variants, gpu=int(gpu), devices=devices)
    call = [sys.executable, "-m", "snakemake", *(["runs"] if args.command == "sweep" else []), "--cores", str(args.cores)]
    if args.command == "reproduce": call += ["--forcerun", "draw", "draw_first"]
    if args.slurm: call += ["--profile", "workflow/profiles/slurm"]
    if devices: call += ["--resources", f"gpu={devices}"]
    if args.dry: call += ["--dry-run"]
    return [*call, "--config", *(f"{name}={value}".replace(" ", "") for name, value in values.items())], devices or args.cores

def work(args, call, runs, environment):
    "Snakemake under a lock, with a line about the whole now and then; its exit code."
    from anira.sweeps import SweepProgress
    with open(ROOT / "runs" / "lock", "w") as lock:
        try: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError: raise ValueError("another make reproduce or make sweep is running in this folder: wait for it to end") from None
        watch, last = SweepProgress(args.profile, runs, ROOT), ""
        process = subprocess.Popen(call, cwd=ROOT, env=environment, pass_fds=(lock.fileno(),))
        while True:
            try: code = process.wait(SECONDS_BETWEEN_LINES)
            except subprocess.TimeoutExpired: code = None
            line = watch() if runs else ""
            if line != last: print(line, file=sys.stderr, flush=True)
            last = line
            if code is not None: return code

def run(args) -> int:
    "The plan alone for DRY=1; else the workflow, then the ledger if it was drawn."
    from anira.sweeps import plan, select
    if args.slurm and not importlib.util.find_spec("snakemake_executor_plugin_slurm"): raise ValueError("SLURM=1 needs the executor plugin: install it with .venv/bin/pip install 'snakemake-executor-plugin-slurm>=2.8,<3'")
    runs = select(args.profile, args.seeds, args.tasks, args.variants) if args.source in ("training", "sweep") else []
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    call, slots = command(args)
    (ROOT / "runs").mkdir(exist_ok=True)
    if args.dry:
        code = subprocess.run(call, cwd=ROOT, env=environment).returncode
        if runs: print(plan(args.profile, runs, ROOT, slots))
        return min(code, 1)
    if work(args, call, runs, environment): return 1
    if args.command == "sweep": return 0
    print((ROOT / figures_of(args) / "claims.txt").read_text(encoding="utf-8"), end="")
    return 0

def main(argv, makeflags="") -> int:
    "Exit code: 0, or 1 if something failed, or 2 for a mistake in the request."
    try:
        args = parse(argv, makeflags)
        return 0 if args.check else run(args)
    except (ValueError, OSError) as error: return refuse(error)

if __name__ == "__main__": sys.exit(main(sys.argv[1:], os.environ.get("MAKEFLAGS", "")))
