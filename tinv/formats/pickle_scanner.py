"""What a pickle would do, read from its instructions without doing any of it.

torch's `weights_only` runs no code, but it lets a pickle build more than an embedding needs: `bytearray(2**40)`, or
tuples of tuples whose hash takes for ever. So the instructions are looked through first.
"""

import pickletools
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO

from tinv.formats.content import shown

MAX_PICKLE = 2**20
_TENSORS = {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"}
_KINDS = "Float Double Half BFloat16 Long Int Short Char Byte Bool".split()
_ALLOWED = (
    {"collections OrderedDict", "torch.nn.modules.container ParameterDict", "builtins set", "__builtin__ set"}
    | {f"torch._utils {name}" for name in _TENSORS}
    | {f"{home} {kind}Storage" for home in ("torch", "torch.cuda") for kind in _KINDS}
)
"""What a pickle may name: the containers of embeddings, and what plain tensors are made of."""


@dataclass
class Instructions:
    """What the pickles of a file ask for."""

    foreign: list[str] = field(default_factory=list)
    """What they name beyond the few things that an embedding is made of, e.g. `os.system`."""
    num_tensors: int = 0
    texts: list[str] = field(default_factory=list)
    is_knotted: bool = False
    """Whether tuples are used again, by which a short pickle makes an endless structure."""


def look_through(start: bytes, pickles: int = 1) -> Instructions:
    """The instructions of the pickles, one behind the other, with which a file starts.

    Raises:
        Exception: of any kind, for what is no pickle, or longer than `start`.
    """
    found, file = Instructions(), BytesIO(start)
    for _ in range(pickles):
        if found.foreign:
            break
        _look(pickletools.genops(file), found)
    return found


def _look(steps: Iterable[tuple[pickletools.OpcodeInfo, object, int | None]], found: Instructions) -> None:
    tuples: set[object] = set()
    before = ""
    for step, argument, _ in steps:
        match step.name:
            case "GLOBAL" | "INST":
                if argument not in _ALLOWED:
                    found.foreign.append(shown(str(argument).replace(" ", ".")))
            case "STACK_GLOBAL" | "EXT1" | "EXT2" | "EXT4":
                found.foreign.append("names made while it runs")
            case "BINPERSID" | "PERSID":
                found.num_tensors += 1
            case "BINUNICODE" | "SHORT_BINSTRING":
                found.texts.append(str(argument))
            case "BINPUT" | "LONG_BINPUT":
                if before.startswith("TUPLE"):
                    tuples.add(argument)
                else:
                    tuples.discard(argument)
            case "BINGET" | "LONG_BINGET":
                found.is_knotted |= argument in tuples
        before = step.name
