"""Search of a recipe's settings: trials shared by several processes, and their front over tasks."""
