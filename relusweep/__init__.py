"""relusweep: thousands of tiny ReLU networks trained as one tensor program, and what theory says of their minima."""
