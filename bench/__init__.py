"""Benchmarks: one command each, their figures under bench/results."""
