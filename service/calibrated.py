"""A calibration in force: what it says for requests that leave it open, and whom it speaks for."""

from collections.abc import Sequence

import msgspec

from model.contract import SamplingParams
from model.text.language import ChatMessage
from routing.calibration.artefact import Artefact, refusals
from routing.calibration.drift import ConsensusDrift
from routing.calibration.setup import Setup
from routing.policy import Budget, RoutingPolicy
from service.api.internal import Ask, Chat
from service.api.planning import Served
from service.api.routed import RoutedPlan
from service.api.setups import probe, setup_of
from service.errors import ApiError
from service.settings import Settings

MAX_REMEMBERED = 64


class Calibration:
    """An artefact, applied. Setups of policies that were seen are remembered."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        self.policy = RoutingPolicy.model_validate(
            {
                "k": artefact.k,
                "min_votes": artefact.min_votes,
                "answer": artefact.setup.answer,
                "temperature": artefact.setup.temperature,
                "top_p": artefact.setup.top_p,
                "max_tokens": artefact.setup.path_tokens,
                "constrain": artefact.setup.constrain,
            }
        )
        self._seen: dict[tuple[str, str], tuple[Setup, SamplingParams]] = {}

    @property
    def id(self) -> str:
        return self.artefact.id

    def drift(self) -> ConsensusDrift:
        """A fresh watch over the consensus, against the calibration's own."""
        return ConsensusDrift(self.artefact.consensus, self.artefact.questions)

    def refusals(self, served: Served, settings: Settings) -> list[str]:
        """Why it does not speak of this server, one reason per item; empty when it does."""
        try:
            here = setup_of(self.policy, served, settings, system=self.artefact.setup.system)
        except ApiError as error:
            return [str(error)]
        return refusals(self.artefact, here)

    def complete(self, asked: RoutingPolicy) -> RoutingPolicy:
        """The policy with what the caller left open as it was calibrated."""
        given = asked.model_fields_set
        mine = self.policy.model_dump(exclude_unset=True, by_alias=True)
        if given & {"k", "tau", "min_votes"}:
            mine.pop("k")
            mine.pop("min_votes")
        return RoutingPolicy.model_validate(
            {**mine, **asked.model_dump(exclude_unset=True, by_alias=True)}
        )

    def covers(self, ask: Ask, plan: RoutedPlan, served: Served, settings: Settings) -> bool:
        """Whether this very question runs as the calibration's questions ran."""
        policy, artefact = plan.policy, self.artefact
        if (policy.k, policy.threshold) != (artefact.k, artefact.min_votes):
            return False
        if policy.plan == "lossy" or policy.weighting is not None or policy.budget != Budget():
            return False
        assert isinstance(ask.input, Chat)
        if not _same_turns(ask.input.messages, artefact.setup.system):
            return False
        setup, sampling = self._run_as(policy, served, settings)
        return setup.digest == artefact.setup.digest and sampling == _comparable(plan)

    def _run_as(
        self, policy: RoutingPolicy, served: Served, settings: Settings
    ) -> tuple[Setup, SamplingParams]:
        """The setup of a policy on this model, and how its paths are sampled."""
        key = (policy.model_dump_json(exclude={"seed"}), served.card.fingerprint)
        found = self._seen.get(key)
        if found is None:
            system = self.artefact.setup.system
            setup = setup_of(policy, served, settings, system=system)
            found = (setup, _comparable(probe(policy, served, settings, system=system)))
            if len(self._seen) >= MAX_REMEMBERED:
                self._seen.clear()
            self._seen[key] = found
        return found


def _comparable(plan: RoutedPlan) -> SamplingParams:
    # A constraint is made from the question; whether there is one belongs to the setup.
    return msgspec.structs.replace(plan.question.path_sampling, seed=0, constraint=None)


def _same_turns(messages: Sequence[ChatMessage], system: str) -> bool:
    """One question, after the calibration's system message if it had one."""
    *before, last = messages
    if last.role != "user" or any(message.role != "system" for message in before):
        return False
    return "\n".join(message.content for message in before) == system
