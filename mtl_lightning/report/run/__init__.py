"""One page per run: what it learned, how well it does, and what it cost."""
