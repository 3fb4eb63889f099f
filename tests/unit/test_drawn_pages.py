"""The pictures of the pages: they show what the code says today, and their letters can be read."""

import pytest
from draw import DOCS, PICTURES, picture
from pictures import assert_readable
from PIL import Image


@pytest.mark.parametrize("name", PICTURES)
def test_a_committed_picture_shows_what_the_code_says_today(name: str) -> None:
    figure, says = picture(name)
    assert Image.open(DOCS / PICTURES[name]).text["Description"] == says, "draw it anew: make pictures"
    assert_readable(figure)
