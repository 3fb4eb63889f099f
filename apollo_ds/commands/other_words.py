"""Explain words that users type in place of a command or an option of `apollo-ds`, such as `--steps`."""

from pathlib import Path
from typing import Any

from apollo_ds.commands.arguments import KEYS
from data_prep.commands import GROUPS as OF_PREP

_TRAINS = ("continue", "pretrain", "resume", "run", "start")
"""The names that other programs give to training."""
_MEANT = {
    "chat": "generate",
    "complete": "generate",
    "list": "runs",
    "ls": "runs",
    "predict": "generate",
    "push": "export",
    "upload": "export",
    "version": "--version",
}
"""Other commands of other programs, and the words of `apollo-ds` that they stand for."""
_RANKS = ("--gpus", "--nproc-per-node", "--nproc_per_node", "--num-gpus", "--num_gpus", "--num-processes")
"""The options of other launchers that stand for `--ranks`."""


def explain(word: str, context: Any) -> str | None:
    """A message for a word that is not a command, or not an option of the context's command: what to write instead.

    None if the word is not known here either.
    """
    from apollo_ds.config.packaged import recipe_names
    from apollo_ds.config.words import is_key

    typed = context.find_root().obj
    if not word.startswith("-"):
        if word in _TRAINS:
            return f"there is no command {word}; apollo-ds train trains a recipe, and resumes its run"
        if word in _MEANT:
            return f"there is no command {word}; did you mean {_MEANT[word]}?"
        if any(word in commands for commands in OF_PREP.values()):
            return f"{word} is a command of apollo-prep; write apollo-prep {' '.join(typed)}"
        if "=" in word or word in recipe_names() or Path(word).suffix in (".yaml", ".yml"):
            return f"{word} is no command; to train, write apollo-ds train {' '.join(typed)}"
        return None
    if word in _RANKS and any("--ranks" in param.opts for param in context.command.params):
        return f"there is no option {word}; did you mean --ranks?"
    option, _, value = next((given for given in typed if given.partition("=")[0] == word), word).partition("=")
    key = option.lstrip("-").replace("-", "_")
    if not is_key(key) or not any(param.name == KEYS for param in context.command.params):
        return None
    following = typed[typed.index(option) + 1 :] if option in typed else []
    value = value or next((given for given in following[:1] if given[0] != "-"), "VALUE")
    return f"{option} is not an option: {key} is a key of the recipe; write {key}={value}, without dashes"
