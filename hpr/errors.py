"""The error that a user can cause and mend."""

_MAX_LENGTH = 1400


class UserError(Exception):
    """One line for the user: what is wrong, where, what was expected and found, what to do."""

    def __str__(self) -> str:
        """Returns the line.

        Characters that cannot be printed, which names and values in files may contain, are escaped.
        """
        message = super().__str__()
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message[:_MAX_LENGTH])
        return f"{line}…" if len(message) > _MAX_LENGTH else line


def counted(count: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun, such as "1 frame" and "2 frames"; `plural` where it is not the noun with an s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
