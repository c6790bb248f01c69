"""Readers of the annotation files of public benchmarks, one module each."""
