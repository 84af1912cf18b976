"""Fused training loops, one device each. Every one must equal the plain torch path of `sweep.train`."""
