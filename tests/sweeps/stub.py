"""train.py with a run whose seed selects what it does; a test starts it as a process, and the sweep for each point."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from tinv.errors import UserError


def train(cfg):
    """Succeeds for 0 and 1; 2 fails, 3 is killed, 4 crashes, 9 waits until it is terminated."""
    started = time.time()
    run = Path(cfg.paths.output_dir)
    if cfg.seed == 2:
        raise UserError("seed 2 is unlucky")
    if cfg.seed in (3, 4):
        os.kill(os.getpid(), signal.SIGKILL if cfg.seed == 3 else signal.SIGSEGV)
    if cfg.seed == 9:
        (run / "waiting").touch()
        time.sleep(120)
    time.sleep(0.5)
    env = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
    (run / "seen.json").write_text(json.dumps({"started": started, "ended": time.time(), **env}))
    return cfg.seed / 10


if __name__ == "__main__":
    sys.modules["tinv.training.run"] = SimpleNamespace(train=train)
    from tinv.training.main import main

    main()
