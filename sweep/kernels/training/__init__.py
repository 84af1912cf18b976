"""Trainers: loops that take packs from step to step; each equals `plain`, the reference."""
