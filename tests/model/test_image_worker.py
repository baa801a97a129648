"""A worker that takes images: what it says of itself, and what it counts."""

from dataclasses import replace

import numpy as np
import pytest

from model.contract import (
    Group,
    GroupFailed,
    MediaSegment,
    PathRequest,
    Prompt,
    SamplingParams,
    Submit,
    TokenSegment,
    VisionCard,
)
from tests.model.host import TINY, Host


def about(name: str, *numbers: int) -> Group:
    """Two paths over so many images."""
    segments: list[TokenSegment | MediaSegment] = [TokenSegment(ids=(5, 6, 7))]
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        image = MediaSegment.of(
            "image", pixels.tobytes(), (24, 24, 3), "uint8", tokens=16, placeholder=299
        )
        segments += [image, TokenSegment(ids=(8, 9))]
    sampling = SamplingParams(max_tokens=4, temperature=0.0, ignore_eos=True)
    paths = tuple(PathRequest(index=i, sampling=sampling) for i in range(2))
    return Group(id=name, prompt=Prompt(segments=tuple(segments)), paths=paths)


@pytest.fixture(scope="module")
def host(parity_fixtures):
    host = Host(parity_fixtures / "gemma3-vision", replace(TINY, max_rows=2))
    host.worker.start()
    yield host
    host.worker.stop()


def test_images_are_served_and_counted_and_compile_nothing(host):
    assert host.worker.card.vision == VisionCard(24, 16, 299)
    first = host.tokens([about("a", 0, 1, 0)])
    status = host.worker.status()
    assert (status.media_queries, status.media_hits) == (3, 1)
    host.tokens([about("b", 1, 0, 0)])
    again = host.tokens([about("c", 0, 1, 0)])
    assert [*again.values()] == [*first.values()]
    status = host.worker.status()
    assert status.compilations_after_warmup == 0
    # The last prompt was found in the cache of pages.
    assert (status.media_queries, status.media_hits) == (6, 4)
    assert status.pages_used == 0


def test_images_for_a_model_of_text_are_refused(parity_fixtures):
    host = Host(parity_fixtures / "gemma3", replace(TINY, max_rows=2))
    assert host.worker.card.vision is None
    host.worker.start()
    host.worker.send(Submit(group=about("a", 0)))
    failed = host.until_end("a")[-1]
    host.worker.stop()
    assert isinstance(failed, GroupFailed)
    assert (failed.code, failed.message) == ("invalid", "this model takes text only")
