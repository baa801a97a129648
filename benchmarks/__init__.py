"""Benchmarks: one command each, a table with ratios, no tests."""

from service.commands.checkpoint import skip_absent_tpu

# Before anything imports jax.
skip_absent_tpu()
