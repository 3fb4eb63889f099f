"""What is trained in each measurement, and the recipe for it."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from apollo_ds.config.load import resolve
from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.corpus import Corpus
from apollo_ds.data.demo import default_text_folder, prepare_default_text
from apollo_ds.data.text import Text
from apollo_ds.engine.processes import Processes
from apollo_ds.models.families import preset
from apollo_ds.models.shape import ModelShape

_DEEPSPEED = {"cpu": "ds_configs/zero1_cpu.json", "cuda": "ds_configs/zero1.json"}
_VOCABULARY = 4096
"""Of the text: as many tokens as the default recipe has."""
_SMALL = {"num_layers": 12, "hidden_size": 256, "num_heads": 4, "intermediate_size": 1024}


@dataclass(frozen=True)
class Setting:
    """A model at full depth and its batch: `samples` of `seq_len` tokens in a step."""

    shape: ModelShape
    seq_len: int
    samples: int
    compile_blocks: bool = False
    document_mask: bool = False


SETTINGS = {
    "bert-cpu": Setting(preset("bert-base").model_copy(update=_SMALL), 128, 16),
    "gpt2-cpu": Setting(preset("gpt2-base").model_copy(update=_SMALL), 128, 8),
    "bert-base-128": Setting(preset("bert-base"), 128, 256),
    "bert-base-512": Setting(preset("bert-base"), 512, 64),
    "bert-base-512-compiled": Setting(preset("bert-base"), 512, 64, compile_blocks=True),
    "bert-large-512": Setting(preset("bert-large"), 512, 48),
    "gpt2-base-1024": Setting(preset("gpt2-base"), 1024, 32),
    "gpt2-base-1024-compiled": Setting(preset("gpt2-base"), 1024, 32, compile_blocks=True),
}
"""Without dropout: a preset has none."""


def recipe_of(
    setting: Setting, processes: Processes, *, method: str = "scratch", layers: int | None = None, **changes: object
) -> Recipe:
    """A run of the setting, at another full depth if `layers` says so, that neither evaluates nor saves."""
    steps = int(str(changes.get("steps", 1_000_000)))
    shape = setting.shape.model_copy(update={"num_layers": layers or setting.shape.num_layers})
    values = {
        "model": shape.model_dump(),
        "method": method,
        "data": str(_text(shape)),
        "out": tempfile.mkdtemp(prefix="apollo-ds-throughput-"),
        "steps": steps,
        "seq_len": setting.seq_len,
        "document_mask": setting.document_mask,
        "global_batch_size": setting.samples,
        "micro_batch_size": setting.samples,
        "compile_blocks": setting.compile_blocks,
        "learning_rate": 1e-4,
        "eval_every": steps,
        "eval_samples": setting.samples,
        "save_every": steps,
        "hang_seconds": 1e9,  # a loop that waits for its turn does not hang
        "deepspeed": json.loads(Path(_DEEPSPEED[processes.device.type]).read_text()),
    }
    recipe = resolve({**values, **changes}, "benchmark")
    return recipe.settled(processes.computes_bf16, processes.world_size)


def source_of(recipe: Recipe) -> BatchSource:
    """Batches of English. Its few thousand token ids are a part of the model's: no layer's time depends on which."""
    corpus, parted = Corpus.open(recipe.data), recipe.document_mask
    return BatchSource(Text.of(corpus), recipe.model, recipe.seq_len, recipe.seed, parts_documents=parted)


def _text(shape: ModelShape) -> Path:
    """The English that every machine has, prepared once for all models that read the same tokenizer's."""
    folder = default_text_folder(Path("data/docs"), shape)
    prepare_default_text(folder, shape.model_copy(update={"vocab_size": _VOCABULARY}))
    return folder
