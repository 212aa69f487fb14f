"""The model and its training: network, module, step, optimizer, tables."""
