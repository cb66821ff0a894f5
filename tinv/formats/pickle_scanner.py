"""Scans the instructions of a pickle without executing them.

torch's `weights_only` runs no code, but it lets a pickle build more than an embedding needs: `bytearray(2**40)`, or
nested tuples whose hash takes exponential time. So the instructions are scanned before torch loads the file.
"""

import pickletools
from dataclasses import dataclass, field
from io import BytesIO

from tinv.formats.content import MAX_TENSORS, sanitize

MAX_PICKLE = 2**20
MAX_INSTRUCTIONS = 20_000
"""64 tensors take 2,000. A mapping of this many integers of equal hash takes tenths of a second."""
_TENSORS = {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"}
_DTYPES = "Float Double Half BFloat16 Long Int Short Char Byte Bool".split()
_ALLOWED = (
    {"collections OrderedDict", "torch.nn.modules.container ParameterDict", "builtins set", "__builtin__ set"}
    | {f"torch._utils {name}" for name in _TENSORS}
    | {f"{module} {dtype}Storage" for module in ("torch", "torch.cuda") for dtype in _DTYPES}
)
"""The globals that a pickle may name: the containers of embeddings, and what plain tensors consist of."""


@dataclass
class PickleScan:
    """What the pickles of a file ask for."""

    disallowed: list[str] = field(default_factory=list)
    """Globals other than those of an embedding, e.g. `os.system`."""
    num_tensors: int = 0
    texts: list[str] = field(default_factory=list)
    reuses_tuples: bool = False
    """Whether a tuple is used again; a short pickle can build an exponentially large structure that way."""
    num_instructions: int = 0

    @property
    def is_too_large(self) -> bool:
        """Whether there is more than in an embedding. The scan ends there."""
        return self.num_tensors > MAX_TENSORS or self.num_instructions > MAX_INSTRUCTIONS


def scan_pickles(content: bytes, count: int = 1) -> PickleScan:
    """Scans the consecutive pickles at the start of a file.

    Raises:
        Exception: of any kind, if this is no pickle or a pickle is longer than `content`.
    """
    scan, file = PickleScan(), BytesIO(content)
    for _ in range(count):
        if not scan.disallowed and not scan.is_too_large:
            _scan(file, scan)
    return scan


def _scan(file: BytesIO, scan: PickleScan) -> None:
    tuples: set[object] = set()
    previous = ""
    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case "GLOBAL" | "INST":
                if argument not in _ALLOWED:
                    scan.disallowed.append(sanitize(str(argument).replace(" ", ".")))
            case "STACK_GLOBAL" | "EXT1" | "EXT2" | "EXT4":
                scan.disallowed.append("globals computed at load time")
            case "BINPERSID" | "PERSID":
                scan.num_tensors += 1
            case "BINUNICODE" | "SHORT_BINSTRING":
                scan.texts.append(str(argument))
            case "BINPUT" | "LONG_BINPUT":
                if previous.startswith("TUPLE"):
                    tuples.add(argument)
                else:
                    tuples.discard(argument)
            case "BINGET" | "LONG_BINGET":
                scan.reuses_tuples |= argument in tuples
        previous = opcode.name
        scan.num_instructions += 1
        if scan.is_too_large:
            return
