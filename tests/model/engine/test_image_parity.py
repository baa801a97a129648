"""Prompts of text and images through the engine, against what transformers computed for them."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from model.checkpoints import open_checkpoint
from model.contract import (
    Group,
    MediaSegment,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    Submit,
    TokenSegment,
)
from model.engine.config import EngineConfig
from model.engine.encoder import normalised
from model.engine.engine import Engine
from model.engine.pages import PagedMemory
from model.engine.runner import JaxRunner
from model.engine.scheduler import Scheduler
from model.kernels.library import load_kernels
from model.text.language import TextModel
from tests.model.engine.doubles import Seen, drain

CONTEXT = 128
CHUNK = 80  # Of which four images are read together.
SOFT, PLACEHOLDER = 16, 299
TOP = 20
PROMPTS = range(4)


class Loaded:
    """The fixture on the device behind an engine, with what transformers said of it."""

    def __init__(self, folder, **config) -> None:
        self.expected = np.load(folder / "expected.npz")
        checkpoint = open_checkpoint(folder)
        config = {"dtype": "float32", "prefill_chunk": CHUNK, "kernels": "off"} | config
        settings = EngineConfig(max_rows=8, page_size=8, kv_bytes=2**24, **config)
        self.runner = JaxRunner(checkpoint, settings, CONTEXT)
        self.memory = PagedMemory.of(8, checkpoint.spec.windows, self.runner.memory.pages)
        self.engine = Engine(
            Scheduler(self.memory, self.runner.limits),
            self.runner,
            TextModel(checkpoint.text),
            checkpoint.spec.vocab_size,
            CONTEXT,
            vision=checkpoint.spec.vision,
        )

    @property
    def slots(self):
        return self.runner.images.slots

    def image(self, number: int, dtype="uint8") -> MediaSegment:
        pixels = self.expected["images"][number]
        if dtype == "float32":
            pixels = ((pixels / 255 - 0.5) / 0.5).astype(np.float32)
        return MediaSegment.of(
            "image", pixels.tobytes(), pixels.shape, dtype, tokens=SOFT, placeholder=PLACEHOLDER
        )

    def prompt(self, index: int, images=None, dtype="uint8") -> Prompt:
        """images: other ones than transformers had, by number."""
        ids = self.expected[f"prompt_{index}"].tolist()
        numbers = iter(self.expected[f"images_{index}"] if images is None else images)
        segments: list[TokenSegment | MediaSegment] = []
        while ids:
            if ids[0] == PLACEHOLDER:
                segments.append(self.image(next(numbers), dtype))
                ids = ids[SOFT:]
                continue
            end = ids.index(PLACEHOLDER) if PLACEHOLDER in ids else len(ids)
            segments.append(TokenSegment(ids=tuple(ids[:end])))
            ids = ids[end:]
        return Prompt(segments=tuple(segments))

    def group(self, index: int, prompt: Prompt | None = None) -> Group:
        """A path for each place of the continuation: its likeliest tokens there are asked for."""
        continuation = self.expected[f"continuation_{index}"].tolist()
        sampling = SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True, logprobs=TOP)
        paths = tuple(
            PathRequest(index=at, sampling=sampling, suffix=tuple(continuation[:at]))
            for at in range(len(continuation))
        )
        return Group(id=str(index), prompt=prompt or self.prompt(index), paths=paths)

    def run(self, *groups: Group) -> Seen:
        for group in groups:
            self.engine.handle(Submit(group=group))
        seen = Seen(drain(self.engine))
        assert not seen.failed
        return seen

    def worst(self, seen: Seen, index: int) -> float:
        """Largest difference of a log-probability, relative to the largest logit."""
        continuation = self.expected[f"continuation_{index}"]
        logits = self.expected[f"logits_{index}"].astype(np.float64)
        scale = np.abs(logits).max()
        logits = logits[-len(continuation) - 1 : -1]
        peak = logits.max(-1, keepdims=True)
        wanted = logits - peak - np.log(np.exp(logits - peak).sum(-1, keepdims=True))
        worst = 0.0
        for event in seen.events:
            if isinstance(event, PathOutput) and event.group_id == str(index) and event.tokens:
                ids, values = zip(*event.logprobs[0].top, strict=True)
                assert len(ids) == TOP
                worst = max(worst, np.abs(np.array(values) - wanted[event.path][[*ids]]).max())
        return worst / scale


@pytest.fixture(scope="module")
def loaded(parity_fixtures) -> Loaded:
    return Loaded(parity_fixtures / "gemma3-vision")


def test_logprobs_behind_images_are_those_of_transformers(loaded):
    seen = loaded.run(*map(loaded.group, PROMPTS))
    for index in PROMPTS:
        assert len([key for key in seen.tokens if key[0] == str(index)]) == 24
        assert loaded.worst(seen, index) <= 2e-5
    assert loaded.memory.used == 0


@pytest.mark.parametrize("weights", ["native", "int8"])
def test_compiled_attention_goes_on_from_pages_that_the_plain_one_wrote(
    parity_fixtures, tmp_path, weights
):
    if load_kernels(None) is None:
        pytest.skip("no kernels on this machine")
    loaded = Loaded(parity_fixtures / "gemma3-vision", kernels="auto", weights=weights)
    seen = loaded.run(*map(loaded.group, PROMPTS))
    limit = 2e-5 if weights == "native" else 5e-2
    assert max(loaded.worst(seen, index) for index in PROMPTS) <= limit


def test_normalised_pixels_give_what_levels_give(loaded):
    levels, pixels = loaded.image(1), loaded.image(1, "float32")
    np.testing.assert_allclose(normalised(levels), normalised(pixels), atol=1e-6)
    seen = loaded.run(loaded.group(1, loaded.prompt(1, dtype="float32")))
    assert loaded.worst(seen, 1) <= 2e-5


def test_an_image_is_encoded_once_however_many_paths_and_prompts_read_it(loaded):
    def counted(index: int) -> tuple[int, int]:
        queries, hits = loaded.slots.queries, loaded.slots.hits
        # A scope of its own: nothing is there yet.
        loaded.run(msgspec.structs.replace(loaded.group(index), scope="counted"))
        return loaded.slots.queries - queries, loaded.slots.hits - hits

    before = loaded.engine.prefill_tokens
    # Images 1, 0, 1 and 2, and 24 paths.
    assert counted(2) == (4, 1)
    suffixes = sum(range(24))
    assert loaded.engine.prefill_tokens - before <= len(loaded.prompt(2)) + suffixes
    assert counted(3) == (2, 2)
    # The first image is found in the cache of pages; the second ends within a page.
    assert counted(3) == (1, 1)


def test_images_that_do_not_fit_the_buffer_are_encoded_again(parity_fixtures):
    loaded = Loaded(
        parity_fixtures / "gemma3-vision", prefill_chunk=16, media_cache_bytes=0, prefix_cache=False
    )
    loaded.memory.reuse = False
    assert loaded.runner.images.buffer.shape[0] == 1
    seen = loaded.run(*map(loaded.group, PROMPTS))
    assert max(loaded.worst(seen, index) for index in PROMPTS) <= 2e-5
    assert loaded.memory.used == 0
    queries, hits = loaded.slots.queries, loaded.slots.hits
    loaded.run(loaded.group(2))
    assert (loaded.slots.queries - queries, loaded.slots.hits - hits) == (4, 0)


def first_logprobs(loaded: Loaded, prompt: Prompt) -> dict[int, float]:
    group = loaded.group(1, prompt)
    events = loaded.run(msgspec.structs.replace(group, paths=group.paths[:1])).events
    return dict(next(e for e in events if isinstance(e, PathOutput)).logprobs[0].top)


def test_other_images_and_other_places_give_other_logits(loaded):
    plain = first_logprobs(loaded, loaded.prompt(1))
    swapped = first_logprobs(loaded, loaded.prompt(1, images=[1, 0]))
    other = first_logprobs(loaded, loaded.prompt(1, images=[0, 2]))
    before, image, between, *rest = loaded.prompt(1).segments
    moved = first_logprobs(loaded, Prompt(segments=(before, between, image, *rest)))
    for changed in (swapped, other, moved):
        same = plain.keys() & changed.keys()
        assert max(abs(plain[token] - changed[token]) for token in same) > 1e-3


def test_steps_of_text_are_the_same_program_with_and_without_an_image_encoder(
    loaded, parity_fixtures
):
    """So text pays nothing: no argument, no operation."""
    runner = loaded.runner
    checkpoint = open_checkpoint(parity_fixtures / "gemma3-vision")
    checkpoint.spec = replace(checkpoint.spec, vision=None)
    config = EngineConfig(
        dtype="float32", prefill_chunk=CHUNK, kernels="off", max_rows=8, page_size=8, kv_bytes=2**24
    )
    plain = JaxRunner(checkpoint, config, CONTEXT)
    assert plain.shapes == replace(runner.shapes, images=())
    for shape in plain.shapes.all:
        lowered = []
        for each in (runner, plain):
            given = each._program.arguments(shape, each.memory.with_null_pages)
            lowered.append(each._program._jitted.lower(*given, None).as_text())
        assert lowered[0] == lowered[1]


def test_an_image_that_no_step_has_room_for_is_told_at_the_start(parity_fixtures):
    config = EngineConfig(dtype="float32", prefill_chunk=16, kernels="off", kv_bytes=2**24)
    checkpoint = open_checkpoint(parity_fixtures / "gemma3-vision")
    large = replace(checkpoint.spec.vision, tokens=64, patch_size=3)
    checkpoint.spec = replace(checkpoint.spec, vision=large)
    with pytest.raises(ValueError, match="prefill_chunk must be at least 64"):
        JaxRunner(checkpoint, config, CONTEXT)
