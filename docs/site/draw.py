"""Draw the pictures of docs/concepts/ and docs/development/ anew: `make pictures`."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

from data_prep.figure_style import save_picture

DOCS = Path(__file__).resolve().parents[1]
PICTURES = {
    "schedule": "concepts/schedule.png",
    "layer_map": "concepts/layer-map.png",
    "growth": "concepts/growth.png",
    "engine": "concepts/engine.png",
    "checkpoints": "concepts/checkpoints.png",
    "rooms": "development/rooms.png",
}
"""By the name of a file of drawn/, where its picture is."""


def picture(name: str) -> tuple[Figure, str]:
    """A picture, and all that it says: what was drawn, and its letters."""
    module: Any = import_module(f"drawn.{name}")
    facts = json.loads(json.dumps(module.facts()))
    figure = module.draw(facts)
    letters = [text.get_text() for text in figure.findobj(Text) if text.get_text()]
    return figure, json.dumps({"facts": facts, "letters": letters})


def main() -> None:
    """Draw all pictures."""
    for name, path in PICTURES.items():
        figure, says = picture(name)
        save_picture(figure, DOCS / path, description=says)


if __name__ == "__main__":
    main()
