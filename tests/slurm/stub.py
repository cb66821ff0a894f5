"""train.py with a run whose seed selects what it does, and that records which code it ran; it needs no torch."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

CONSTANT = "submitted"


def train(cfg):
    """Succeeds for 0 and 1; 2 fails, 3 is killed, 4 exits without a status, 9 waits for a file."""
    from tinv.errors import UserError

    run = Path(cfg.paths.output_dir)
    if cfg.seed == 2:
        raise UserError("seed 2 is unlucky")
    if cfg.seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.seed == 4:
        os._exit(0)
    while cfg.seed == 9 and not (run.parent / "go").exists():
        time.sleep(0.1)
    contents = {"constant": CONSTANT, "tags": list(cfg.tags), "file": __file__, "argv": sys.argv}
    (run / "seen.json").write_text(json.dumps(contents))
    return cfg.seed / 10


if __name__ == "__main__":
    sys.modules["tinv.training.run"] = SimpleNamespace(train=train)
    from tinv.training.main import main

    main()
