"""What a rank holds at a growth and a resume. tests/acceptance/test_billion_parameters.py measures large models."""

from pathlib import Path

from memory import CASES, measure, prepare, recipe_of
from ranks import pool


def test_a_growth_and_a_resume_need_little_more_than_a_rank_s_share(tmp_path: Path) -> None:
    """Pages of files that are mapped would count: then a resume needs two to three times as much as this."""
    case = CASES["gpt-tiny-zero1-2"]
    prepare(tmp_path / "text")
    for phase in ("growth", "resume"):
        for found in pool(2).run(measure, recipe_of(case, phase, tmp_path, 2), phase):
            assert found["peak"] < found["allowed"], (phase, found)
    saved = sum(path.stat().st_size for path in tmp_path.glob("run/checkpoints/step-*/rank-*"))
    assert found["read"] < 2.05 * saved
