# From training to claims. `make reproduce` calls this; by hand: snakemake -n --config profile=smoke source=training
#
# What is shipped lies in data/, where no rule writes; what is made lies in runs/. The source says where to begin:
#   traces       draw from the shipped traces
#   checkpoints  trace the shipped checkpoints anew, on fresh instances, then draw
#   training     train every run of the grid, trace it, then draw
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

P = config.get("profile", "laptop")
SOURCE = config.get("source", "traces")
SEEDS = config.get("seeds", [0])
MADE, SHIPPED = f"runs/{P}", f"data/{P}"

if SOURCE == "training":
    RUNS = [f"{task}-{variant}-s{seed}" for task in ("mano", "brevo") for variant in ("early", "online") for seed in SEEDS]
else:
    RUNS = sorted(p.parent.name for p in Path(SHIPPED, SOURCE).glob("*/manifest.json"))

CHECKPOINTS = f"{SHIPPED}/checkpoints" if SOURCE == "checkpoints" else f"{MADE}/checkpoints"
TRACES = {"traces": f"{SHIPPED}/traces", "checkpoints": f"{MADE}/fresh", "training": f"{MADE}/traces"}[SOURCE]
FIGURES = "figures" if (P, SOURCE) == ("laptop", "traces") else f"{MADE}/figures"
EXPERIMENTS = sorted(p.stem for p in Path("nbs/experiments").glob("*.ipynb"))
DRAWN = [name for name in EXPERIMENTS if name != "claims"]


localrules: all


wildcard_constraints:
    run="[a-z]+-[a-z]+-s[0-9]+",


rule all:
    input:
        expand(f"{MADE}/notebooks/{{name}}.ipynb", name=EXPERIMENTS),


# State to resume from lies beside the declared output, so that a second attempt continues the first.
# ancient(): an edit of the library does not silently retrain; other parameters do.
rule train:
    input:
        ancient("anira/training.py"),
    output:
        f"{MADE}/checkpoints/{{run}}/manifest.json",
    params:
        task=lambda w: w.run.split("-")[0],
        variant=lambda w: w.run.split("-")[1],
        seed=lambda w: w.run.split("-s")[-1],
        profile=P,
    log:
        f"{MADE}/logs/train/{{run}}.log",
    shell:
        "python -m anira.training --task {params.task} --variant {params.variant} --profile {params.profile}"
        " --seed {params.seed} --out $(dirname {output}) > {log} 2>&1"


if SOURCE != "traces":

    rule trace:
        input:
            ancient("anira/tracing.py"),
            checkpoint=f"{CHECKPOINTS}/{{run}}/manifest.json",
        output:
            f"{TRACES}/{{run}}/manifest.json",
        params:
            fresh="--fresh" if SOURCE == "checkpoints" else "",
        log:
            f"{MADE}/logs/trace-{SOURCE}/{{run}}.log",
        shell:
            "python -m anira.tracing --checkpoint $(dirname {input.checkpoint}) --out $(dirname {output}) {params.fresh} > {log} 2>&1"


DRAW = (
    "python -m anira.reproduce notebook {input.notebook} {output} --log {log.notebook}"
    f" -p profile {P} -p traces {TRACES} -p figures {FIGURES} 2> {{log.text}}"
)


rule draw:
    wildcard_constraints:
        name="(?!claims$).+",
    input:
        expand(f"{TRACES}/{{run}}/manifest.json", run=RUNS),
        notebook="nbs/experiments/{name}.ipynb",
    output:
        f"{MADE}/notebooks/{{name}}.ipynb",
    log:
        notebook=f"{MADE}/logs/notebooks/{{name}}.ipynb",
        text=f"{MADE}/logs/notebooks/{{name}}.log",
    shell:
        DRAW


rule claims:
    input:
        expand(f"{TRACES}/{{run}}/manifest.json", run=RUNS),
        expand(f"{MADE}/notebooks/{{name}}.ipynb", name=DRAWN),
        notebook="nbs/experiments/claims.ipynb",
    output:
        f"{MADE}/notebooks/claims.ipynb",
    log:
        notebook=f"{MADE}/logs/notebooks/claims.ipynb",
        text=f"{MADE}/logs/notebooks/claims.log",
    shell:
        DRAW
