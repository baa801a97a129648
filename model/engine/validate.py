"""What a group must satisfy before an engine takes it. Raises InvalidParameter otherwise."""

from collections.abc import Collection, Sequence

from model.contract import (
    MAX_LOGPROBS,
    MAX_NEAR_CHARS,
    MAX_PATHS,
    MAX_SCOPE_CHARS,
    Group,
    InvalidParameter,
    PathRequest,
)
from model.engine.images import check_media
from model.spec import VisionSpec


def check_group(
    group: Group, context: int, vocab_size: int, vision: VisionSpec | None = None
) -> None:
    """vision: of the model, where it takes images."""
    check_media(group, vision)
    ids = group.prompt.token_ids()
    if not ids:
        raise InvalidParameter("prompt", "the prompt has no tokens")
    _check_ids("prompt", ids, vocab_size)
    if len(ids) > context:
        raise InvalidParameter(
            "prompt", f"the prompt has {len(ids)} tokens, the context holds {context}"
        )
    if group.prompt_logprobs is not None and not 0 <= group.prompt_logprobs <= MAX_LOGPROBS:
        raise InvalidParameter("prompt_logprobs", f"prompt_logprobs is at most {MAX_LOGPROBS}")
    if group.deadline_s is not None and not group.deadline_s > 0:
        raise InvalidParameter("deadline_s", "the deadline has passed")
    if len(group.scope) > MAX_SCOPE_CHARS:
        raise InvalidParameter("scope", f"a scope has at most {MAX_SCOPE_CHARS} characters")
    if len(group.near) > MAX_NEAR_CHARS:
        raise InvalidParameter("near", f"near has at most {MAX_NEAR_CHARS} characters")
    if group.hold and (group.paths or not group.open or group.prompt_logprobs is not None):
        raise InvalidParameter("hold", "a hold is an open group without paths or scores")
    if group.embed and (group.paths or group.open or group.prompt_logprobs is not None):
        raise InvalidParameter("embed", "an embedding has no paths and no scores")
    if not group.paths and not group.open and not group.embed:
        raise InvalidParameter("paths", "a group needs at least one path")
    check_paths(group.paths, (), len(ids), context, vocab_size)


def check_paths(
    paths: Sequence[PathRequest],
    taken: Collection[int],
    prompt_length: int,
    context: int,
    vocab_size: int,
) -> None:
    if len(paths) + len(taken) > MAX_PATHS:
        raise InvalidParameter("paths", f"at most {MAX_PATHS} paths a group")
    seen = set(taken)
    for path in paths:
        if path.index in seen:
            raise InvalidParameter("paths", f"path {path.index} is given twice")
        seen.add(path.index)
        sampling = path.sampling
        _check_ids("suffix", path.suffix, vocab_size)
        _check_ids("generated", path.generated, vocab_size)
        _check_ids("stop_token_ids", sampling.stop_ids, vocab_size)
        _check_ids("logit_bias", [token for token, _ in sampling.logit_bias], vocab_size)
        if sampling.constraint is not None:
            _check_ids("constraint", sampling.constraint.closing, vocab_size)
        total = prompt_length + len(path.suffix) + sampling.max_tokens
        if total > context:
            raise InvalidParameter(
                "max_tokens",
                f"{prompt_length + len(path.suffix)} prompt tokens and {sampling.max_tokens} new "
                f"ones exceed the context of {context}",
            )


def _check_ids(param: str, ids: Sequence[int], vocab_size: int) -> None:
    if ids and not (min(ids) >= 0 and max(ids) < vocab_size):
        raise InvalidParameter(param, f"a token id is outside the vocabulary of {vocab_size}")
