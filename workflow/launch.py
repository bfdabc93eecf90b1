"Check what was asked for, run the workflow under a lock, and print what came of it."
import sys

if sys.version_info < (3, 11): sys.exit(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}: put a newer one first on PATH, or name it with make PYTHON=...")

import fcntl, os, re, subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from anira.config import CommandLine, choose, coerce, refuse, show  # standard library only: this runs before anything is installed

COMMANDS = ("reproduce", "sweep")
SOURCES = ("traces", "checkpoints", "training", "sweep")
PROFILES = ("smoke", "laptop", "gpu", "paper")
VARIABLES = dict(FROM="traces", PROFILE="laptop", SEEDS="0", TASKS="", VARIANTS="", CORES="2", GPUS="", SLURM="0", DRY="0")
MOST_SEEDS, MOST_SLOTS, SECONDS_BETWEEN_LINES = 10_000, 1024, 10


# What was asked for

def seeds(text):
    "Whole numbers and ranges, like 0,1,2 or 0-9, in order and once each."
    found = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,10})(?:-([0-9]{1,10}))?\s*", part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high or high >= 2**31: raise ValueError(f"SEEDS = {show(text)} is not valid: expected whole numbers from 0 to {2**31 - 1} or rising ranges of them, like 0,1,2 or 0-9")
        if high - low + len(found) >= MOST_SEEDS: raise ValueError(f"SEEDS = {show(text)} is not valid: expected at most {MOST_SEEDS} seeds")
        found |= dict.fromkeys(range(low, high + 1))
    return list(found)

def whole(name, text, low):
    "A whole number from `low` to the most slots that make sense."
    number = coerce(name, text, int)
    if not low <= number <= MOST_SLOTS: raise ValueError(f"{name} = {show(text)} is not valid: expected a whole number from {low} to {MOST_SLOTS}")
    return number

def words(name, text):
    "Names separated by commas."
    found = [part.strip() for part in text.split(",") if part.strip()]
    for word in found:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", word): raise ValueError(f"{name} = {show(text)} is not valid: expected names separated by commas")
    return found

def check_variables(makeflags):
    "Refuse variables on make's command line that no target reads."
    _, _, assigned = f" {makeflags}".partition(" -- ")
    for name in re.findall(r"(?<![^\s])((?:\\.|[^\s=:+?!\\])+)[:+?!]*=", re.sub(r"\\.", "_", assigned)): choose(name, [*VARIABLES, "PYTHON"], "make variable")

def parse(argv, makeflags=""):
    "The request, or a ValueError in one sentence."
    parser = CommandLine(prog="launch.py", description=__doc__)
    parser.add_argument("command", help=" or ".join(COMMANDS))
    for name, default in VARIABLES.items(): parser.add_argument(f"--{name.lower()}", default=default)
    parser.add_argument("--check", action="store_true", help="only check the request")
    args = parser.parse_args(argv)
    check_variables(makeflags)
    choose(args.command, COMMANDS, "command"); choose(args.from_ if hasattr(args, "from_") else getattr(args, "from"), SOURCES, "FROM"); choose(args.profile, PROFILES, "PROFILE")
    args.source = "sweep" if args.command == "sweep" else getattr(args, "from")
    args.seeds, args.tasks, args.variants = seeds(args.seeds), words("TASKS", args.tasks), words("VARIANTS", args.variants)
    args.cores, args.gpus = whole("CORES", args.cores, 1), whole("GPUS", args.gpus, 0) if args.gpus else None
    args.slurm, args.dry = coerce("SLURM", args.slurm, bool), coerce("DRY", args.dry, bool)
    check_together(args)
    return args
