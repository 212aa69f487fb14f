"""Reports: how results are shown on the terminal, in TensorBoard and as HTML pages.

- ``render/``: building blocks. HTML, SVG, heat maps, tables and messages on the terminal.
- ``training/``: progress, TensorBoard events, relations between tasks.
- ``evaluation/``: the detailed evaluation after a test.
- ``quality/``: the quality of a log.
"""
