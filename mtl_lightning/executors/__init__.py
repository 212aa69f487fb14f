"""Executors of prepared parts, chosen by ``data.executor``: what runs a function on many parts.

- ``base.py``: the contract.
- ``pool.py``: the base class of executors that are pools of this machine.
- ``threads.py``, ``processes.py``: one executor each.
"""
