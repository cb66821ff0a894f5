"""For those who come from diffusers: their commands, understood and said in tinv's words."""

from tinv.from_diffusers.command_line import read, understand
from tinv.from_diffusers.translate import Translation, translate

__all__ = ["Translation", "read", "translate", "understand"]
