"""Quality of a log: leaks, funnels, drift, duplicates and contradictions."""
