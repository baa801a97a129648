"""The keys of a running server, and what each has used. The file is read again when it changes."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from service.guard.key_sources import keys_in_file, keys_in_variable
from service.guard.keys import BadKeys, KeyRing
from service.guard.limits import Account, Clock
from service.settings import Settings

log = logging.getLogger("pollux")

LOOK_AGAIN_S = 1.0
"""How long a key that was taken out of the file may still be let in."""

_Stamp = tuple[int, int, int]


class KeyStore:
    """Raises BadKeys for keys that cannot be used; what a change of the file breaks later is
    logged, and the keys stay as they were. On the event loop's thread only."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._required = settings.asks_for_keys
        self._variable = settings.api_keys.get_secret_value() if settings.api_keys else ""
        self._file = settings.api_keys_file
        self._clock = clock
        self._accounts: dict[str, Account] = {}
        self._looked = clock()
        self._stamp = _stamp(self._file)
        self._ring = self._read()
        if self.required and not self._ring.keys:
            raise BadKeys(f"{self._file} has no keys: nobody could come in")

    @property
    def required(self) -> bool:
        return self._required

    def find(self, presented: Sequence[bytes]) -> Account | None:
        """The account of the first that is a key."""
        self._look_again()
        for candidate in presented:
            key = self._ring.find(candidate)
            if key is not None:
                return self._accounts[key.name]
        return None

    def accounts(self) -> Iterable[Account]:
        return tuple(self._accounts.values())

    def _look_again(self) -> None:
        if self._file is None or self._clock() - self._looked < LOOK_AGAIN_S:
            return
        self._looked = self._clock()
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._ring = self._read()
        except BadKeys as error:
            log.error("the keys stay as they were: %s", error)
        else:
            log.info("%s was read again: %d keys", self._file, len(self._ring.keys))

    def _read(self) -> KeyRing:
        keys = keys_in_variable(self._variable)
        if self._file is not None:
            keys += keys_in_file(self._file)
        ring = KeyRing(keys)
        accounts: dict[str, Account] = {}
        for key in ring.keys:
            account = self._accounts.get(key.name)
            if account is None:
                account = Account(key.name, key.limits, self._clock, key.identity)
            elif account.limits != key.limits:
                account.adopt(key.limits)
            account.identity = key.identity
            accounts[key.name] = account
        self._accounts = accounts
        return ring


def _stamp(path: Path | None) -> _Stamp | None:
    """Changes when the file does; None when it is not there."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)


class KeyMetrics(Collector):
    """Use by key, as of the scrape. Label values are names of keys, so there are few."""

    def __init__(self, labels: Callable[[], tuple[str, str]], store: KeyStore) -> None:
        self._labels = labels
        self._store = store

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        names = ("model_name", "engine", "key_name")
        requests = CounterMetricFamily("pollux:key_requests", "Requests let in", labels=names)
        tokens = CounterMetricFamily("pollux:key_tokens", "Tokens read and sampled", labels=names)
        for account in self._store.accounts():
            labels = (*self._labels(), account.name)
            requests.add_metric(labels, account.requests)
            tokens.add_metric(labels, account.tokens)
        yield requests
        yield tokens
