"""The process of `worker.Worker`: reads operations as lines of JSON, and answers in lines of JSON."""

import json
import os
import queue
import sys
import threading
import traceback
from typing import Any

from tinv.config.secrets import hide
from tinv.errors import UserError
from tinv.runs.parent_process import end_with_parent
from tinv.ui import worker_operations


def main() -> None:
    """Answers until the input ends."""
    end_with_parent()
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries that print do not disturb the answers

    def send(message: dict[str, Any]) -> None:
        output.write(json.dumps(message) + "\n")
        output.flush()

    messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
    is_canceled = threading.Event()
    threading.Thread(target=_read, args=[messages, is_canceled], daemon=True).start()
    while (message := messages.get()) is not None:
        is_canceled.clear()
        try:
            operation = worker_operations.OPERATIONS[message["operation"]]
            for part in operation(**message["arguments"]):
                send({"part": part})
                if is_canceled.is_set():
                    break
            send({"end": True})
        except UserError as error:
            send({"error": hide(str(error))})
        except Exception as error:  # a bug: the console has its traceback, the page its message
            print(hide(traceback.format_exc()), file=sys.stderr, flush=True)
            send({"error": hide(f"{type(error).__name__}: {error}")})


def _read(messages: "queue.Queue[dict[str, Any] | None]", is_canceled: threading.Event) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "cancel" in message:
            is_canceled.set()
        else:
            messages.put(message)
    messages.put(None)
    os._exit(0)  # the server has ended


if __name__ == "__main__":
    main()
