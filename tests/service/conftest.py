"""What tests of the service share."""

from collections.abc import Iterator

import pytest

from tests.service.log_support import logging_as_it_was


@pytest.fixture(autouse=True)
def _no_command_leaves_its_log() -> Iterator[None]:
    """`pollux serve` and `pollux worker` set the process's log up, which here is pytest's."""
    with logging_as_it_was():
        yield
