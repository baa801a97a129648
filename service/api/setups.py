"""The exact configuration under which a routed question runs, to compare with a calibration's."""

import hashlib

import msgspec

from model.text.language import ChatMessage
from routing.calibration.setup import Setup
from routing.policy import RoutingPolicy
from service.api.internal import Ask, Chat
from service.api.planning import Served
from service.api.routed import RoutedPlan, plan_routed
from service.settings import Settings

# Different enough that a change of a template, an instruction or a worked question shows.
_PROBES = ("How many legs have 3 cats?", "Which is a fruit?\nA) oak\nB) pear\nC) rose")


def setup_of(
    policy: RoutingPolicy, served: Served, settings: Settings, *, system: str = ""
) -> Setup:
    """system: the message before every question. Raises ApiError for a policy that this server
    cannot run."""
    probes = [probe(policy, served, settings, system=system, text=text) for text in _PROBES]
    sampling = probes[0].question.path_sampling
    return Setup(
        model=served.card.name,
        weights=served.card.fingerprint,
        quantization=served.card.quantization,
        dtype=served.card.dtype,
        template=_digest(served, probes),
        answer=policy.answer.model_dump(mode="json", by_alias=True),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        path_tokens=sampling.max_tokens,
        direct_tokens=probes[0].question.direct_sampling.max_tokens,
        system=system,
        constrain=policy.constrain,
    )


def probe(
    policy: RoutingPolicy,
    served: Served,
    settings: Settings,
    *,
    system: str = "",
    text: str = _PROBES[0],
) -> RoutedPlan:
    """A short question as this policy would run it. Raises ApiError."""
    ask = Ask(model=served.card.name, input=Chat(conversation(text, system)), routing=policy)
    return plan_routed(ask, policy, served, settings)


def conversation(text: str, system: str) -> tuple[ChatMessage, ...]:
    before = (ChatMessage(role="system", content=system),) if system else ()
    return (*before, ChatMessage(role="user", content=text))


def _digest(served: Served, probes: list[RoutedPlan]) -> str:
    """sha256, in hex, of the tokens and stop strings of the probes, and of the tokenizer."""
    tokens = [
        [
            probe.question.direct.token_ids(),
            probe.question.direct_sampling.stop,
            probe.question.reasoned.token_ids(),
            probe.question.path_sampling.stop,
        ]
        for probe in probes
    ]
    return hashlib.sha256(msgspec.json.encode([served.card.tokenizer, tokens])).hexdigest()
