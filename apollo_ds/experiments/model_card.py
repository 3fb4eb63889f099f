"""The model card of an export, its README.md: what the model is, how to use it, and what it was trained on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import Recorded
from apollo_ds.data.text import Text, TextSource
from apollo_ds.errors import UserError, shown
from apollo_ds.experiments.compare.text import Table
from apollo_ds.experiments.events import Event, read_metrics
from apollo_ds.experiments.history import recorded_loss
from apollo_ds.models.families import Family, family_of
from apollo_ds.models.flops import parameters, training_flops
from apollo_ds.planning.in_words import count_in_words, time_in_words
from apollo_ds.planning.outlook import epochs
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.source import BranchPoint, SourceModel
from apollo_ds.schedule.totals import Totals

_HASH_DIGITS = 16
_LICENSE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_USE_OF_CAUSAL = """\
from transformers import pipeline

generate = pipeline("text-generation", model="{name}")
print(generate("The")[0]["generated_text"])"""
_USE_OF_MASKED = """\
from transformers import pipeline

fill = pipeline("fill-mask", model="{name}")
print(fill(f"The {{fill.tokenizer.mask_token}} is here.")[0]["sequence"])"""


@dataclass(frozen=True)
class TrainedModel:
    """A run's model at a checkpoint, and what the run has recorded of it."""

    run: Path
    """The run's folder."""
    recorded: Recorded
    recipe: Recipe
    text: Text
    schedule: Schedule
    """As it went: stages that ended early have the steps that they took."""
    totals: Totals
    """What training up to the checkpoint has used."""

    @property
    def family(self) -> Family:
        """The model's."""
        return family_of(self.recipe.model)

    @property
    def evaluation(self) -> Event | None:
        """The last one up to the checkpoint; None where metrics.jsonl has none, or cannot be read."""
        try:
            events = read_metrics(self.run / "metrics.jsonl")
        except UserError:
            return None
        done = [event for event in events if event["event"] == "eval" and event["step"] <= self.totals.step]
        return done[-1] if done else None


def model_card(model: TrainedModel, license: str | None = None, name: str | None = None) -> str:
    """The card's text. It holds no path of this machine and no time but those that the run has recorded.

    Args:
        model: what it is about.
        license: as the hub writes it, such as `apache-2.0`; None leaves the field out.
        name: what the hub calls the model; None for one that is used from its folder.
    Raises:
        UserError: the license is not written as the hub writes one.
    """
    if license is not None and not _LICENSE.fullmatch(license):
        raise UserError(f"--license {shown(license)}: write it as the hub does, such as apache-2.0, mit or cc-by-4.0")
    title = name or model.run.resolve().name
    evaluation = model.evaluation
    sections = [
        _what_it_is(title, model),
        _use(model, name),
        _text(model),
        _recipe(model),
        _losses(model, evaluation),
        _cost(model),
        _origin(model),
        _license(license),
    ]
    return f"---\n{_metadata(title, model, evaluation, license)}\n---\n\n" + "\n".join(
        line for section in sections for line in section
    )


