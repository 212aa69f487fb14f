"""Values of one Arrow column: types, keys (which values are equal), numbers, lists and times."""
