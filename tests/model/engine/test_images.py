"""Images in prompts: read whole, found again only whole, and never taken for each other."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import Group, MediaSegment, PathRequest, SamplingParams, Submit, encode
from model.engine.engine import Engine
from model.engine.holding import trunk_of
from model.engine.images import image_around, images_of, page_content, unsplit
from model.engine.pages import PagedMemory
from model.engine.slots import Slots
from tests.model.engine.doubles import Seen, drain, expected_tokens, make_engine, seen_by_model
from tests.model.engine.pictures import PLACEHOLDER, SOFT, VISION, picture, prompt_of


def group(name, prompt, paths=1, max_tokens=3, **fields) -> Group:
    requests = tuple(
        PathRequest(index=i, sampling=SamplingParams(max_tokens=max_tokens, seed=i))
        for i in range(paths)
    )
    return Group(id=name, prompt=prompt, paths=requests, **fields)


def wanted(asked: Group) -> dict:
    """What its paths generate where each image is seen and nothing else changes."""
    text = seen_by_model(asked.prompt.token_ids(), images_of(asked.prompt, b""))
    return {(asked.id, path.index): expected_tokens(text, path) for path in asked.paths}


def run(engine: Engine, *groups: Group) -> Seen:
    for asked in groups:
        engine.handle(Submit(group=asked))
    return Seen(drain(engine))


def test_placeholders_stand_for_images_in_token_ids() -> None:
    prompt = prompt_of([1, 2], picture(0), [3])
    assert prompt.token_ids() == (1, 2, *[PLACEHOLDER] * SOFT, 3)
    assert len(prompt) == 3 + SOFT


def test_a_segment_survives_the_wire_and_names_its_pixels_and_their_shape() -> None:
    segment = picture(3)
    asked = group("a", prompt_of([1], segment, [2]))
    assert msgspec.msgpack.decode(encode(Submit(group=asked)), type=Submit).group == asked
    wide = MediaSegment.of(
        "image", segment.data, (1, 4, 3), "uint8", tokens=SOFT, placeholder=PLACEHOLDER
    )
    assert len({segment.hash, picture(4).hash, wide.hash}) == 3
    assert segment.hash == picture(3).hash
    assert segment.data.hex() not in repr(segment)


def test_an_image_is_not_split_over_chunks() -> None:
    """The double fails for one that is; chunks have eight tokens, an image six."""
    engine, runner = make_engine(vision=VISION)
    asked = group("a", prompt_of([1] * 5, picture(0), [2], picture(1), picture(2), [3] * 4), 2)
    assert run(engine, asked).tokens == wanted(asked)
    assert runner.images_read == 3
    assert engine.prefill_tokens == len(asked.prompt) - 1


def test_paths_over_an_image_read_it_once() -> None:
    engine, runner = make_engine(vision=VISION, max_rows=8)
    asked = group("a", prompt_of([1] * 3, picture(0), [2] * 2), paths=8)
    assert run(engine, asked).tokens == wanted(asked)
    assert runner.images_read == 1
    assert engine.prefill_tokens == len(asked.prompt) - 1


def test_an_image_is_read_beside_paths_though_their_chunks_are_smaller() -> None:
    engine, runner = make_engine(vision=VISION, busy_chunk=2)
    first = group("a", prompt_of([1, 2]), max_tokens=30)
    second = group("b", prompt_of([1], picture(0), [2]))
    assert run(engine, first, second).tokens == wanted(first) | wanted(second)
    assert runner.mixed_steps > 0


def test_the_same_placeholders_with_another_image_share_nothing_from_there_on() -> None:
    engine, _ = make_engine(vision=VISION)
    first = group("a", prompt_of([1] * 8, picture(0), [2] * 6))
    run(engine, first)
    other = group("b", prompt_of([1] * 8, picture(1), [2] * 6))
    seen = run(engine, other)
    assert seen.tokens == wanted(other)
    assert seen.tokens["b", 0] != wanted(first)["a", 0]
    assert next(e for e in seen.events if hasattr(e, "cached_tokens")).cached_tokens == 8


def test_images_that_change_places_share_nothing() -> None:
    engine, _ = make_engine(vision=VISION)
    first = group("a", prompt_of(picture(0), picture(1), [2] * 6))
    second = group("b", prompt_of(picture(1), picture(0), [2] * 6))
    assert run(engine, first).tokens == wanted(first)
    seen = run(engine, second)
    assert seen.tokens == wanted(second)
    assert next(e for e in seen.events if hasattr(e, "cached_tokens")).cached_tokens == 0


def test_a_prefix_that_is_found_does_not_end_within_an_image() -> None:
    """Pages have four tokens: the third ends within the image, which is computed again."""
    engine, runner = make_engine(vision=VISION)
    run(engine, group("a", prompt_of([1] * 9, picture(0), [2] * 6)))
    longer = group("b", prompt_of([1] * 9, picture(0), [5] * 6))
    seen = run(engine, longer)
    assert seen.tokens == wanted(longer)
    assert next(e for e in seen.events if hasattr(e, "cached_tokens")).cached_tokens == 8
    assert runner.images_read == 2


def test_an_image_that_is_found_whole_is_not_read_again() -> None:
    engine, runner = make_engine(vision=VISION)
    run(engine, group("a", prompt_of([1] * 6, picture(0), [2] * 6)))
    longer = group("b", prompt_of([1] * 6, picture(0), [2] * 2, [5] * 6))
    assert run(engine, longer).tokens == wanted(longer)
    assert runner.images_read == 1


def test_a_hold_ends_where_no_image_is_split() -> None:
    memory = PagedMemory.of(4, (None,), (64,))
    cut = Group(id="h", prompt=prompt_of([1] * 9, picture(0), [2]), paths=(), open=True, hold=True)
    trunk = trunk_of(cut, memory)
    assert (len(trunk.tokens) - 1, trunk.images) == (16, trunk.images[:1])
    cut = Group(id="h", prompt=prompt_of([1] * 9, picture(0)), paths=(), open=True, hold=True)
    trunk = trunk_of(cut, memory)
    assert (len(trunk.tokens) - 1, trunk.images) == (8, ())


def a_prompt(parts: tuple, **fields) -> Group:
    return group("x", prompt_of(*parts), **fields)


GOOD = ([1], picture(0), [2])
OTHER_SIZE = msgspec.structs.replace(picture(0), shape=(4, 4, 3))
TOO_SHORT = msgspec.structs.replace(picture(0), data=b"1")
OTHER_COUNT = msgspec.structs.replace(picture(0), tokens=2**40)
OTHER_ID = msgspec.structs.replace(picture(0), placeholder=3)


@pytest.mark.parametrize(
    ("asked", "vision", "says"),
    [
        (a_prompt(GOOD), None, "this model takes text only"),
        (a_prompt(([1], picture(0))), VISION, "text must follow the prompt's last image"),
        (a_prompt(([1], picture(0), [])), VISION, "text must follow the prompt's last image"),
        (a_prompt(GOOD, prompt_logprobs=0), VISION, "prompts with images are not scored"),
        (a_prompt(GOOD, paths=0, embed=True), VISION, "prompts with images are not embedded"),
        (a_prompt(([1], OTHER_SIZE, [2])), VISION, "images of 2 x 2 pixels"),
        (a_prompt(([1], TOO_SHORT, [2])), VISION, "images of 2 x 2 pixels"),
        (a_prompt(([1], OTHER_COUNT, [2])), VISION, "has 6 tokens with the id 40"),
        (a_prompt(([1], OTHER_ID, [2])), VISION, "has 6 tokens with the id 40"),
        (a_prompt(([1], *[picture(0)] * 11, [2])), VISION, "the context holds 64"),
    ],
)
def test_media_that_a_model_does_not_take_are_refused_in_one_line(asked, vision, says) -> None:
    engine, _ = make_engine(vision=vision)
    failed = run(engine, asked).failed["x"]
    assert failed.code == "invalid"
    assert says in failed.message
    assert engine.scheduler.memory.used == 0


PARTS = st.lists(
    st.one_of(
        st.lists(st.integers(0, 3), min_size=1, max_size=7),
        st.integers(0, 2).map(picture),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(PARTS, st.integers(1, 3), st.sampled_from(["", "a", "b"])),
        min_size=1,
        max_size=5,
    ),
    st.integers(10, 40),
    st.integers(0, 6),
)
def test_every_path_sees_its_own_images_whatever_is_shared_and_preempted(
    asked: list, capacity: int, late: int
) -> None:
    """The double compares all that is read; few pages make groups give theirs up."""
    engine, _ = make_engine(vision=VISION, capacities=(capacity + 10, capacity), context=48)
    groups = [
        group(str(index), prompt_of(*parts, [1]), paths, scope=scope)
        for index, (parts, paths, scope) in enumerate(asked)
        if len(prompt_of(*parts)) <= 40
    ]
    events = []
    for asked_group in groups:
        engine.handle(Submit(group=asked_group))
        for _ in range(late):
            engine.step()
    events += drain(engine)
    seen = Seen(events)
    assert not seen.failed
    assert seen.tokens == {key: value for g in groups for key, value in wanted(g).items()}
    assert engine.scheduler.memory.used == 0


@given(PARTS, st.integers(0, 50), st.integers(1, 20), st.integers(0, 8))
def test_what_is_read_splits_no_image_and_goes_as_far_as_it_can(parts, start, count, most) -> None:
    images = images_of(prompt_of(*parts), b"")
    if image_around(images, start):
        return
    read = unsplit(images, start, count, most)
    assert image_around(images, start + read) is None
    assert read <= max(count, most)
    if read < count:
        split = image_around(images, start + count)
        assert split is not None
        assert read == split.start - start
        assert read > 0 or split.end - start > most


@given(PARTS, PARTS, st.integers(0, 9))
def test_pages_say_the_same_of_images_only_when_they_show_the_same(parts, others, page) -> None:
    first, second = prompt_of(*parts), prompt_of(*others)
    start, end = 4 * page, 4 * page + 4
    shown = [seen_by_model(p.token_ids(), images_of(p, b""))[start:end] for p in (first, second)]
    said = [
        (p.token_ids()[start:end], page_content(images_of(p, b""), start, end))
        for p in (first, second)
    ]
    if len(shown[0]) == len(shown[1]) == 4:
        assert (said[0] == said[1]) == (shown[0] == shown[1])


def test_scopes_share_no_soft_tokens() -> None:
    prompt = prompt_of([1], picture(0), [2])
    keys = {images_of(prompt, scope)[0].key for scope in (b"", b"one", b"two")}
    assert len(keys) == 3


@given(st.integers(1, 4), st.lists(st.lists(st.integers(0, 6), max_size=4), max_size=12))
def test_slots_keep_what_was_wanted_last_and_never_displace_what_a_step_reads(count, steps):
    slots = Slots(count)
    held: dict[int, bytes] = {}
    recent: list[bytes] = []
    for numbers in steps:
        keys = [bytes([n]) for n in numbers][:count]
        before = set(recent)
        placed = slots.place(keys)
        for key, slot in placed.items():
            held[slot] = key
        assert set(placed) == set(keys) - before
        assert all(held[slots[key]] == key for key in keys)
        assert len(slots) <= count
        wanted = list(dict.fromkeys(keys))
        found = [key for key in wanted if key not in placed]
        recent = [*(key for key in recent if key not in keys), *found, *placed][-count:]
        assert set(held.values()) == set(recent)
    assert slots.queries == sum(len(numbers[:count]) for numbers in steps)
    assert slots.hits <= slots.queries
