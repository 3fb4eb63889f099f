"""A recipe as YAML for people."""

import yaml
from hypothesis import given
from hypothesis import strategies as st

from apollo_ds.config.commented import commented

plain = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    st.lists(st.integers()),
)
names = st.from_regex(r"[a-z_]{3,12}", fullmatch=True)


@given(st.dictionaries(names, st.one_of(plain, st.dictionaries(names, plain, min_size=1)), min_size=1))
def test_it_holds_the_values(values: dict[str, object]) -> None:
    comments = dict.fromkeys(values, "what it means: 1 # 2")
    assert yaml.safe_load(commented(values, comments, ["one", "two\nthree"])) == values


def test_comments_stand_below_each_other() -> None:
    values = {"model": {"family": "llama"}, "steps": 5, "seed": 1}
    text = commented(values, {"model.family": "its kind", "steps": "of the run"}, ["A heading."])
    assert text.splitlines() == [
        "# A heading.",
        "model:",
        "  family: llama  # its kind",
        "steps: 5         # of the run",
        "seed: 1",
    ]
