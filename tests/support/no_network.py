"""Run commands one after the other in this process, in which Python opens no connection and unpickles nothing.

python no_network.py FOLDER: prepares text, plans, trains on one rank, exports, fine-tunes and compares, in FOLDER. What
was tried against the rule is printed to standard error, and ends with exit code 1.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

LOOPBACK = ("127.0.0.1", "::1", "localhost", "", None)
BROKEN: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: it refuses connections that leave this machine, and every class that a pickle names."""
    host: Any = None
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a path is that of a Unix socket
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    if event == "pickle.find_class" or host not in LOOPBACK:
        BROKEN.append(f"{event} {arguments}")
        raise PermissionError(BROKEN[-1])


def run(command: Any, *words: str) -> None:
    """Run a command line in this process."""
    sys.argv[1:] = words
    try:
        command()
    except SystemExit as ended:
        if ended.code:
            raise


def main(folder: Path) -> None:
    """Do what the file says, in a folder."""
    os.chdir(folder)
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ.pop(variable, None)
    os.environ.update(HF_HOME=str(folder / "hub"), RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    sys.addaudithook(watch)
    from corpora import write_text

    from apollo_ds import train
    from apollo_ds.__main__ import main as apollo
    from data_prep.__main__ import main as prep

    write_text(folder / "text.jsonl")
    run(prep, "build", "--source", "text.jsonl", "--tokenizer", "wordpiece", "--vocab-size", "300", "--out", "text")
    vocabulary = json.loads(Path("text/manifest.json").read_text())["tokenizer"]["vocab_size"]
    small = ["model.num_layers=2", "model.hidden_size=16", "model.num_heads=2", "model.intermediate_size=32"]
    sizes = [
        "model.family=bert",
        *small,
        f"model.vocab_size={vocabulary}",
        "model.max_position_embeddings=32",
        "seq_len=32",
    ]
    steps = ["steps=2", "eval_every=1", "eval_samples=8", "global_batch_size=4", "micro_batch_size=4"]
    recipe = ["data=text", "out=run", "method=scratch", *sizes, *steps]
    run(apollo, "plan", *recipe)
    train(*recipe)  # as a call: the command would end this process, which is a rank
    run(apollo, "fill", "run", "the [MASK]")
    run(apollo, "export", "run", "model")
    Path("task").mkdir()
    for split in ("train", "dev"):
        Path(f"task/{split}.tsv").write_text("sentence\tlabel\na good film\t1\na bad film\t0\n")
    quick = ["--epochs", "1", "--seeds", "1", "--max-length", "16"]
    run(apollo, "finetune", "model", "--task", "sst2", "--data", "task", "--out", "scores", *quick)
    run(apollo, "compare", "run", "--out", "page")
    if BROKEN:
        sys.exit("\n".join(BROKEN))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
