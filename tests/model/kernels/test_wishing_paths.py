"""Wishes through the whole engine with the compiled kernels: all that holds without them."""

import pytest

from model.kernels.library import load_kernels
from tests.model.engine.test_parity import Loaded
from tests.model.engine.test_wishing_paths import (  # noqa: F401
    logits,
    test_a_path_is_the_same_alone_and_among_paths_with_wishes,
    test_a_penalised_path_goes_on_elsewhere_from_the_tokens_it_delivered,
    test_alternatives_and_prompt_scores_are_the_models_own,
    test_greedy_paths_take_the_likeliest_token_of_their_adjusted_logits,
)

pytestmark = pytest.mark.skipif(load_kernels() is None, reason="no C++ compiler here")


@pytest.fixture(scope="module")
def loaded(parity_fixtures) -> Loaded:
    found = Loaded(parity_fixtures / "llama", kernels="auto")
    found.runner.warm_up()
    return found
