"""Real search engines on this machine, without containers."""
