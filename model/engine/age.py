"""Who gives pages up to whom: the younger to the older.

Order of age: groups by arrival, in a group the trunk, then its paths by start. A trunk that nobody
runs on gives way to everybody; one that is held, once it is complete, to nobody.
"""

from collections.abc import Iterable

from model.engine.sequences import GroupState, Path, Sequence

IDLE = float("inf")
"""The arrival, in terms of age, of a group that runs nothing."""
BEFORE_IDLE = (IDLE, -1)

Age = tuple[float, int]


def age(sequence: Sequence, group: GroupState) -> Age:
    """Larger is younger."""
    if isinstance(sequence, Path):
        return group.arrival, sequence.started
    return (IDLE if group.idle else group.arrival), 0


def youngest(groups: Iterable[GroupState], than: Age) -> Sequence | None:
    """The youngest sequence that has pages to give and is younger than the asking one."""
    candidates = [
        (age(sequence, group), sequence)
        for group in groups
        if not group.held
        for sequence in (group.trunk, *group.paths.values())
        if any(sequence.tables.tables)
    ]
    oldest_yet: tuple[Age, Sequence | None] = ((-1.0, -1), None)
    found, victim = max(candidates, key=lambda item: item[0], default=oldest_yet)
    return victim if found > than else None
