"""Apple GPUs are not supported."""


def is_available() -> bool:
    """Returns False."""
    return False


def is_built() -> bool:
    """Returns False."""
    return False
