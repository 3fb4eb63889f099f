"""Print the counts of a manifest, for people."""

from rich.console import Console
from rich.table import Table

from data_prep.manifest import Manifest


def summarize(manifest: Manifest, console: Console) -> None:
    """Print the sources, the splits and the tokenizer of a folder of shards."""
    table = Table("source", "documents", "MB", "dropped", box=None, pad_edge=False, header_style="bold")
    for source in manifest.sources:
        reasons = source.dropped.items()
        dropped = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in reasons if count)
        megabytes = "unknown" if source.bytes is None else f"{source.bytes / 1e6:,.1f}"
        table.add_row(source.name, f"{source.documents:,}", megabytes, dropped or "none")
    console.print(table)
    table = Table("split", "documents", "tokens", box=None, pad_edge=False, header_style="bold")
    for name, split in manifest.splits.items():
        table.add_row(name, f"{split.documents:,}", f"{split.tokens:,}")
    console.print(table)
    kind, size = manifest.tokenizer.kind, manifest.tokenizer.vocab_size
    entropy = manifest.unigram_entropy
    console.print(f"{kind} of {size:,} tokens; unigram entropy {entropy:.4f} nats per token", highlight=False)
