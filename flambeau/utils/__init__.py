"""Tools around training; `flambeau.utils.data` loads data."""
