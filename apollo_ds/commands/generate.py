"""`apollo-ds generate`: a trained model continues a text."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from apollo_ds.commands.arguments import Json, Model, Step, words_or_stdin
from apollo_ds.rng import LARGEST_SEED
from data_prep.plain import without_controls

EXAMPLES = """
apollo-ds generate runs/mine "Once upon a time"
apollo-ds generate runs/mine "Once" "The king" --count 3 --seed 7 --json
head -c 300 chapter.txt | apollo-ds generate runs/mine > rest.txt
"""

_Seed = Annotated[
    int,
    typer.Option(min=0, max=LARGEST_SEED, metavar="N", help="The same seed gives the same text.", show_default="0"),
]


def generate(
    model: Model,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="The text to continue. Without it, or with -, it is read from a pipe."),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="How many tokens to write at most.")] = 100,
    temperature: Annotated[
        float, typer.Option(metavar="T", help="0 always takes the likeliest token. A greater T takes more chances.")
    ] = 0.8,
    top_p: Annotated[
        float,
        typer.Option(metavar="P", help="Draw only from the likeliest tokens that together have the probability P."),
    ] = 0.95,
    seed: _Seed = 0,
    count: Annotated[int, typer.Option(min=1, metavar="N", help="How many texts for each prompt.")] = 1,
    step: Step = None,
    as_json: Json = False,
) -> None:
    """Let a model continue a text.

    Each text is printed with its prompt, and nothing else is. An empty line stands between two texts. A text ends where
    the model ends it, after --max-new-tokens, or where the model takes no more tokens.
    """
    from apollo_ds.inference.sampling import Sampling

    sampling = Sampling(max_new_tokens, temperature, top_p, seed, count)
    texts = words_or_stdin(prompts, "PROMPT")
    from apollo_ds.inference.generation import Generated
    from apollo_ds.inference.generation import generate as continued
    from apollo_ds.inference.loaded_model import LoadedModel, Task
    from apollo_ds.inference.model_folder import model_folder

    with model_folder(model, step) as source:
        loaded = LoadedModel.load(model, source, Task.CONTINUE)
    generated: list[Generated] = []
    for one in continued(loaded, texts, sampling):
        if not as_json:
            text = one.prompt + one.text
            shown = without_controls(text) if sys.stdout.isatty() else text
            print(*([""] if generated else []), shown, sep="\n", flush=True)
        generated.append(one)
    if as_json:
        print(json.dumps([asdict(one) for one in generated], indent=2, ensure_ascii=False))
    if any(one.ended == "positions" for one in generated):
        print(
            f"apollo-ds: stopped at {loaded.saved.positions:,} tokens, the most that the model takes", file=sys.stderr
        )
