"""Values of one Arrow column: types, keys, numbers, lists and times."""
