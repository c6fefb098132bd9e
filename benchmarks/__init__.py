"""What docs/performance.md says, by one command: ``make bench``."""
