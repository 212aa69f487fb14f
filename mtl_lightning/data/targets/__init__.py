"""Labels, tasks, and the raw columns that losses and heads read."""
