"""From a study to the artefact that a server loads."""

import datetime

from routing.calibration.artefact import VERSION, Artefact, Guarantee, named
from routing.calibration.guarantee import statement
from routing.calibration.setup import Setup
from routing.calibration.study import Study


def artefact(study: Study, setup: Setup, created: datetime.datetime) -> Artefact:
    adopted, bound = study.adopted, study.bound
    unnamed = Artefact(
        version=VERSION,
        id="",
        created=created.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        setup=setup,
        arm=study.comparison.arm,
        k=adopted.k,
        min_votes=adopted.min_votes,
        tau=f"{adopted.min_votes - 1}/{adopted.k}",
        guarantee=None
        if bound is None
        else Guarantee(
            alpha=bound.upper,
            confidence=1 - study.aims.delta,
            min_votes=bound.m,
            routed=bound.routed,
            errors=bound.errors,
            statement=statement(bound.upper, study.aims.delta),
        ),
        k_max=study.k_max,
        consensus=list(study.histogram),
        consensus_k_max=list(study.histogram_k_max),
        invalid_rate=study.invalid_rate,
        questions=study.questions,
        reported=study.reporting,
    )
    return named(unnamed)
