"""Loggers of a run, chosen by ``run.loggers``: files in the run directory, and trackers that teams share.

- ``base.py``: the contract.
- ``tracker.py``: the base class of loggers that talk to a server.
- ``csv.py``, ``mlflow.py``, ``wandb.py``: one logger each. TensorBoard's is in ``report/training/events.py``.
"""
