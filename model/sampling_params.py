"""How one path is sampled, and what its text must look like. Part of `model.contract`."""

from model.records import InvalidParameter, Record, require

MAX_STOP_STRINGS = 16
MAX_STOP_STRING_CHARS = 256
MAX_STOP_IDS = 16
MAX_LOGPROBS = 20
MAX_LOGIT_BIAS = 300
MAX_REPETITION_PENALTY = 10
MAX_SEED = 2**63 - 1
MAX_GRAMMAR_BYTES = 64 * 1024
MAX_MARKER_BYTES = 256
MAX_CLOSING = 64


class Constraint(Record, frozen=True):
    """What a path's text must look like, by one of a regex, a JSON schema and a grammar; or, with
    none of them, when a part of it that is free must have ended.

    regex: the whole text, in the syntax of Rust's regex crate without anchors and look-around.
    json_schema: JSON text of a schema; the answer is written with ", " and ": " and no other
    space between its parts. lark: a context-free grammar in llguidance's variant of Lark.
    after: the constraint begins once the generated text contains this marker; before that the
    path is free. None: it holds from the first token.
    closing: tokens that lead to the constraint where the free part does not. They are put in place
    of the token that would end the path before the marker came (an end of sequence, a stop id, the
    end of a stop string), and behind the token with which only `reserve` of max_tokens are left.
    Their text must contain the marker. Without a grammar the path is free again behind the marker:
    so a part that ends with a mark, such as reasoning, has at most max_tokens - reserve tokens.
    reserve: tokens kept for `closing` and the constrained
    part, 0 is none; as much as max_tokens or more forces the closing after the first token.

    A token that carries the marker's end and something that the constraint does not allow is
    replaced by tokens for its part up to the marker. Tokens that were put in count as generated,
    are text like others, and have logprob 0 and no alternatives: nothing was chosen there.

    When nothing can follow the constrained text, or the path samples an end of sequence or a
    stop id where the text may end, the path ends with "stop", whatever min_tokens and ignore_eos
    say. Stop strings hold inside the constrained part, too, and may cut it short. "length" says
    that it is not complete: max_tokens came first, or no token of the vocabulary could go on.

    Raises InvalidParameter; what a grammar says is checked by the worker, which fails the group.
    """

    regex: str | None = None
    json_schema: str | None = None
    lark: str | None = None
    after: str | None = None
    closing: tuple[int, ...] = ()
    reserve: int = 0

    def __post_init__(self) -> None:
        given = [text for text in (self.regex, self.json_schema, self.lark) if text is not None]
        _require(
            len(given) == 1 or (not given and bool(self.closing)),
            "a constraint is one of regex, json_schema and lark, or a closing alone",
        )
        _require(
            not given or _utf8_length(given[0]) <= MAX_GRAMMAR_BYTES,
            f"a constraint may have at most {MAX_GRAMMAR_BYTES} bytes",
        )
        _require(
            self.after is None or 0 < _utf8_length(self.after) <= MAX_MARKER_BYTES,
            f"after must have 1 to {MAX_MARKER_BYTES} bytes",
        )
        _require(len(self.closing) <= MAX_CLOSING, f"closing has at most {MAX_CLOSING} tokens")
        _require(not self.closing or self.after is not None, "closing needs a marker to lead to")
        _require(self.reserve == 0 or bool(self.closing), "reserve is for a closing")
        _require(
            self.reserve == 0 or self.reserve > len(self.closing),
            "reserve must be 0 or more than closing takes",
        )

    @property
    def grammar(self) -> tuple[str, str] | None:
        """Its kind ("regex", "json_schema" or "lark") and its text; None where there is none."""
        for kind in ("regex", "json_schema", "lark"):
            text: str | None = getattr(self, kind)
            if text is not None:
                return kind, text
        return None


def _require(condition: bool, message: str) -> None:
    require(condition, "constraint", message)


def _utf8_length(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidParameter("constraint", "a constraint must be well-formed text") from None


class SamplingParams(Record, frozen=True):
    """How one path is sampled and when it ends.

    temperature: 0 is greedy. top_k: 0 is off. logprobs: None is none, n >= 0 returns the chosen
    token's and the n likeliest, of the model's own distribution (before penalties, bias,
    temperature and filters).
    seed: the path's tokens are a function of (logits, seed, position, constraint) alone.
    stop: strings that end the path; they and what follows are not in its text.
    min_tokens: no end-of-sequence, stop id or stop string takes effect before so many tokens.
    presence_penalty, frequency_penalty: taken off the logit of a token that the path generated,
    the one once, the other times its count. repetition_penalty: the logit of a token that the
    prompt or the path holds is divided by it if positive, multiplied by it if not; 1 is off.
    Penalties come first, then logit_bias is added, then temperature and filters.
    constraint: what the path's text must look like; a mask comes after all else. certainty: each
    sampled token says how far its distribution was from uniform (TokenLogprob.certainty).

    Raises InvalidParameter when a value is out of range.
    """

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    constraint: Constraint | None = None
    certainty: bool = False

    def __post_init__(self) -> None:
        require(self.max_tokens >= 0, "max_tokens", "max_tokens must not be negative")
        # NaN fails every comparison, so each bound is written to be false for it.
        require(0 <= self.temperature <= 100, "temperature", "temperature must be in [0, 100]")
        require(0 <= self.top_k <= 2**31 - 1, "top_k", "top_k must be 0 (off) or positive")
        require(0 < self.top_p <= 1, "top_p", "top_p must be in (0, 1]")
        require(0 <= self.min_p <= 1, "min_p", "min_p must be in [0, 1]")
        require(0 <= self.seed <= MAX_SEED, "seed", f"seed must be in [0, {MAX_SEED}]")
        require(self.min_tokens >= 0, "min_tokens", "min_tokens must not be negative")
        require(
            self.min_tokens <= self.max_tokens,
            "min_tokens",
            "min_tokens must not exceed max_tokens",
        )
        require(
            len(self.stop) <= MAX_STOP_STRINGS,
            "stop",
            f"at most {MAX_STOP_STRINGS} stop strings",
        )
        for text in self.stop:
            require(
                0 < len(text) <= MAX_STOP_STRING_CHARS,
                "stop",
                f"a stop string must have 1 to {MAX_STOP_STRING_CHARS} characters",
            )
        require(
            len(self.stop_ids) <= MAX_STOP_IDS,
            "stop_ids",
            f"at most {MAX_STOP_IDS} stop token ids",
        )
        require(
            self.logprobs is None or 0 <= self.logprobs <= MAX_LOGPROBS,
            "logprobs",
            f"logprobs must be in [0, {MAX_LOGPROBS}]",
        )
        require(
            len(self.logit_bias) <= MAX_LOGIT_BIAS,
            "logit_bias",
            f"at most {MAX_LOGIT_BIAS} logit biases",
        )
        for _, bias in self.logit_bias:
            require(-100 <= bias <= 100, "logit_bias", "a logit bias must be in [-100, 100]")
        require(
            -2 <= self.presence_penalty <= 2,
            "presence_penalty",
            "presence_penalty must be in [-2, 2]",
        )
        require(
            -2 <= self.frequency_penalty <= 2,
            "frequency_penalty",
            "frequency_penalty must be in [-2, 2]",
        )
        require(
            0 < self.repetition_penalty <= MAX_REPETITION_PENALTY,
            "repetition_penalty",
            f"repetition_penalty must be in (0, {MAX_REPETITION_PENALTY}]",
        )

    @property
    def penalises(self) -> bool:
        """Whether what was generated before changes what is likely next."""
        return bool(self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1)
