"""Simulated exposure logs, drawn from latent users and items, with the true probability of every outcome."""
