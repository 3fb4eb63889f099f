"""Text files damaged at random: shards hold what another reader finds there, or one sentence says why not."""

from pathlib import Path

from text_mutations import is_wrong, mutate


def test_damaged_files_are_read_as_they_are_or_named(tmp_path: Path) -> None:
    mutations = mutate(tmp_path, count=5, seed=7)
    assert not [str(one) for one in mutations if is_wrong(one)]
    assert len({one.outcome for one in mutations}) == 2
