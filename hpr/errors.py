"""The error that a user can cause and mend."""


class UserError(Exception):
    """One line for the user: what is wrong, where, what was expected and found, what to do."""
