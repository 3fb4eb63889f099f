"""The base classes of growth methods. A method has options and makes a run's stages from them."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from apollo_ds.checked import Checked
from apollo_ds.errors import UserError, shown
from apollo_ds.models.families import family_of
from apollo_ds.models.frozen import NOTHING_FROZEN
from apollo_ds.models.layer_map import LAYER_MAPS
from apollo_ds.models.shape import ModelShape, why_not_grown
from apollo_ds.schedule.depth import SAMPLERS
from apollo_ds.schedule.learning_rate import Policy
from apollo_ds.schedule.source import Source, SourceRun
from apollo_ds.schedule.stage import GrowthRule, MomentRule, NewLayers, Rewarm, Stage, WidthRule
from data_prep.did_you_mean import choice


@dataclass(frozen=True)
class Run:
    """What a method knows about the run that it plans."""

    shape: ModelShape
    steps: int
    seq_len: int
    global_batch_size: int
    """Samples in a step."""

    @property
    def tokens_per_step(self) -> int:
        """Tokens in a step with samples of full length."""
        return self.global_batch_size * self.seq_len


class Method(Checked):
    """A growth method: its fields are options that a recipe may set, and `stages` makes the run's stages from them."""

    name: str

    was: ClassVar[Mapping[str, Any]] = {}
    """Values of options that an older version did not record, where they differ from today's defaults."""

    fitted: ClassVar[Collection[str]] = ()
    """Options whose default is replaced by the nearest value that fits the run. `check_fits` checks a value that the
    recipe sets."""

    stated: ClassVar[Collection[str]] = ()
    """Options that a recipe may give even if they change nothing, since they tell the reader how the method is used."""

    @property
    def lr_schedule(self) -> Policy:
        """The learning-rate schedule where the recipe names none."""
        return "cosine"

    @abstractmethod
    def stages(self, run: Run) -> list[Stage]:
        """Return the stages of a run, in order; their steps add up to `run.steps`.

        Raises:
            UserError: the options do not fit the model or the number of steps.
        """

    def check_fits(self, run: Run) -> None:
        """Refuse values that the recipe sets and that do not fit the run, so that `stages` would replace them.

        Raises:
            UserError: there is such a value.
        """

    def sets(self, name: str) -> bool:
        """Whether the recipe gives an option a value that is not its default."""
        return name in self.model_fields_set and getattr(self, name) != type(self).model_fields[name].default

    def stage(self, run: Run, steps: int, layers: int, **changes: Any) -> Stage:
        """Make a stage of `layers` layers that run once each; `changes` sets other fields of `Stage`."""
        plain = {"shape": run.shape, "seq_len": run.seq_len}
        return Stage(method=self.name, steps=steps, unique_layers=layers, **{**plain, **changes})


class Modifier(Method):
    """A method that changes the stages of another method. Alone, it changes those of training from scratch."""

    @abstractmethod
    def modify(self, stages: list[Stage], run: Run) -> list[Stage]:
        """Return the changed stages.

        Raises:
            UserError: the method cannot change such stages.
        """

    def stages(self, run: Run) -> list[Stage]:
        """Return the one stage of training from scratch, changed by this method."""
        return self.modify([self.stage(run, run.steps, run.shape.num_layers)], run)


@dataclass(frozen=True)
class OneOf:
    """Checks that a text is one of the known names. `known` may get more names later."""

    known: Collection[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.known)}

    def _check(self, name: str) -> str:
        if name not in self.known:
            raise ValueError(f"there is no {shown(name)}; {choice(self.known, name)}")
        return name


MapName = Annotated[str, OneOf(LAYER_MAPS)]
SamplerName = Annotated[str, OneOf(SAMPLERS)]


def named_by(key: str, named: Any, info: ValidationInfo) -> Any:
    """Read the source that a recipe's key names, with the reader that `config.load` passes as validation context.

    Raises:
        ValueError: the value is no text.
    """
    if not isinstance(named, str | Mapping | BaseModel | None):
        raise ValueError(f"must be text, such as RUN, RUN@STEP or hf:MODEL, not {shown(named)}")
    return info.context.read(key, named) if isinstance(named, str) and info.context else named


def _read(source: Any, info: ValidationInfo) -> Any:
    return named_by("method.source", source, info)


NAMED = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
"""The JSON schema of a source in a recipe."""


class Sourced(Method):
    """A method that may start from a smaller model that is trained already."""

    source: Annotated[Source | None, BeforeValidator(_read), WithJsonSchema(NAMED)] = None
    """A smaller model that is trained already. `RUN` or `RUN@STEP` is the folder of a run and the step of one of its
    checkpoints. `hf:MODEL` is a model that `transformers` saved: a folder, or a name on the hub."""

    def stage_of_source(self, run: Run) -> Stage:
        """Return the given source as a stage of zero steps.

        Raises:
            UserError: the source cannot grow into the full model.
        """
        assert self.source is not None
        small = self.source.shape
        obstacle = why_not_grown(small, run.shape)
        if obstacle:
            raise UserError(f"method.source: {self.source.name} cannot grow into the model: {obstacle}")
        frozen = self.source.frozen if isinstance(self.source, SourceRun) else NOTHING_FROZEN
        return self.stage(run, 0, small.num_layers, shape=small, frozen=frozen, source=self.source)


