"""Measures on the CPU: compiled programs, a network at a time."""
