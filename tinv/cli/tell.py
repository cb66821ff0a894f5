"""`tinv tell`: ask a run that trains to sample, save, export, go on for longer, or stop."""

import argparse
from pathlib import Path
from typing import Any

from tinv.cli.generate import seeds
from tinv.errors import UserError
from tinv.formats import FORMATS
from tinv.runs.requests import DONE, Request
from tinv.runs.send_request import TIMEOUT_S, send_request, wait_for_answer


def add(commands: Any) -> None:
    """Adds the parser of the command."""
    command = commands.add_parser(
        "tell",
        help="ask a run that trains to sample, save, export, go on for longer, or stop",
        description="Ask a run that trains to do something between two steps. It works for every run whose folder "
        "this machine can write, whether a shell, a sweep or Slurm has started it. A run that draws, saves or exports "
        "learns exactly what it would have learned without.",
        epilog='example: tinv tell outputs/cat_toy/2026-11-22_18-00-00 sample --prompt "a {} on the beach" --seed 3',
    )
    command.set_defaults(command=run)
    command.add_argument("run", type=Path, metavar="RUN", help="the folder of a run, or of a point of a sweep")
    command.add_argument(
        "action",
        metavar="ACTION",
        help="sample: draw images; checkpoint: save now; export: write the present embedding; extend=N: N more steps; "
        "stop: end now and keep the result",
    )
    command.add_argument(
        "--prompt", dest="prompts", action="append", default=[], help="of sample; {} is the token; repeatable"
    )
    command.add_argument("--seed", dest="seeds", type=seeds, default=[], help="of sample: 3, 0-3 or 1,5,7")
    command.add_argument("--num-inference-steps", type=int, help="of sample: sampler steps")
    command.add_argument("--guidance-scale", type=float, help="of sample")
    command.add_argument("--negative-prompt", help="of sample")
    command.add_argument("--to", dest="format", choices=FORMATS, help="of export: the format (default: diffusers)")
    command.add_argument("--discard", action="store_true", help="of stop: remove the checkpoints and the result")
    command.add_argument(
        "--timeout", type=float, default=TIMEOUT_S, metavar="SECONDS", help="how long to wait (default: %(default)g)"
    )
    command.add_argument("--no-wait", action="store_true", help="send the request and do not wait for the answer")


def run(arguments: argparse.Namespace) -> None:
    """Sends the request and prints the answer."""
    action, equals, steps = arguments.action.partition("=")
    if (equals or action == "extend") and not (action == "extend" and steps.isdecimal() and steps.isascii()):
        raise UserError(f"{arguments.action[:60]}: write a number of steps, as in extend=200.")
    if arguments.timeout <= 0:
        raise UserError(f"--timeout={arguments.timeout:g}: must be above 0.")
    names = ("prompts", "seeds", "num_inference_steps", "guidance_scale", "negative_prompt", "format", "discard")
    options = {name: getattr(arguments, name) for name in names}
    id = send_request(arguments.run, Request(action, **options, steps=int(steps) if steps else None))
    if arguments.no_wait:
        print(f"sent; the answer will be in {arguments.run / 'requests' / 'answered'}")
        return
    answer = wait_for_answer(arguments.run, id, arguments.timeout)
    if answer.state != DONE:
        raise UserError(answer.message)
    print(answer.message)
    for name in answer.files:
        print(arguments.run / name)
