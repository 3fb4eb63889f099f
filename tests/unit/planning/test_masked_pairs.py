"""What the plan says of masks: counted pair by pair on the run's own samples."""

import json
from pathlib import Path

import numpy as np
import pytest
from recipes import tiny, write

from apollo_ds.__main__ import main
from apollo_ds.config.recipe import Recipe
from apollo_ds.data.token_stream import TokenStream
from apollo_ds.planning.masks import in_words, left_by_masks


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return tiny("gpt2", tmp_path / "run", document_mask=True)


def test_the_share_is_that_of_the_pairs_in_the_run_s_first_samples(recipe: Recipe) -> None:
    found = left_by_masks(recipe)["documents"]
    samples, length = found["samples"], recipe.seq_len
    stream = TokenStream(recipe.data, "train", length, recipe.seed)
    documents = stream.documents(np.arange(samples) * length, length)
    pairs = [row[i] == row[j] for row in documents for i in range(length) for j in range(length) if i != j]
    assert found["seen"] == pytest.approx(sum(pairs) / len(pairs))
    assert found["pieces_per_sample"] == sum(len(set(row)) for row in documents.tolist()) / samples
    assert 0.5 < found["seen"] < 1


def test_it_is_a_line_of_the_plan_and_of_its_json(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(recipe, recipe.out.parent / "recipe.yaml")
    found = left_by_masks(recipe)
    main(["plan", path])
    assert " ".join(in_words(found).split()) in " ".join(capsys.readouterr().out.split())
    main(["plan", path, "--json"])
    assert json.loads(capsys.readouterr().out).items() >= found.items()


def test_a_model_without_local_layers_has_no_windows(tmp_path: Path) -> None:
    model = {**tiny("modernbert", "unused").model.model_dump(), "global_attention_every": 1}
    assert left_by_masks(tiny("modernbert", tmp_path / "run", model=model)) == {}


@pytest.mark.parametrize("parted", [False, True])
def test_windows_are_counted_within_documents(parted: bool, tmp_path: Path) -> None:
    recipe = tiny("modernbert", tmp_path / "run", document_mask=parted)
    found, length = left_by_masks(recipe), recipe.seq_len
    assert ("documents" in found) == parted
    samples = found["documents"]["samples"] if parted else 1
    stream = TokenStream(recipe.data, "train", length, recipe.seed)
    documents = stream.documents(np.arange(samples) * length, length) if parted else np.zeros((1, length))
    near = [
        row[i] == row[j] and abs(i - j) <= 4
        for row in documents
        for i in range(length)
        for j in range(length)
        if i != j
    ]
    assert found["windows"] == {"sliding_attention": pytest.approx(sum(near) / len(near))}
    assert "Windows: in layers of sliding_attention a token sees" in in_words(found)


@pytest.mark.parametrize("changes", [{"document_mask": False}, {"data": "nowhere"}], ids=["no mask", "no text"])
def test_without_a_mask_or_a_text_nothing_is_said(changes: dict[str, object], tmp_path: Path) -> None:
    assert left_by_masks(tiny("gpt2", tmp_path / "run", **{"document_mask": True, **changes})) == {}
