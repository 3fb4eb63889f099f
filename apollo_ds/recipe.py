"""A recipe: the one flat YAML file that describes a run, with overrides from the command line.

Nothing here imports torch, so a mistake in a recipe is reported within a second.
"""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)
from pydantic_core import to_jsonable_python

from apollo_ds.deepspeed_config import check_deepspeed, zero_stage
from apollo_ds.errors import UserError
from apollo_ds.learning_rate import LearningRate, Policy
from apollo_ds.methods import METHODS, Combination, Method, Run
from apollo_ds.model_shape import ModelShape, preset
from apollo_ds.schedule import Schedule
from apollo_ds.source_run import known_source

DEFAULT_RECIPE = Path("launch/recipes/demo.yaml")

_Result = TypeVar("_Result")
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Recipe(BaseModel):
    """A run, checked and complete. Field names are the recipe's keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelShape
    method: Method
    data: Path
    out: Path
    steps: PositiveInt
    seed: NonNegativeInt = 42
    seq_len: PositiveInt = 128
    masking: Literal["token", "whole_word"] = "token"
    """What the masking of a masked model chooses: tokens one by one, or all tokens of a word together."""
    global_batch_size: PositiveInt
    micro_batch_size: PositiveInt
    """Samples a rank processes at once when all layers run, at most; the rest of its share is accumulated."""
    activation_checkpointing: bool = False
    """Whether the backward computes what is inside a layer once more, instead of the forward keeping it."""
    compile_blocks: bool = False
    """Whether `torch.compile` compiles the layers, each by itself."""
    zero_by_stage: bool = False
    """Whether each stage trains under the lowest ZeRO stage at which its state is no larger than the largest stage's is
    under that of `deepspeed`. Without effect where that is 0 or offloads."""
    learning_rate: PositiveFloat
    lr_schedule: Policy | None = None
    """By default the method's own: cosine for most."""
    warmup_fraction: Fraction = 0.025
    decay_fraction: Fraction = 0.1
    """The last part of the run, in which the `wsd` schedule decays."""
    final_lr_fraction: Fraction = 0.0
    weight_decay: NonNegativeFloat = 0.01
    adam_betas: tuple[Beta, Beta] = (0.9, 0.999)
    adam_epsilon: PositiveFloat = 1e-8
    eval_every: PositiveInt
    eval_samples: PositiveInt = 256
    save_every: PositiveInt
    keep_checkpoints: PositiveInt = 3
    keep_every: NonNegativeInt = 0
    """Checkpoints whose step it divides stay for good; 0: none do."""
    log_every: PositiveInt = 10
    hang_seconds: PositiveFloat = 1800.0
    """After so long without progress on a rank, every rank prints its stack and ends."""
    peak_flops: PositiveFloat | None = None
    """Operations a second of one rank at best, for the utilisation; measured at the start if not stated."""
    bad_steps: PositiveInt = 10
    """So many steps in a row without a finite gradient, and the run goes back to its last good checkpoint."""
    spike_deviations: PositiveFloat = 10.0
    """So many robust deviations above the median is a loss spike; see `divergence`."""
    deepspeed: dict[str, Any] = Field(default_factory=dict)
    """DeepSpeed's own configuration, as it stands in the JSON file that the recipe names."""

    def schedule(self) -> Schedule:
        """The stages of the run.

        Raises:
            UserError: the method's options do not fit the model or the number of steps.
        """
        run = Run(shape=self.model, steps=self.steps, seq_len=self.seq_len)
        learning_rate = LearningRate(
            policy=self.lr_schedule or self.method.lr_schedule,
            peak=self.learning_rate,
            warmup_fraction=self.warmup_fraction,
            final_fraction=self.final_lr_fraction,
            decay_fraction=self.decay_fraction,
        )
        return Schedule(self.method.stages(run), self.global_batch_size, learning_rate, self.seed)

    def micro_batch(self, world_size: int, room: float = 1.0) -> int:
        """Samples a rank processes at once: the largest divisor of its share that `micro_batch_size` allows.

        `room` is how many times as many fit into memory.

        Raises:
            UserError: the number of ranks does not divide the global batch.
        """
        if self.global_batch_size % world_size:
            raise UserError(
                f"global_batch_size: {world_size} ranks do not divide {self.global_batch_size}; "
                f"use a multiple of {world_size}, or another number of ranks"
            )
        share = self.global_batch_size // world_size
        most = max(1, min(share, int(self.micro_batch_size * room)))
        return max(d for d in range(1, most + 1) if share % d == 0)


