"""What the host says of rows that wish for something, against a recount of their tokens."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import InvalidParameter, SamplingParams
from model.engine import wishes as module
from model.engine.plan import Chunk, Output
from model.engine.wishes import TokenCounts, Wishes, WishFiller, penalty_entries
from tests.model.engine.wishing import Story, bits

VOCAB = 64
EOS = (62, 63)

tokens = st.integers(1, VOCAB - 1)


def recount(wishes: Wishes, stories: list[Story]) -> list[tuple[Counter, set]]:
    """As the device counts: the entries, and each row's newest token."""
    generated = [Counter() for _ in stories]
    in_prompt: list[set[int]] = [set() for _ in stories]
    seen = set()
    for entries in penalty_entries(wishes.held, range(4), VOCAB):
        for owner, token, count, prompt in zip(*entries, strict=True):
            if token == VOCAB:
                continue
            assert (owner, token) not in seen, "a token twice in a row"
            seen.add((owner, token))
            generated[owner][int(token)] += int(count)
            if prompt:
                in_prompt[owner].add(int(token))
    for row, story in enumerate(stories):
        if wishes.rows.input_is_output[row]:
            generated[row][story.newest] += 1
        else:
            in_prompt[row].add(story.newest)
    return [(+counter, held) for counter, held in zip(generated, in_prompt, strict=True)]


@given(
    prompt=st.lists(tokens, min_size=1, max_size=12),
    suffix=st.lists(tokens, max_size=4),
    earlier=st.lists(tokens, max_size=6),
    later=st.lists(tokens, max_size=30),
    room=st.sampled_from([4, 16, 4096]),
)
@settings(deadline=None)
def test_host_counts_and_the_newest_token_make_the_counts_of_all_tokens(
    prompt, suffix, earlier, later, room
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PENALTY_ENTRIES", room)
        filler = WishFiller(VOCAB, EOS)
        stories = [
            Story(prompt, suffix, earlier, repetition_penalty=1.5, presence_penalty=0.5),
            Story(prompt[::-1], suffix, (), repetition_penalty=0.5),
        ]
        for token in (*later, 1):
            wishes = filler.fill([story.output() for story in stories], 4)
            assert wishes is not None
            parts = penalty_entries(wishes.held, range(4), VOCAB)
            assert all(len(values) == room for part in parts for values in part)
            for (generated, held), story in zip(recount(wishes, stories), stories, strict=True):
                assert generated == Counter(story.generated)
                assert held | generated.keys() == {*story.held, *story.generated}
            for story in stories:
                story.goes_on(token)


def test_without_a_repetition_penalty_the_prompt_is_not_sent():
    story = Story([1, 2, 3, 2], frequency_penalty=0.5)
    filler = WishFiller(VOCAB, EOS)
    assert len(filler.fill([story.output()], 1).held[0].ids) == 0
    for token in (7, 8, 7, 9):
        story.goes_on(token)
    held = filler.fill([story.output()], 1).held[0]
    assert held.ids.tolist() == [7, 8]
    assert held.counts.tolist() == [2, 1]
    assert not held.in_prompt.any()


def test_a_token_is_counted_once_however_many_steps_there_are(monkeypatch):
    story = Story([1] * 50, repetition_penalty=2.0)
    filler = WishFiller(VOCAB, EOS)
    taken = []
    advance = TokenCounts.advance

    def count(self, tokens, end):
        before = self.end
        advance(self, tokens, end)
        taken.append(self.end - before)

    monkeypatch.setattr(TokenCounts, "advance", count)
    for token in range(1, 40):
        filler.fill([story.output()], 1)
        story.goes_on(token)
    assert max(taken) == 1
    assert sum(taken) == 37


def test_who_asks_nothing_costs_nothing():
    filler = WishFiller(VOCAB, EOS)
    plain = Story([1, 2], temperature=0.5, top_k=3, top_p=0.5, min_p=0.1, seed=3)
    # Their own logprob is there anyway; so many tokens are there already.
    chosen = Story([1, 2], logprobs=0)
    enough = Story([1, 2], generated=[5, 6], min_tokens=2, ignore_eos=False)
    endless = Story([1, 2], min_tokens=5)
    outputs = [story.output() for story in (plain, chosen, enough, endless)]
    scored = Output(Chunk(plain.path.group.trunk, 0, 1), 0, trunk=plain.path.group.trunk, target=5)
    assert filler.fill([*outputs, scored], 8) is None
    assert filler.fill([], 8) is None
    plain.path.group.trunk.alternatives = 3
    wishes = filler.fill([*outputs, scored], 8)
    assert wishes.rows.top.tolist() == [0, 0, 0, 0, 3, 0, 0, 0]
    assert not wishes.rows.again.any()


def test_ends_are_forbidden_before_min_tokens_counted_with_the_one_on_its_way():
    filler = WishFiller(VOCAB, EOS)
    story = Story([1, 2], min_tokens=2, stop_ids=(9,), ignore_eos=False, logit_bias=((9, 5.0),))
    for generated in range(4):
        rows = filler.fill([story.output()], 1).rows
        biases = dict(zip(rows.bias_ids[0].tolist(), rows.bias[0].tolist(), strict=True))
        biases.pop(-1)
        if generated < 2:
            assert biases.keys() == {9, *EOS}
            assert max(biases.values()) < -1e8
        else:
            assert biases == {9: 5.0}
        story.goes_on(20)


def test_biases_of_one_token_add_up_and_all_that_a_contract_allows_fit():
    most = tuple((token % 300, 1.0) for token in range(300))
    story = Story([1], logit_bias=most, min_tokens=1, stop_ids=range(300, 316), ignore_eos=False)
    rows = WishFiller(512, (400, 401, 402)).fill([story.output()], 1).rows
    assert (rows.bias_ids >= 0).sum() == 300 + 16 + 3
    twice = Story([1], logit_bias=((3, 1.5), (3, 2.0)))
    rows = WishFiller(512, ()).fill([twice.output()], 1).rows
    assert rows.bias_ids[0, :2].tolist() == [3, -1]
    assert rows.bias[0, 0] == 3.5


def test_masks_are_sent_only_when_there_are_some():
    filler = WishFiller(VOCAB, EOS)
    outputs = [Story([1]).output(), Story([2], logprobs=2).output()]
    assert filler.fill(outputs, 4).allowed is None
    wishes = filler.fill(outputs, 4, {0: bits([3, 33], VOCAB)})
    assert wishes.allowed.shape == (4, 2)
    assert wishes.allowed[0].tolist() == [1 << 3, 1 << 1]
    assert wishes.rows.masked.tolist() == wishes.rows.again.tolist() == [True, False, False, False]


def test_counts_are_forgotten_with_their_path():
    filler = WishFiller(VOCAB, EOS)
    story = Story([1], presence_penalty=1.0)
    filler.fill([story.output()], 1)
    assert len(filler._counts) == 1
    del story
    assert len(filler._counts) == 0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("presence_penalty", [-2.1, 2.1, float("nan"), float("inf")]),
        ("frequency_penalty", [-2.1, 2.1, float("nan"), float("-inf")]),
        ("repetition_penalty", [0.0, -1.0, 10.5, float("nan"), float("inf")]),
    ],
)
def test_penalties_out_of_their_range_are_no_sampling(name, values):
    for value in values:
        with pytest.raises(InvalidParameter) as caught:
            SamplingParams(max_tokens=1, **{name: value})
        assert caught.value.param == name
    assert SamplingParams(max_tokens=1, **{name: 2.0}).penalises
    assert not SamplingParams(max_tokens=1).penalises
