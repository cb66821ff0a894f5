"""Translates commands of diffusers' textual-inversion scripts into commands of tinv."""

from tinv.from_diffusers.command_line import parse_command, read_command
from tinv.from_diffusers.translate import Translation, translate

__all__ = ["Translation", "parse_command", "read_command", "translate"]
