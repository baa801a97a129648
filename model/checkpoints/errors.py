"""Why a model that was asked for by name cannot be had. Each message is one line."""


class UnknownModel(ValueError):
    """The name is no catalogue entry, no file, no folder and no hub reference."""


class FetchFailed(Exception):
    """The model exists, but could not be brought here."""
