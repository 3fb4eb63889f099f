"""Write the model card of an export, its README.md: what the model is, how to use it, and how it was trained."""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from apollo_ds.config.recorded import Recorded
from apollo_ds.data.text import Text, TextSource
from apollo_ds.errors import UserError, shown
from apollo_ds.experiments.compare.text import Table, loss_text
from apollo_ds.experiments.history import recorded_loss
from apollo_ds.experiments.trained_model import TrainedModel
from apollo_ds.models.flops import parameters
from apollo_ds.planning.all_layers import AllLayers
from apollo_ds.planning.in_words import count_in_words, flops_in_words, perplexity_in_words, time_in_words
from apollo_ds.planning.outlook import epochs
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.source import BranchPoint, SourceModel
from data_prep.counted import counted

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


def model_card(model: TrainedModel, license: str | None = None, name: str | None = None) -> str:
    """The text of the card. It has no paths of this machine, and no times but those that the run has recorded.

    Args:
        model: the model.
        license: the license as the hub writes it, such as `apache-2.0`. With None the field is left out.
        name: the model's name on the hub. None if it is used from its folder.
    Raises:
        UserError: the license is not written as the hub writes it.
    """
    if license is not None and not _LICENSE.fullmatch(license):
        raise UserError(f"--license {shown(license)}: write it as the hub does, such as apache-2.0, mit or cc-by-4.0")
    title = name or model.run.resolve().name
    sections = [
        _what_it_is(title, model),
        _use(model, name),
        _text(model),
        _recipe(model),
        _losses(model),
        _cost(model),
        _origin(model),
        _license(license),
    ]
    return f"---\n{_metadata(title, model, license)}\n---\n\n" + "\n".join(
        line for section in sections for line in section
    )


def _metadata(title: str, model: TrainedModel, license: str | None) -> str:
    """The metadata for the hub, as YAML."""
    names = model.text_names
    results = [
        EvalResult(
            task_type=model.task,
            dataset_type="-".join(names),
            dataset_name=f"held-out text of {' and '.join(names)}",
            metric_type=metric,
            metric_value=value,
        )
        for metric, value in model.measured.items()
    ]
    data = ModelCardData(
        base_model=model.base_model,
        library_name="transformers",
        license=license,
        pipeline_tag=model.task,
        tags=["apollo_ds", "pretraining"],
        model_name=title if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()


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
        f"The model takes at most {most}. If a text is longer, "
        '`tokenizer_kwargs={"truncation": True}` keeps its beginning.'
        if masked
        else f"The model takes at most {most}, with those that it writes. If a prompt is longer, "
        '`handle_long_generation="hole", max_new_tokens=20` keeps its end.'
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
        "The model has learned only from text. It follows no instructions. It may repeat what is wrong or offensive "
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


def _source_row(model: TrainedModel, source: TextSource) -> Sequence[str]:
    manifest = source.corpus.manifest
    train = manifest.splits["train"]
    return (
        Path(source.name).name,
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
        f"{counted(stage.unique_layers, 'layer')} from step {first:,}"
        for first, stage in zip(schedule.first_steps, schedule.stages, strict=True)
        if first < done
    ]
    return ", ".join(begun)


def _losses(model: TrainedModel) -> list[str]:
    evaluation, measured = model.evaluation, model.measured
    if evaluation is None:
        return ["## Losses", "", "No held-out loss is known.", ""]
    unit = "per masked token" if model.family.is_masked else "per token"
    rows = [("held-out loss", _nats(evaluation["loss"], unit))]
    if "perplexity" in measured:
        rows.append(("perplexity", perplexity_in_words(measured["loss"])))
    if "bits_per_byte" in measured:
        rows.append(("bits a byte of text", f"{measured['bits_per_byte']:.4f}"))
    rows.append(("loss of the best guess without context", f"{model.text.unigram_entropy:.4f} nats per token"))
    by_set = [(f"held-out loss of {name}", _nats(loss, unit)) for name, loss in evaluation.get("losses", {}).items()]
    return ["## Losses", "", *Table((f"at step {evaluation['step']:,}", ""), [*rows, *by_set]).markdown()]


def _nats(recorded: float | None, unit: str) -> str:
    loss = loss_text(recorded_loss(recorded))
    return loss if recorded is None else f"{loss} nats {unit}"


def _cost(model: TrainedModel) -> list[str]:
    used, all_layers = model.totals, AllLayers.of(model.recipe)
    whole, share = all_layers.flops_per_token * used.tokens, all_layers.share(used.flops, used.tokens)
    ranks = f" on {counted(model.recorded.ranks, 'rank')}" if model.recorded.ranks else ""
    before = all_layers.flops_before
    return [
        "## Cost",
        "",
        f"Training took {flops_in_words(used.flops)} and {time_in_words(used.seconds)}{ranks}.",
        *([f"What it started from had taken {flops_in_words(before)} before that."] if before else []),
        f"This is {share:.1%} of the {flops_in_words(whole)} that all {all_layers.layers} layers "
        "would have taken on the same tokens, by the closed form.",
        "",
    ]


def _origin(model: TrainedModel) -> list[str]:
    source, recorded = model.schedule.source, model.recorded
    if source is None:
        began = "The first weights were drawn at random."
    elif isinstance(source, SourceModel):
        began = f"The run started from the weights of the model `{model.base_model or source.folder.name}`."
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
