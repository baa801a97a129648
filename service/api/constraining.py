"""Texts held to a form that an answer can be read from (`uncertainty_routing.constrain`)."""

from routing.events import Question
from routing.policy import RoutingPolicy
from service.errors import ApiError


def constrained(question: Question, policy: RoutingPolicy) -> Question:
    """The question with the constraint of its direct answer and its paths. Raises ApiError.

    No worker can hold a text to a form yet, so who asks for it is told.
    """
    if policy.constrain:
        raise ApiError(
            "invalid",
            "this server cannot constrain answers: leave constrain out",
            param="uncertainty_routing.constrain",
        )
    return question
