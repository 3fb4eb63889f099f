"""How much of its sample a token sees where documents do not see each other."""

from typing import Any

import numpy as np

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.token_stream import TokenStream
from apollo_ds.errors import UserError

_SAMPLES = 256


def documents_in_samples(recipe: Recipe) -> dict[str, Any] | None:
    """What the document mask leaves of the run's first samples, as `plan --json` prints it.

    None where the recipe has no such mask, or its text cannot be read: `check_ready` says why.
    """
    length = recipe.seq_len
    if not recipe.document_mask or length == 1:
        return None
    try:
        stream = TokenStream(recipe.data, "train", length, recipe.seed)
    except UserError:
        return None
    samples = min(_SAMPLES, stream.blocks)
    documents = stream.documents(np.arange(samples) * length, length)
    starts = np.flatnonzero(np.diff(documents, axis=1, prepend=-1))
    pieces = np.diff(starts, append=documents.size)
    seen = float((pieces * (pieces - 1)).sum() / (samples * length * (length - 1)))
    return {"samples": samples, "seq_len": length, "pieces_per_sample": len(pieces) / samples, "seen": seen}


def in_words(found: dict[str, Any]) -> str:
    """The same as a sentence."""
    return (
        f"Documents: a token sees {found['seen']:.0%} of its sample's other tokens; a sample of {found['seq_len']:,} "
        f"holds {found['pieces_per_sample']:.1f} documents or parts (means of the first {found['samples']})."
    )
