"""A number and what it counts."""


def counted(number: int, what: str) -> str:
    """`1 layer`, `3 layers`, `1,000 layers`."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
