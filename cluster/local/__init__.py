"""The back-end `local`: this machine, a process a GPU or one a core."""
