"""What a terminal may be sent."""

CLEAR_LINE = "\r\x1b[K"


def printable(text: str, keep: str = "") -> str:
    """Return what others may have sent without what a terminal would obey.

    Args:
        text: What they sent.
        keep: Characters that may pass all the same.
    """
    return "".join(
        each if each.isprintable() or each in keep else "\N{REPLACEMENT CHARACTER}" for each in text
    )
