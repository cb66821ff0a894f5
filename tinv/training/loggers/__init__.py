"""Loggers of a run, one file each. Config files name a logger by its full module path, so this file imports nothing."""
