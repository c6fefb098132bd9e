"""Targets of the benchmark: how each is started, asked and read back."""
