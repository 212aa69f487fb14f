"""Model and training: network, Lightning module, step, optimizer and embedding tables."""
