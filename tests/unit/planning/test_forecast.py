"""Memory and time of a recipe, against figures worked out by hand."""

import json

import pytest
from project import PROJECT
from sources import needed_words

from apollo_ds.__main__ import main
from apollo_ds.config.load import load_recipe
from apollo_ds.methods import METHODS
from apollo_ds.planning.forecast import Machine, forecast
from apollo_ds.planning.plan import plan
from apollo_ds.planning.traffic import growths

BERT_BASE = str(PROJECT / "launch" / "recipes" / "bert-base.yaml")


def test_bert_base_on_a_node(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", BERT_BASE, "peak_flops=5e14", "--ranks", "8", "--utilisation", "0.4", "--json"]
    with pytest.raises(SystemExit):  # its text is not there
        main(words)
    planned = json.loads(capsys.readouterr().out)
    expected = planned["forecast"]
    assert expected["micro_batch"] == 48
    assert expected["days"] == pytest.approx(5.023e19 / (8 * 5e14 * 0.4) / 86400, rel=1e-3)
    assert expected["tokens_per_second"] == pytest.approx(planned["total"]["tokens"] / (expected["days"] * 86400))
    activations = 13 * 48 * 512 * 768 * 34
    buckets = 2 * 50_000_000 * 2  # one is averaged while the other is filled, in bf16
    assert expected["memory_bytes"]["1"] == pytest.approx(109_514_298 * 5.5 + activations + buckets)
    under_1, sent = expected["by_zero_stage"]["1"], 3 * 109_514_298 * 2 * 7 / 8
    assert under_1["node_memory_bytes"] == 8 * under_1["memory_bytes"] == 8 * expected["memory_bytes"]["1"]
    assert (under_1["step_sent_bytes"], under_1["step_sent_seconds"]) == pytest.approx((sent, sent / 50e9))
    read = 2 * expected["checkpoint_bytes"]
    assert under_1["resume_read_bytes"] == read == 2 * 12 * 109_514_298
    assert under_1["resume_seconds"] == pytest.approx(read / 10e9 + under_1["resume_sent_bytes"] / 50e9)
    assert under_1["growth_seconds"] == under_1["growth_sent_bytes"] / 50e9


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_has_a_forecast(method: str) -> None:
    recipe = load_recipe(BERT_BASE, [needed_words(method, load_recipe(BERT_BASE).model)])
    result = forecast(recipe, plan(recipe)["total"], Machine(8))
    for figures in result["by_zero_stage"].values():
        assert (figures["growth_seconds"] is None) == (not growths(recipe.schedule().stages))
        assert min(value for value in figures.values() if value is not None) > 0


def test_the_plan_for_people_says_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", BERT_BASE, "peak_flops=5e14", "--ranks", "8", "--utilisation", "0.4"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "8 ranks at 40% of 500 TFLOP/s: 3.13 M tokens/s, 8.7 h" in printed
    assert printed.endswith("Stages train under ZeRO 1-1-1-1.")


def test_time_needs_a_peak_and_memory_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["plan", BERT_BASE, "--ranks", "8"], ["plan", BERT_BASE, "--ranks", "8", "--json"]):
        with pytest.raises(SystemExit):
            main(words)
    printed, planned = capsys.readouterr().out.split("{", 1)
    assert "For tokens a second and time, add peak_flops=9.9e14" in printed
    result = json.loads("{" + planned)["forecast"]
    assert (result["days"], result["tokens_per_second"]) == (None, None)
    assert result["memory_bytes"]["3"] > 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--ranks", "0"), "--ranks: must be at least 1, not 0"),
        (("--ranks", "-2"), "--ranks: must be at least 1, not -2"),
        (("--ranks", "8", "--ranks-per-node", "0"), "--ranks-per-node: must be at least 1, not 0"),
        (("--ranks", "8", "--network", "0"), "--network: must be gigabytes a second, from 1e-06 to 1e+06, not 0"),
        (
            ("--ranks", "8", "--network", "1e300"),
            "--network: must be gigabytes a second, from 1e-06 to 1e+06, not 1e+300",
        ),
        (("--storage", "10"), "--storage: is for a forecast; give --ranks too"),
        (("--utilisation", "0.5"), "--utilisation: is for a forecast; give --ranks too"),
        (("--ranks", "8", "--storage", "nan"), "--storage: must be gigabytes a second, from 1e-06 to 1e+06, not nan"),
        (("--ranks", "8", "--utilisation", "40"), "--utilisation: must be above 0 and at most 1, such as 0.4, not 40"),
        (("--ranks", "8", "--utilisation", "0"), "--utilisation: must be above 0 and at most 1, such as 0.4, not 0"),
    ],
)
def test_a_forecast_of_nothing_is_refused(
    words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["plan", BERT_BASE, "peak_flops=5e14", *words])
    assert (caught.value.code, capsys.readouterr().err) == (2, f"apollo-ds: {expected}\n")
