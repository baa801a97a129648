"""Who a request comes from, for whatever runs on its behalf."""

from contextvars import ContextVar
from dataclasses import dataclass

from service.guard.limits import Account


@dataclass(slots=True)
class Visit:
    """One connection's way through the door, which took the price of its first request."""

    account: Account
    paid: bool = True

    def begin(self) -> None:
        """A request begins. A socket may ask for several: each later one is a request of its own.
        Raises ApiError("rate_limited")."""
        if self.paid:
            self.paid = False
        else:
            self.account.begin()


current_visit: ContextVar[Visit | None] = ContextVar("current_visit", default=None)
"""Set by the door; None where no keys are asked for. Tasks that a request starts inherit it."""


def current_owner() -> str | None:
    """Whose is what this request makes: its key's name. Without keys all callers are one."""
    visit = current_visit.get()
    return None if visit is None else visit.account.name
