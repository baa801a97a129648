"""Prompts of an exact number of tokens, each unlike every other."""

import random

from benchmarks.client import Client

# One token each, with a space before, in every large vocabulary.
_TEXT = """
time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work government number
night point home water room mother area money story fact month lot right study book eye job word
business issue side kind head house service friend father power hour game line end member law car
city community name
"""
_WORDS = tuple(_TEXT.split())


class Prompts:
    """Made of random words. overhead: tokens that a server adds (template, first token)."""

    def __init__(self, overhead: int, seed: int = 0) -> None:
        self._overhead = overhead
        self._random = random.Random(seed)

    @classmethod
    async def calibrated(cls, client: Client) -> "Prompts":
        """Asks the server how many tokens it counts for a prompt of known length."""
        length = 40
        words = cls(0, seed=1).fresh(length)
        return cls(await client.count(words) - length)

    def fresh(self, tokens: int) -> str:
        """A prompt that no earlier one shares a beginning with, but by chance."""
        return " ".join(self._random.choices(_WORDS, k=max(1, tokens - self._overhead)))
