"""`apollo-ds finetune`: read the task, open the model, do the trainings that are not done yet, and show the results."""

import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apollo_ds.errors import EXIT_STOPPED, UserError
from apollo_ds.extras import check_extra
from apollo_ds.finetune.classification import Classification
from apollo_ds.finetune.options import Options
from apollo_ds.finetune.page import percent, show, write_page
from apollo_ds.finetune.problem import Source
from apollo_ds.finetune.results import Results
from apollo_ds.finetune.settings import Settings
from apollo_ds.finetune.squad import Answering
from apollo_ds.finetune.tasks import SQUAD
from apollo_ds.saved_models.results_folder import results_folder
from apollo_ds.version import installed_version
from data_prep.output import Output

if TYPE_CHECKING:
    from apollo_ds.finetune.pretrained import Pretrained
    from apollo_ds.finetune.training import Device, FineTuning

_PACKAGES = ("apollo_ds", "torch", "transformers", "tokenizers", "scikit-learn", "scipy", "torchmetrics")
_LENGTHS = {SQUAD: 384}
_LENGTH = 128


def finetune(options: Options) -> None:
    """Run the command.

    Raises:
        UserError: the extra is not installed, or a file, the model, an option or the folder for the results is wrong.
    """
    check_extra("finetune")
    source = read(options.task, options.data, options.max_train_samples)

    from apollo_ds.finetune.pretrained import Pretrained  # imports torch; mistakes in the files are reported before
    from apollo_ds.finetune.training import Device, FineTuning

    pretrained, device = Pretrained.open(options.model), Device.prepare()
    folder = options.out or results_folder(options.model, "finetune") / options.task
    about = _about(options, source, device)
    results = Results.open(folder, _settings(options, source, pretrained, device), about)
    console = Output(highlight=False, markup=False, soft_wrap=True, stderr=options.json)
    console.print(_title(about, folder))
    try:
        _train_missing(options, source, FineTuning(pretrained, results.settings, device, console), results)
    except KeyboardInterrupt:
        print("apollo-ds: stopped; run the same command to resume after the last complete seed", file=sys.stderr)
        sys.exit(EXIT_STOPPED)
    if options.json:
        print(results.path.read_text(), end="")
        return
    show(results, console)
    console.print(str(results.path.with_name("results.md")))


def read(task: str, folder: Path, max_train_samples: int | None) -> Source:
    """Read a task's files.

    Raises:
        UserError: a file is missing, or its content does not fit the task.
    """
    if not folder.is_dir():
        raise UserError(f"--data: {folder} is not a folder; name the one that holds the task's files")
    if task == SQUAD:
        return Answering.read(folder, max_train_samples)
    return Classification.read(task, folder, max_train_samples)


def _settings(options: Options, source: Source, pretrained: "Pretrained", device: "Device") -> Settings:
    return Settings(
        task=options.task,
        model=pretrained.identity(),
        data=_hash(source.files),
        epochs=options.epochs,
        batch_size=options.batch_size,
        max_length=_length(options, pretrained),
        max_train_samples=options.max_train_samples,
        precision=device.precision,
    )


def _about(options: Options, source: Source, device: "Device") -> dict[str, Any]:
    """The facts about the model, the data and the machine that results.json holds beside settings and results."""
    versions = {package: installed_version(package) for package in _PACKAGES}
    return {
        "task": options.task,
        "model": options.model,
        "metrics": list(source.metrics),
        "sizes": source.sizes,
        "baseline": source.baseline,
        "machine": {"device": device.name, "python": platform.python_version(), **versions},
    }


def _title(about: dict[str, Any], folder: Path) -> str:
    sizes = "  ".join(f"{count:,} {name}" for name, count in about["sizes"].items())
    return f"{about['task']}  {about['model']}  {sizes}  {about['machine']['device']}  out {folder}"


def _hash(files: Sequence[Path]) -> str:
    import xxhash

    from apollo_ds.checkpoint.find import hash_of

    return xxhash.xxh3_128_hexdigest(" ".join(hash_of(path) for path in files).encode())


def _length(options: Options, pretrained: "Pretrained") -> int:
    most = pretrained.positions
    if options.max_length is None:
        return min(_LENGTHS.get(options.task, _LENGTH), most or sys.maxsize)
    if most and options.max_length > most:
        raise UserError(f"--max-length: {options.model} takes at most {most} tokens; use --max-length {most}")
    return options.max_length


def seeds_of(numbers: Sequence[int]) -> list[int]:
    """The seeds that numbers stand for: 3 stands for the seeds 1, 2 and 3. Several numbers are the seeds themselves."""
    return list(range(1, numbers[0] + 1)) if len(numbers) == 1 else list(dict.fromkeys(numbers))


def _train_missing(options: Options, source: Source, tuning: "FineTuning", results: Results) -> None:
    """Do every training, of all learning rates and seeds, that is not yet in the results."""
    grid = list(product(dict.fromkeys(options.learning_rate), seeds_of(options.seeds)))
    missing = [cell for cell in grid if results.find(*cell) is None]
    if len(missing) < len(grid):
        tuning.console.print(f"{len(grid) - len(missing)} of {len(grid)} trainings are complete")
    if not missing:
        return
    problem = source.problem(tuning.pretrained, results.settings.max_length)
    for rate, seed in missing:
        started = time.monotonic()
        epochs = []
        for epoch in tuning.run(problem, rate, seed):
            seconds = time.monotonic() - started
            shown = "  ".join(f"{name} {percent(value)}" for name, value in epoch.metrics.items())
            where = f"lr {rate:g}  seed {seed}  epoch {epoch.epoch}/{options.epochs}"
            tuning.console.print(f"  {where}  loss {epoch.loss:.4f}  {shown}  {seconds:,.0f} s")
            epochs.append(asdict(epoch))
        results.add(_run(rate, seed, epochs, seconds))
        write_page(results)


def _run(rate: float, seed: int, epochs: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    for epoch in epochs:
        if not isfinite(epoch["loss"]):
            epoch["loss"] = None  # JSON has no NaN and no infinity
    final = epochs[-1]["metrics"]
    return {"learning_rate": rate, "seed": seed, "final": final, "epochs": epochs, "seconds": round(seconds, 1)}
