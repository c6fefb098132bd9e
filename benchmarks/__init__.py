"""Benchmark behind docs/performance.md: ``make bench``."""
