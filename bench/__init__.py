"""Benchmarks: ``python -m bench list | run CASE... | report``. README.md says how to read them."""
