"""Loggers of a run: one file each. Config files name them by their full module path, so this file imports nothing."""
