"""cuDNN's switches; without a GPU they are kept and have no effect."""

enabled = True
benchmark = False
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """Returns whether cuDNN can be used."""
    return False


def version() -> int | None:
    """Returns cuDNN's version, None without it."""
    return None
