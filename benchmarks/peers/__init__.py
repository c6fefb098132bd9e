"""Programs of the peers, and the lock of each one's environment."""