def _metadata(title: str, model: TrainedModel, evaluation: Event | None, license: str | None) -> str:
    source = model.schedule.source
    results = _results(model, evaluation) if evaluation else []
    data = ModelCardData(
        base_model=_name_on_hub(source) if isinstance(source, SourceModel) else None,
        library_name="transformers",
        license=license,
        pipeline_tag="fill-mask" if model.family.is_masked else "text-generation",
        tags=["apollo_ds", "pretraining"],
        model_name=title if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()


def _name_on_hub(source: SourceModel) -> str | None:
    """What the hub calls a model; None where its files are a folder of the user's, and not in the hub's cache."""
    return source.hf if "snapshots" in source.folder.parts else None


def _results(model: TrainedModel, evaluation: Event) -> list[EvalResult]:
    names = [_name_of(source) for source in model.text.sources]
    task = "fill-mask" if model.family.is_masked else "text-generation"
    return [
        EvalResult(
            task_type=task,
            dataset_type="-".join(names),
            dataset_name=f"held-out text of {' and '.join(names)}",
            metric_type=metric,
            metric_value=value,
        )
        for metric, value in _measured(model, evaluation).items()
    ]


def _measured(model: TrainedModel, evaluation: Event) -> dict[str, float]:
    """What is known of the held-out text. A masked model's loss gives no perplexity of a text."""
    loss = recorded_loss(evaluation["loss"])
    if not isfinite(loss):
        return {}
    measured = {"loss": round(loss, 4)}
    if not model.family.is_masked:
        measured["perplexity"] = float(f"{exp(loss):.4g}")
    if evaluation.get("bits_per_byte") is not None:
        measured["bits_per_byte"] = round(evaluation["bits_per_byte"], 4)
    return measured


def _what_it_is(title: str, model: TrainedModel) -> list[str]:
    shape, masked = model.recipe.model, model.family.is_masked
    count = parameters(shape, shape.num_layers)
    does = "fills in masked tokens" if masked else "continues text"
    rows = [
        ("class", model.family.model_class().__name__),
        ("parameters", f"{count:,}"),
        ("layers", str(shape.num_layers)),
        ("hidden size, heads, feed-forward size", f"{shape.hidden_size}, {shape.num_heads}, {shape.intermediate_size}"),
        ("vocabulary", f"{shape.vocab_size:,} tokens ({model.text.vocabulary.manifest.tokenizer.kind})"),
        ("longest input", f"{shape.max_position_embeddings:,} tokens"),
    ]
    return [
        f"# {title}",
        "",
        f"A `{shape.family}` model of {count_in_words(count)} parameters that {does}. apollo_ds pretrained it by the "
        f"method `{model.recipe.method.name}`, and wrote this page from what the run had recorded.",
        "",
        *Table(("model", ""), rows).markdown(),
    ]


def _use(model: TrainedModel, name: str | None) -> list[str]:
    masked = model.family.is_masked
    code = (_USE_OF_MASKED if masked else _USE_OF_CAUSAL).format(name=name or ".")
    most = f"{model.recipe.model.max_position_embeddings:,} tokens"
    longer = (
        f"The model takes at most {most}. Of a longer text, "
        '`tokenizer_kwargs={"truncation": True}` keeps the beginning.'
        if masked
        else f"The model takes at most {most}, those that it writes included. Of a longer prompt, "
        '`handle_long_generation="hole", max_new_tokens=20` keeps the end.'
    )
    where = [] if name else ["`.` is the folder that this page is in.", ""]
    return [
        "## Use",
        "",
        "```python",
        code,
        "```",
        "",
        *where,
        longer,
        "",
        "The model has learned from text alone. It follows no instructions. It may repeat what is wrong or offensive "
        "in that text.",
        "",
    ]


def _text(model: TrainedModel) -> list[str]:
    recipe = model.recipe
    rows = [_source_row(model, source) for source in model.text.sources]
    headings = ("text", "from", "documents", "tokens", "share of training", "epochs", "hash")
    return [
        "## Training text",
        "",
        *Table(headings, rows).markdown(),
        f"Training read {model.totals.tokens:,} tokens in samples of up to {recipe.seq_len:,}. "
        f"It did not read the held-out text of {_held_out_tokens(model.text)} tokens.",
        "",
    ]


def _name_of(source: TextSource) -> str:
    """That of its folder, without the folders above it."""
    return Path(source.name).name


def _source_row(model: TrainedModel, source: TextSource) -> Sequence[str]:
    manifest = source.corpus.manifest
    train = manifest.splits["train"]
    return (
        _name_of(source),
        ", ".join(Path(part.name).name for part in manifest.sources) or "-",
        f"{train.documents:,}",
        f"{train.tokens:,}",
        f"{source.share:.1%}",
        f"{epochs(model.totals.tokens * source.share, source.corpus, model.recipe.seq_len):.3g}",
        f"`{source.corpus.train_hash[:_HASH_DIGITS]}`",
    )


def _held_out_tokens(text: Text) -> str:
    return f"{sum(source.corpus.manifest.splits['validation'].tokens for source in text.sources):,}"


def _recipe(model: TrainedModel) -> list[str]:
    recipe, done = model.recipe, model.totals.step
    rate = model.schedule.learning_rate
    rows = [
        ("method", recipe.method.name),
        ("stages", _stages(model.schedule, done)),
        ("steps", f"{done:,}" if done == recipe.steps else f"{done:,} of {recipe.steps:,}"),
        ("batch", f"{recipe.global_batch_size:,} samples of {recipe.seq_len:,} tokens"),
        ("learning rate", f"{recipe.learning_rate:g} at its peak, {rate.policy}"),
        ("optimizer", f"{recipe.optimizer.name}, weight decay {recipe.weight_decay:g}"),
        ("seed", str(recipe.seed)),
    ]
    return ["## Recipe", "", *Table(("key", "value"), rows).markdown()]


def _stages(schedule: Schedule, done: int) -> str:
    begun = [
        f"{stage.unique_layers} layer{'s' * (stage.unique_layers != 1)} from step {first:,}"
        for first, stage in zip(schedule.first_steps, schedule.stages, strict=True)
        if first < done
    ]
    return ", ".join(begun)


def _losses(model: TrainedModel, evaluation: Event | None) -> list[str]:
    if evaluation is None:
        return ["## Losses", "", "No held-out loss is recorded.", ""]
    unit = "a masked token" if model.family.is_masked else "a token"
    rows = [("held-out loss", _nats(evaluation["loss"], unit))]
    measured = _measured(model, evaluation)
    if "perplexity" in measured:
        rows.append(("perplexity", f"{measured['perplexity']:,}"))
    if "bits_per_byte" in measured:
        rows.append(("bits a byte of text", f"{measured['bits_per_byte']:.4f}"))
    rows.append(("loss of the best guess without context", f"{model.text.unigram_entropy:.4f} nats a token"))
    by_set = [(f"held-out loss of {name}", _nats(loss, unit)) for name, loss in evaluation.get("losses", {}).items()]
    return ["## Losses", "", *Table((f"at step {evaluation['step']:,}", ""), [*rows, *by_set]).markdown()]


def _nats(recorded: float | None, unit: str) -> str:
    return "not finite" if recorded is None else f"{recorded:.4f} nats {unit}"


def _cost(model: TrainedModel) -> list[str]:
    recipe, used = model.recipe, model.totals
    all_layers = used.step * training_flops(
        recipe.model, recipe.model.num_layers, recipe.seq_len, recipe.global_batch_size
    )
    ranks = f" on {model.recorded.ranks} rank{'s' * (model.recorded.ranks != 1)}" if model.recorded.ranks else ""
    sentence = (
        f"Training took {used.flops:.4g} FLOPs and {time_in_words(used.seconds)}{ranks}. All "
        f"{recipe.model.num_layers} layers at full length in each of these steps would have taken {all_layers:.4g} "
        f"FLOPs by the closed form, so this is {used.flops / all_layers:.1%} of it."
    )
    source = model.schedule.source
    before = source.before.flops if source else 0
    more = [f"What it started from had cost {before:.4g} FLOPs before that."] if before else []
    return ["## Cost", "", " ".join([sentence, *more]), ""]


def _origin(model: TrainedModel) -> list[str]:
    source, recorded = model.schedule.source, model.recorded
    if source is None:
        began = "The first weights were drawn at random."
    elif isinstance(source, SourceModel):
        began = f"The run started from the weights of the model `{_name_on_hub(source) or source.folder.name}`."
    elif isinstance(source, BranchPoint):
        began = (
            f"The run goes on from step {source.step:,} of the run `{source.folder.name}`, whose cost is counted above."
        )
    else:
        began = f"The run started from the weights of the run `{source.folder.name}` at step {source.step:,}."
    versions = [f"{name} {version}" for name, version in (recorded.versions or {}).items() if version]
    return [
        "## Origin",
        "",
        began,
        "",
        *([f"Versions: {', '.join(versions)}{_commit(recorded)}.", ""] if versions else []),
        *([f"The run is `{recorded.run}`, and `manifest.json` has the hash of each file.", ""] if recorded.run else []),
    ]


def _commit(recorded: Recorded) -> str:
    if not recorded.git_commit:
        return ""
    return f"; commit `{recorded.git_commit[:12]}`{' with changes' if recorded.git_diff else ''}"


def _license(license: str | None) -> list[str]:
    if license:
        return ["## License", "", f"`{license}`", ""]
    return [
        "## License",
        "",
        "None is stated. `apollo-ds export RUN FOLDER --license NAME` states one, such as `apache-2.0`.",
        "",
    ]
