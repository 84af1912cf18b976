"""This machine and this process: cores, memory, ports, signals, and where modules are searched."""
