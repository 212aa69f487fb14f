"""What is wrong with a log: leaks, funnels, drift, duplicates, contradictions."""