def with_defaults(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as a run folder holds it; keys that did not exist yet when it was written have their defaults.

    A method's options have what the method did then.
    """
    values = {**_defaults(Recipe), **recorded}
    values["model"] = {**_defaults(ModelShape), **values["model"]}
    values["method"] = _method_with_defaults(values["method"])
    return values


def _method_with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    if "parts" in options:
        return {**options, "parts": [_method_with_defaults(part) for part in options["parts"]]}
    kind = METHODS.get(str(options["name"]))
    return {**({**_defaults(kind), **kind.was} if kind else {}), **options}


def _defaults(kind: type[BaseModel]) -> dict[str, Any]:
    """Without those that depend on other values."""
    fixed = {
        k: field for k, field in kind.model_fields.items() if not field.is_required() and not field.default_factory
    }
    return {key: to_jsonable_python(field.default) for key, field in fixed.items()}


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, apply `key=value` overrides (dotted keys reach inside), and check all of it.

    Raises:
        UserError: the file is missing or not a mapping, or a key or value is wrong.
    """
    values = read_mapping(path, "recipe")
    if isinstance(values.get("deepspeed"), str):
        values["deepspeed"] = _read_json(values["deepspeed"], path)
    for override in overrides:
        _apply(values, override)
    return resolve(values, str(path))


def load_resolved(path: Path) -> Recipe:
    """Read the recipe part of a run folder's config.yaml.

    Raises:
        UserError: it has none, or a key or value is wrong.
    """
    values = read_mapping(path, "recipe").get("recipe")
    if not isinstance(values, dict):
        raise UserError(f"{path}: damaged; it holds no recipe")
    return resolve(values, str(path))


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The keys and values of a YAML file; `what` names it in messages.

    Raises:
        UserError: it is not there, cannot be read, or holds something else.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such {what}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a {what} is a mapping of keys to values")
    return values


def _read_json(name: str, recipe: Path | str) -> dict[str, Any]:
    """A DeepSpeed file, named relative to the working directory or to the recipe's project."""
    candidates = [Path(name), Path(__file__).resolve().parent.parent / name]
    for candidate in candidates:
        if candidate.is_file():
            try:
                return json.loads(candidate.read_text())
            except json.JSONDecodeError as error:
                raise UserError(f"{candidate}: not valid JSON: {error}") from None
    raise UserError(f"{recipe}: deepspeed: there is no file {name}")


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"{override!r} is not an override; write key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"{key}: {text!r} is not a YAML value") from None
    if key == "deepspeed" and isinstance(value, str):
        value = _read_json(value, "command line")
    *parents, last = key.split(".")
    target = values
    for parent in parents:
        if isinstance(target.get(parent), str) and target is values:
            target[parent] = _expand(parent, target[parent])
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise UserError(f"{key}: {parent} is not a mapping")
    target[last] = value


def _expand(key: str, name: str) -> dict[str, Any]:
    """The mapping that a name stands for, so that an override can reach inside it."""
    if key == "model":
        return preset(name).model_dump()
    if key == "method":
        return {"name": name}
    raise UserError(f"{key}: {name!r} is not a mapping")


def resolve(values: dict[str, Any], source: str) -> Recipe:
    """Check a recipe's values and complete them with defaults; `source` is what messages call it.

    Raises:
        UserError: a key or value is wrong.
    """
    values = dict(values)
    _refuse_unknown(values, Recipe.model_fields, source, "")
    model = values.get("model")
    if isinstance(model, str):
        values["model"] = _told(source, lambda: preset(model))
    elif isinstance(model, dict):
        _refuse_unknown(model, ModelShape.model_fields, source, "model.")
    if "method" in values:
        values["method"] = _method(values["method"], source, str(values.get("out")))
    try:
        recipe = Recipe(**values)
    except ValidationError as error:
        raise UserError(_first_error(error, source)) from None
    _told(source, recipe.schedule)
    if recipe.seq_len > recipe.model.max_position_embeddings:
        raise UserError(
            f"{source}: seq_len {recipe.seq_len} is longer than "
            f"model.max_position_embeddings {recipe.model.max_position_embeddings}"
        )
    if recipe.masking == "whole_word" and not recipe.model.is_masked:
        raise UserError(f"{source}: masking: {recipe.model.family} has no masks, so no whole_word; remove it")
    check_deepspeed(recipe.deepspeed, source)
    if recipe.compile_blocks and zero_stage(recipe.deepspeed) == 3:
        raise UserError(f"{source}: compile_blocks: ZeRO 3 moves weights inside each layer; use stage 1 or 2 with it")
    return recipe


def _method(value: Any, source: str, out: str) -> Method:
    """A method by name or with options, or a list: a method, and what is laid over its stages."""
    if isinstance(value, dict) and isinstance(value.get("parts"), list):  # as a resolved recipe has it
        value = value["parts"]
    if not isinstance(value, list):
        return _single_method(value, source, out)
    if not value:
        raise UserError(f"{source}: method: the list is empty")
    return _told(source, lambda: Combination.of([_single_method(part, source, out) for part in value]))


def _single_method(value: Any, source: str, out: str) -> Method:
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, dict) or str(options.get("name")) not in METHODS:
        raise UserError(f"{source}: method: choose one of {', '.join(METHODS)}, not {value!r}")
    kind = METHODS[str(options["name"])]
    _refuse_unknown(options, kind.model_fields, source, "method.")
    if isinstance(options.get("source"), str):
        options = {**options, "source": known_source(options["source"], Path(out))}
    try:
        return _told(source, lambda: kind(**options))
    except ValidationError as error:
        raise UserError(_first_error(error, source, "method.")) from None


def _refuse_unknown(values: Mapping[str, Any], known: Mapping[str, Any], source: str, prefix: str) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
            raise UserError(f"{source}: unknown key {prefix}{key}; did you mean {prefix}{near[0]}?")


def _told(source: str, check: Callable[[], _Result]) -> _Result:
    """The result of a check; its complaint names the file."""
    try:
        return check()
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def _first_error(error: ValidationError, source: str, prefix: str = "") -> str:
    first = error.errors()[0]
    key = prefix + ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{source}: {key} is missing"
    if first["type"] == "value_error":
        return f"{source}: {key}: {first['msg'].removeprefix('Value error, ')}"
    return f"{source}: {key}: {first['msg']}, not {first['input']!r}"
