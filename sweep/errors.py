"""Errors: the base of those that a user sees, in one line."""


class RelusweepError(Exception):
    """Something that the user can put right: the message says where, what is wrong, what was expected and the cure."""
