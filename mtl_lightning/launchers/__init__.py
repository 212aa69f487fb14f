"""Launchers, chosen by ``run.launcher``: what starts the processes of a run. Plugins supply them.

- ``base.py``: the contract.
"""
