"A sweep on a real SLURM: one node, started here, stopped again. `make test-slurm` runs it; the default suite does not."
import importlib.util, os, re, shutil, signal, socket, subprocess, sys, time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slurm
CONFIGURATION = Path("/etc/slurm")  # the executor strips SLURM_CONF inside jobs, so that only the default place works
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")

def why_not():
    "What this machine lacks for the test, or nothing."
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing: return f"{', '.join(missing)} not installed (Debian: apt-get install slurm-wlm munge)"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None: return "the extra is not installed: pip install -e '.[slurm]'"
    if os.geteuid() != 0: return "SLURM's daemons are started as root"
    if (CONFIGURATION / "slurm.conf").exists(): return f"{CONFIGURATION}/slurm.conf exists: this machine has a SLURM of its own"

def wait_for(condition, what, seconds=300):
    "Poll until `condition()` is true; its value."
    for _ in range(5 * seconds):
        if value := condition(): return value
        time.sleep(0.2)
    pytest.fail(f"no {what} within {seconds} s")

def said(*command): return subprocess.run(command, capture_output=True, text=True).stdout


@pytest.fixture
def cluster(tmp_path):
    "One node that takes two jobs at a time."
    if reason := why_not(): pytest.skip(reason)
    folder, host = tmp_path / "slurm", socket.gethostname().split(".")[0]
    for name in ("state", "spool"): (folder / name).mkdir(parents=True)
    key, sock = folder / "key", folder / "munge.sock"
    key.write_bytes(os.urandom(1024)); key.chmod(0o400)
    CONFIGURATION.mkdir(exist_ok=True)
    (CONFIGURATION / "slurm.conf").write_text("\n".join([
        "ClusterName=test", f"SlurmctldHost={host}(127.0.0.1)", "SlurmUser=root", f"AuthInfo=socket={sock}", f"StateSaveLocation={folder}/state", f"SlurmdSpoolDir={folder}/spool",
        f"SlurmctldPidFile={folder}/slurmctld.pid", f"SlurmdPidFile={folder}/slurmd.pid", f"SlurmctldLogFile={folder}/slurmctld.log", f"SlurmdLogFile={folder}/slurmd.log",
        "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core_Memory", "ReturnToService=2", "MpiDefault=none",
        f"NodeName={host} NodeAddr=127.0.0.1 CPUs={min(2, os.cpu_count())} RealMemory=4000", f"PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE", ""]))
    started = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in
               (["munged", "--foreground", "--force", "--socket", str(sock), "--key-file", str(key), "--pid-file", str(folder / "munged.pid"), "--log-file", str(folder / "munged.log"), "--seed-file", str(folder / "seed")],)]
    try:
        wait_for(sock.exists, "munge socket", 30)
        started += [subprocess.Popen([*command, "-D"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in (["slurmctld", "-c"], ["slurmd"])]
        wait_for(lambda: "idle" in said("sinfo", "-h", "-o", "%T"), "idle node", 60)
        yield
    finally:
        for job in said("squeue", "-h", "-o", "%i").split(): subprocess.run(["scancel", job])
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            try: process.wait(20)
            except subprocess.TimeoutExpired: process.kill()
        (CONFIGURATION / "slurm.conf").unlink()


def test_a_killed_job_is_all_that_the_next_sweep_trains(cluster, copy_of_tree):
    profile = copy_of_tree / "workflow" / "profiles" / "default" / "config.yaml"
    profile.write_text(re.sub(r"retries: \d+", "retries: 0", profile.read_text()))  # otherwise the killed job is submitted again at once
    made = copy_of_tree / "runs" / "smoke"
    sweep = [sys.executable, "workflow/launch.py", "sweep", "PROFILE=smoke", "TASKS=mano,brevo", "SLURM=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(copy_of_tree / "first.log", "w") as log:
        first = subprocess.Popen(sweep, cwd=copy_of_tree, stdout=log, stderr=log, env=environment)
        running = lambda: re.search(r"^(\d+) R .*mano-online-s0", said("squeue", "-h", "-o", "%i %t %k"), re.M)
        began = time.monotonic()
        subprocess.run(["scancel", wait_for(running, "running training of mano-online-s0")[1]])
        assert first.wait(600) == 1, (copy_of_tree / "first.log").read_text()[-3000:]
    manifests = lambda kind: {p.parent.name: p.stat().st_mtime_ns for p in made.glob(f"{kind}/*/manifest.json")}
    done = {kind: manifests(kind) for kind in ("checkpoints", "traces")}
    assert set(done["checkpoints"]) == set(done["traces"]) == {"mano-early-s0", "brevo-early-s0", "brevo-online-s0"}
    between = time.monotonic()
    again = subprocess.run(sweep, cwd=copy_of_tree, capture_output=True, text=True, env=environment, timeout=600)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "sweep: 4/4 runs finished, 100% trained, training done" in again.stderr
    assert re.findall(r"^(train|trace) +(\d+)$", again.stderr, re.M)[:2] == [("train", "1"), ("trace", "1")] or re.search(r"^trace +1\ntrain +1$", again.stderr, re.M)
    for kind, before in done.items(): assert before.items() < manifests(kind).items() and "mano-online-s0" in manifests(kind)
    assert all((made / "benchmarks" / "train" / f"{run}.tsv").read_text().startswith("s\t") for run in manifests("checkpoints"))
    print(f"\nfirst sweep, one job killed: {between - began:.0f} s; second, two jobs: {time.monotonic() - between:.0f} s")
