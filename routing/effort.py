"""How much effort to put into a question, as a word: how many paths it polls."""

from routing.policy import RoutingPolicy

EFFORT_PATHS = {"minimal": 4, "low": 8, "medium": 16, "high": 32, "xhigh": 64, "max": 64}


def with_effort(policy: RoutingPolicy, effort: str | None, most: int) -> RoutingPolicy:
    """The policy with the k of an effort, at most `most`; a k or min_votes that was given stays."""
    paths = EFFORT_PATHS.get(effort or "")
    if paths is None or policy.model_fields_set & {"k", "min_votes"}:
        return policy
    return policy.model_copy(update={"k": min(paths, most)})


def with_tokens(policy: RoutingPolicy, tokens: int | None) -> RoutingPolicy:
    """The policy with so many tokens to spend; a bound of them that was given stays."""
    if tokens is None or policy.budget.tokens is not None:
        return policy
    return policy.model_copy(update={"budget": policy.budget.model_copy(update={"tokens": tokens})})
