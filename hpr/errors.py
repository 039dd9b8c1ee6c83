"""The error that a user can cause and mend."""

_LONGEST = 1400


class UserError(Exception):
    """One line for the user: what is wrong, where, what was expected and found, what to do."""

    def __str__(self) -> str:
        """Returns the line; characters that cannot be shown, which names and values in files may have, are escaped."""
        message = super().__str__()
        shown = "".join(_shown(character) for character in message[:_LONGEST])
        return f"{shown}…" if len(message) > _LONGEST else shown


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
