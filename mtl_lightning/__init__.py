"""Multi-task learning for recommender systems, on Lightning."""
