"Run a command on a free GPU of this machine: python workflow/on_gpu.py 4 python -m anira.training …"
import fcntl, os, sys, time
from pathlib import Path

LOCKS = Path(__file__).resolve().parent.parent / "runs" / "gpus"

def claim(devices: list, pause: float = 1.0):
    "Wait for a device nobody holds: its name, and the open file whose lock is the claim."
    LOCKS.mkdir(parents=True, exist_ok=True)
    while True:
        for device in devices:
            lock = open(LOCKS / device, "w")
            try: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError: lock.close()
            else: return device, lock
        time.sleep(pause)

if __name__ == "__main__":
    if len(sys.argv) < 3 or not sys.argv[1].isdigit() or int(sys.argv[1]) < 1: sys.exit("error: expected the number of GPUs, at least 1, and a command")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    devices = (visible.split(",") if visible else [str(i) for i in range(int(sys.argv[1]))])[:int(sys.argv[1])]
    device, lock = claim(devices)
    os.set_inheritable(lock.fileno(), True)  # the claim lives as long as the command does
    os.environ["CUDA_VISIBLE_DEVICES"] = device
    os.execvp(sys.argv[2], sys.argv[2:])
