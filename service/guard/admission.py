"""How much may be in flight. What does not fit is refused at once, with a time to come back."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from service.errors import ApiError
from service.guard.visits import Visit


class Admission:
    """Counts requests and their paths; on the event loop's thread only.

    A routed request is one request of k paths and its direct answer. A single request is let in
    whatever its size when nothing else runs, so that no valid request is refused for ever.
    """

    def __init__(self, max_requests: int, max_paths: int) -> None:
        self._max_requests = max_requests
        self._max_paths = max_paths
        self.requests = 0
        self.paths = 0

    @contextmanager
    def admit(self, paths: int, visit: Visit | None = None) -> Iterator[None]:
        """Raises ApiError("overloaded") when the server is full, and what the visitor's account
        raises when its key has no more requests, tokens or sequences."""
        if self.requests >= self._max_requests:
            raise _full("requests")
        if self.requests and self.paths + paths > self._max_paths:
            raise _full("paths")
        if visit is not None:
            visit.begin()
        with visit.account.running(paths) if visit is not None else nullcontext():
            self.requests += 1
            self.paths += paths
            try:
                yield
            finally:
                self.requests -= 1
                self.paths -= paths


def _full(what: str) -> ApiError:
    return ApiError(
        "overloaded",
        f"the server already runs as many {what} as it may; try again shortly",
        code="rate_limit_exceeded",
        retry_after=1.0,
    )
