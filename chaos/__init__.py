"""Chaos: real sweeps, disturbed on purpose, whose table must be that of an undisturbed one."""
