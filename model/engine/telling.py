"""What a group's events say of its prompt, each once: that it began, its scores, that it is held.

All take the group and the time on the worker's clock, and return what is to be told now.
"""

from model.contract import Event, GroupStarted, PrefixHeld, PromptScored, TokenLogprob
from model.engine.sequences import GroupState


def begun(state: GroupState, now: float) -> list[Event]:
    if state.announced:
        return []
    state.announced = True
    return [
        GroupStarted(
            group_id=state.id,
            prompt_tokens=len(state.group.prompt),
            cached_tokens=state.trunk.cached,
            queued_s=now - state.submitted_at,
        )
    ]


def held(state: GroupState, now: float) -> list[Event]:
    """Of what is complete now, or will be before any later step reads it."""
    if not state.held or state.told_held:
        return []
    state.told_held = True
    return [*begun(state, now), PrefixHeld(group_id=state.id, tokens=state.trunk.computed)]


def scored(state: GroupState, now: float) -> list[Event]:
    """The prompt's scores go out once all are there."""
    wanted, scores = state.group.prompt_logprobs, state.trunk.scores
    if wanted is None or state.scored or len(scores) < state.prompt_length - 1:
        return []
    state.scored = True
    cut = (TokenLogprob(id=s.id, logprob=s.logprob, top=s.top[:wanted]) for s in scores)
    return [*begun(state, now), PromptScored(group_id=state.id, logprobs=tuple(cut))]
