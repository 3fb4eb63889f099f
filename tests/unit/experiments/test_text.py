"""Tables of a comparison in a terminal."""

from io import StringIO

from rich.console import Console

from apollo_ds.experiments.compare.text import Table


def test_a_long_name_goes_on_in_further_lines_and_leaves_numbers_whole() -> None:
    name = "apollo,growth_map=interpolate,new_layers=copy,moments=map,layers=[2,12],grow_at=[0.25],steps=5510"
    file = StringIO()
    console = Console(width=60, file=file)
    console.print(Table(("recipe", "final loss", "FLOPs"), [[name, "3.8409", "1.539e+13"]]))
    shown = file.getvalue()
    assert "3.8409" in shown and "1.539e+13" in shown and "…" not in shown
    assert name == "".join(line.split()[0] for line in shown.splitlines()[3:] if line.strip())