class GrowingMethod(Sourced):
    """A method with the options of a growth.

    A given source takes the place of the small stages. Stages that it cannot grow into are left out, and the first
    stage that remains gets their steps.
    """

    growth_map: MapName = "interpolate"
    """Which of the old layers each new layer is made from."""
    new_layers: NewLayers = "copy"
    """What a new layer is: a copy of an old one, or another kind that `docs/methods/options.md` explains."""
    width: WidthRule = "tiled"
    """What a new unit is when the model becomes wider. `docs/methods/options.md` explains the rules."""
    moments: MomentRule = "map"
    """What becomes of Adam's moments at a growth. `docs/methods/options.md` explains the rules."""
    noise: float = Field(default=0.0, ge=0, le=100)
    """Noise that is added to the matrices of copied layers, so that copies differ. The unit is each matrix's own
    standard deviation."""
    rewarm: Rewarm = "none"
    """Whether the learning rate warms up again after a growth: for `all` parameters, for the `new` coordinates only, or
    for none."""
    rewarm_fraction: float = Field(default=0.01, ge=0, le=1)
    """How long that warm-up takes, as a fraction of the run."""
    rewarm_from: float = Field(default=0.0, ge=0, le=10)
    """Where that warm-up begins, as a fraction of the schedule's learning rate."""
    rewarm_to: float = Field(default=1.0, gt=0, le=10)
    """Where that warm-up ends, as a fraction of the schedule's learning rate. The rate stays there until the next
    growth. If it is above 1, it falls with the schedule to the same final rate."""

    @abstractmethod
    def own_stages(self, run: Run) -> list[Stage]:
        """Return the stages of a run without a given source: it begins with the method's own first model."""

    def stages(self, run: Run) -> list[Stage]:
        """Return the method's own stages; a given source replaces the stages that it cannot grow into."""
        stages = self.own_stages(run)
        if self.source is None or stages[0].source:
            return stages
        first = self.stage_of_source(run)
        number = next(n for n, stage in enumerate(stages) if not why_not_grown(first.shape, _model_of(stage)))
        steps = sum(stage.steps for stage in stages[: number + 1])
        return [first, replace(stages[number], steps=steps), *stages[number + 1 :]]

    def growth_rule(self, run: Run, **changes: Any) -> GrowthRule:
        """Return the growth rule that these options describe, with `changes` to its fields."""
        options: dict[str, Any] = {
            "layer_map": self.growth_map,
            "new_layers": self.new_layers,
            "width": self.width,
            "moments": self.moments,
            "noise": self.noise,
            "rewarm": self.rewarm,
            "rewarm_steps": round(self.rewarm_fraction * run.steps),
            "rewarm_from": self.rewarm_from,
            "rewarm_to": self.rewarm_to,
        }
        return GrowthRule(**{**options, **changes})


def _model_of(stage: Stage) -> ModelShape:
    return stage.shape.model_copy(update={"num_layers": stage.unique_layers})


def silent_start(shape: ModelShape, new_layers: NewLayers) -> NewLayers:
    """Return `new_layers`, or its replacement where identities do not work: copies in post-LN, `zero` with gates."""
    family = family_of(shape)
    if new_layers != "identity":
        return new_layers
    return "copy" if not family.is_pre_norm else "zero" if family.is_gated else "identity"


def check_identity(method: Method, shape: ModelShape, new_layers: NewLayers) -> None:
    """Refuse identities that the recipe asks for, if they do not work in the model's family; see `silent_start`.

    Raises:
        UserError: the recipe asks for them.
    """
    other = silent_start(shape, new_layers)
    if "new_layers" in method.model_fields_set and other != new_layers:
        raise UserError(
            f"method.new_layers: new layers of a {shape.family} cannot be identities, which would silence the model "
            f"or never learn; use {other}, or remove it"
        )


def divided(shape: ModelShape, hidden: int = 1, inner: int = 1) -> ModelShape:
    """Return a narrower shape: its widths are divided by `hidden`, and the feed-forward width by `inner` as well.

    Raises:
        UserError: a size is no multiple of its divisor.
    """
    divisors = {**dict.fromkeys(shape.widths, hidden), "intermediate_size": hidden * inner}
    sizes = {key: getattr(shape, key) for key in divisors}
    for key, divisor in divisors.items():
        if sizes[key] % divisor:
            raise UserError(
                f"method: the model's {key} {sizes[key]} cannot be divided by {divisor} for the smaller model; make "
                f"model.{key} a multiple of it"
            )
    return shape.model_copy(update={key: size // divisors[key] for key, size in sizes.items()})


def check_fractions(key: str, fractions: Sequence[float]) -> None:
    """Check that fractions of the run increase between 0 and 1.

    Raises:
        UserError: they do not; the message names the key.
    """
    if sorted(set(fractions)) != list(fractions) or not all(0 < fraction < 1 for fraction in fractions):
        raise UserError(f"{key}: fractions must increase between 0 and 1, not {shown(list(fractions))}")


def split_steps(steps: int, boundaries: Sequence[float]) -> list[int]:
    """Return the steps of each stage when the run is cut at these fractions: 100 steps at 0.25 give 25 and 75."""
    cuts = [0, *(round(fraction * steps) for fraction in boundaries), steps]
    return [after - before for before, after in pairwise(cuts)]
