"""Compute how many pairs of tokens see each other under masks, which keep documents apart or cut local windows.

Operations are counted for all pairs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.mixture import Mixture
from apollo_ds.data.text import Text
from apollo_ds.errors import UserError
from apollo_ds.models.families import family_of

_SAMPLES = 256


def left_by_masks(recipe: Recipe) -> dict[str, Any]:
    """The share of token pairs that masks leave in the run's first samples, for `plan --json`. Empty without masks.

    It has the key `documents` if documents do not see each other and the text can be read. If the text cannot be read,
    `check_ready` says why. It has the key `windows` if the family has layers that see only a part of a sample. Their
    share is of the pairs that documents leave.
    """
    if recipe.seq_len == 1:
        return {}
    length, pieces, samples = recipe.seq_len, _pieces(recipe), 1
    found: dict[str, Any] = {}
    if pieces is not None:
        samples = int(pieces.sum()) // length
        found["documents"] = {
            "samples": samples,
            "seq_len": length,
            "pieces_per_sample": len(pieces) / samples,
            "seen": _seen(pieces, None) / (samples * length * (length - 1)),
        }
    whole = np.array([length]) if pieces is None else pieces
    family = family_of(recipe.model)
    kinds = family.attention_types(recipe.model)
    windows = {kind: size for kind, size in family.attention_windows(recipe.model).items() if size and kind in kinds}
    if windows:
        pairs = samples * length * (length - 1)
        found["windows"] = {kind: _seen(whole, size) / pairs for kind, size in windows.items()}
    return found


def in_words(found: dict[str, Any]) -> str:
    """What `left_by_masks` found, as sentences. Empty if it found nothing."""
    sentences = []
    if documents := found.get("documents"):
        sentences.append(
            f"Documents: a token sees {documents['seen']:.0%} of its sample's other tokens; a sample of "
            f"{documents['seq_len']:,} holds {documents['pieces_per_sample']:.1f} documents or parts (means of the "
            f"first {documents['samples']})."
        )
    for kind, seen in found.get("windows", {}).items():
        sentences.append(f"Windows: in layers of {kind} a token sees {seen:.1%} of its sample's other tokens.")
    return "\n".join(sentences)


def _pieces(recipe: Recipe) -> NDArray[np.int64] | None:
    """The lengths of the documents' pieces in the run's first samples, in order. None if the text cannot be read."""
    if not recipe.document_mask:
        return None
    try:
        mixture = Mixture.of(Text.open(recipe.data), recipe.seq_len, recipe.seed)
    except UserError:
        return None
    positions = np.arange(min(_SAMPLES, mixture.blocks)) * recipe.seq_len
    documents = np.empty((len(positions), recipe.seq_len), dtype=np.int64)
    for stream, here, inside in mixture.by_stream(positions):
        documents[here] = stream.documents(inside, recipe.seq_len)
    starts = np.flatnonzero(np.diff(documents, axis=1, prepend=-1))
    return np.diff(starts, append=documents.size)


def _seen(pieces: NDArray[np.int64], window: int | None) -> float:
    """The number of pairs of different tokens of one piece that are at most a window apart. A pair counts twice."""
    reach = pieces - 1 if window is None else np.minimum(window, pieces - 1)
    return float((2 * reach * pieces - reach * (reach + 1)).sum())
