"""Exposure logs drawn from latent users and items, with the true probabilities of everything that happens."""
