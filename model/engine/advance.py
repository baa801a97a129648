"""From what was sampled to what a path's reader gets: tokens, text, logprobs, its end."""

from collections.abc import Sequence

from model.contract import Finish, PathOutput, SamplingParams, TokenLogprob
from model.engine.guide import Guide
from model.engine.plan import Output, RowResult
from model.engine.scheduler import Scheduler
from model.engine.sequences import Path, Stage


def guides_of(outputs: Sequence[Output]) -> dict[int, Guide]:
    """Of the outputs whose next token needs a mask."""
    return {
        row: output.path.guide
        for row, output in enumerate(outputs)
        if output.path is not None and output.path.guide is not None and output.path.steered
    }


def place(scheduler: Scheduler, output: Output, result: RowResult) -> tuple[int, ...]:
    """The tokens that stand where this one was sampled, known to the scheduler from now on; none
    where it is void or nothing was sampled."""
    path, token = output.path, result.token
    if path is None:
        return ()
    if path.void:
        path.void -= 1
        return ()
    guide = path.guide
    if guide is None or guide.broken or path.stage is Stage.FINISHED:
        scheduler.learn(output, token)
        return (token,)
    was_steered = guide.steered
    tokens = guide.place(token, path.output.would_end(token))
    if tokens == (token,) and guide.steered == was_steered:
        scheduler.learn(output, token)
    else:
        scheduler.redirect(output, tokens)
    return tokens


def advanced(path: Path, tokens: tuple[int, ...], result: RowResult) -> PathOutput:
    """What the path says of these tokens, and whether it ends with one of them."""
    text, finish, count = "", None, 0
    while finish is None and count < len(tokens):
        more, finish = path.output.push(tokens[count])
        text += more
        count += 1
    complete = path.guide is not None and path.guide.complete
    if complete and (finish is None or finish.reason == "length"):
        text += path.output.close()
        finish = Finish(reason="stop")
    return PathOutput(
        group_id=path.group.id,
        path=path.request.index,
        tokens=tokens[:count],
        text=text,
        logprobs=_logprobs(path.request.sampling, tokens[:count], result),
        finish=finish,
    )


def _logprobs(
    sampling: SamplingParams, tokens: tuple[int, ...], result: RowResult
) -> tuple[TokenLogprob, ...]:
    """Of the sampled token as the model gives it, 0 of tokens that were put in."""
    if sampling.logprobs is None and not sampling.certainty:
        return ()
    sampled = TokenLogprob(
        id=result.token,
        logprob=result.logprob,
        top=result.top[: sampling.logprobs or 0],
        certainty=result.certainty,
    )
    return tuple(
        sampled if at == 0 and token == result.token else TokenLogprob(id=token, logprob=0.0)
        for at, token in enumerate(tokens)
    )
