"""Kernels: training loops, of which every one must equal `plain`, and compiled measures."""
