"""A container's limit is the memory there is."""

from model.engine.host import host_memory


def test_the_least_of_machine_and_control_groups_counts(tmp_path):
    machine = host_memory(())
    small, word = tmp_path / "small", tmp_path / "max"
    small.write_text("1048576\n")
    word.write_text("max\n")
    assert machine > 2**20
    assert host_memory((small, word, tmp_path / "absent")) == 2**20
    assert host_memory((word,)) == machine
