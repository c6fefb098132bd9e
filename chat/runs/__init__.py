"""The run engine: executes runs, journals their events, and delivers these to readers."""
