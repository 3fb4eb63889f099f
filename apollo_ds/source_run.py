"""A run whose model another run starts from, as its folder tells."""

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict

from apollo_ds.checkpoint_files import Totals, newest_sound, read_manifest
from apollo_ds.corpus import Corpus
from apollo_ds.errors import UserError
from apollo_ds.model_shape import ModelShape


class SourceRun(BaseModel):
    """What a run must know of its source. It is part of the recipe in the run's own folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    checkpoint: Path
    step: int
    """The checkpoint's, of `steps`."""
    steps: int
    shape: ModelShape
    """That of its last stage; `num_layers` is the number of its unique layers."""
    tokenizer: str | None
    """The hash of its tokenizer; None where an earlier version wrote the folder."""
    spent: Totals
    """What has led to the checkpoint, with what led to the source's own source."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The run in a folder, at its newest sound checkpoint.

        Raises:
            UserError: it is no run, has no sound checkpoint, or has not come to its last stage.
        """
        from apollo_ds.recipe import load_resolved  # recipes hold methods, which hold sources

        config = folder / "config.yaml"
        if not config.is_file():
            raise UserError(f"method.source: {folder} is not a run folder: it has no config.yaml; name a run's")
        schedule = load_resolved(config).schedule()
        checkpoint, complaints = newest_sound(folder / "checkpoints")
        if checkpoint is None:
            found = "; ".join(complaints) or "there is none"
            raise UserError(f"method.source: {folder} has no sound checkpoint ({found}); let the run save one")
        manifest = read_manifest(checkpoint)
        stage, last = manifest["course"]["stage"], len(schedule.stages) - 1
        if stage < last:
            raise UserError(
                f"method.source: {checkpoint} is of stage {stage + 1} of {last + 1}, which trains another model than "
                "the last; let the run reach its last stage"
            )
        spent = Totals(**manifest["totals"])
        return cls(
            folder=folder,
            checkpoint=checkpoint,
            step=spent.step,
            steps=schedule.total_steps,
            shape=schedule.stages[-1].shape.model_copy(update={"num_layers": schedule.stages[-1].unique_layers}),
            tokenizer=yaml.safe_load(config.read_text()).get("tokenizer"),
            spent=spent + schedule.source.spent if schedule.source else spent,
        )

    def check_tokenizer(self, corpus: Corpus) -> None:
        """Compare the source's tokenizer with that of the text that is to be read.

        Raises:
            UserError: they differ.
        """
        if self.tokenizer not in (None, corpus.tokenizer_hash):
            raise UserError(
                f"method.source: {self.folder} was trained with another tokenizer than {corpus.tokenizer_folder}; "
                "prepare the text with the source's, as `apollo-prep build --tokenizer` takes it"
            )

    @property
    def cost(self) -> dict[str, Any]:
        """What a run records of its source when it starts."""
        spent = {f"source_{key}": getattr(self.spent, key) for key in ("tokens", "flops", "seconds")}
        return {"source": str(self.checkpoint), **spent}

    def __str__(self) -> str:
        return f"{self.folder}, step {self.step:,} of {self.steps:,}"


def known_source(folder: str, out: Path) -> str | dict[str, Any]:
    """What the run in `out`, if it has started, knows of the source in `folder`: that may have changed or gone since.

    Elsewhere the folder's name again.
    """
    from apollo_ds.run_folder import read_recipe

    config = out / "config.yaml"
    if not config.is_file():
        return folder
    method = read_recipe(config)["method"]
    known = method.get("parts", [method])[0].get("source")
    return known if known and known["folder"] == str(Path(folder)) else folder
