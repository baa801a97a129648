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


def setup_of(policy: RoutingPolicy, served: Served, settings: Settings) -> Setup:
    """Raises ApiError for a policy that this server cannot run."""
    probes = [_probe(text, policy, served, settings) for text in _PROBES]
    sampling = probes[0].question.path_sampling
    return Setup(
        model=served.card.name,
        weights=served.card.fingerprint,
        quantization=served.card.quantization,
        dtype=served.card.dtype,
        template=_digest(served, probes),
        answer=policy.answer.model_dump(mode="json"),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        path_tokens=sampling.max_tokens,
        direct_tokens=probes[0].question.direct_sampling.max_tokens,
    )


def _probe(text: str, policy: RoutingPolicy, served: Served, settings: Settings) -> RoutedPlan:
    message = ChatMessage(role="user", content=text)
    ask = Ask(model=served.card.name, input=Chat((message,)), routing=policy)
    return plan_routed(ask, policy, served, settings)


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
