"""Records of fine-tuning."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import downstream
import pytest
import yaml
from downstream import Plan, read_record, record

from apollo_ds.finetune.results import Results
from apollo_ds.finetune.settings import Settings

MODELS = ("recipe/tiny/scratch,seed=1", "recipe/tiny/sprout,jump_at=0.5,seed=1")
SCORES = {(0.001, 1): 0.5, (0.002, 1): 0.75, (0.002, 2): 0.25, (0.002, 3): 0.625}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(downstream, "RUNS", tmp_path / "runs")
    values = {"models": list(MODELS), "learning_rates": [0.001, 0.002], "seeds": 3, "epochs": 1, "max_length": 64}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
    return Plan.read(tmp_path / "tiny.yaml")


def train(plan: Plan, model: str, task: str, **scores: float) -> dict[str, Any]:
    """What fine-tuning leaves; `scores` are added to each run's."""
    settings = Settings(task, "0a", "1e5", 1, 32, 64, None, "fp32")
    about = {"metrics": ["matthews", "accuracy"], "sizes": {"train": 9, "dev": 3}, "machine": {"device": "cpu"}}
    results = Results.open(
        plan.trained(model, task), settings, {**about, "baseline": {"matthews": 0.0, "accuracy": 0.5}}
    )
    for (rate, seed), score in SCORES.items():
        final = {"matthews": score + scores.get("better", 0.0), "accuracy": score}
        epochs = [{"epoch": 1, "loss": 0.7, "metrics": final}]
        results.add({"learning_rate": rate, "seed": seed, "final": final, "epochs": epochs, "seconds": 1.5})
    return json.loads((plan.trained(model, task) / "results.json").read_text())


def test_a_record_says_what_the_results_say(plan: Plan) -> None:
    written = {(model, task): train(plan, model, task) for model in MODELS for task in ("cola", "rte")}
    record(plan)
    found = read_record(plan)
    assert found.keys() == written.keys()
    for job, results in found.items():
        assert asdict(results.best(results.rates())) == written[job]["best"]
        assert [run["final"] for run in results.runs] == [run["final"] for run in written[job]["runs"]]
        assert {key: results.values[key] for key in downstream._ABOUT} == {
            key: written[job][key] for key in downstream._ABOUT
        }


def test_what_was_recorded_stays_until_it_comes_anew(plan: Plan) -> None:
    train(plan, MODELS[0], "cola")
    record(plan)
    (plan.trained(MODELS[0], "cola") / "results.json").unlink()
    train(plan, MODELS[1], "cola")
    record(plan)
    (plan.trained(MODELS[1], "cola") / "results.json").unlink()
    train(plan, MODELS[1], "cola", better=0.125)
    record(plan)
    best = {
        model: results.best(results.rates()).metrics["matthews"].median
        for (model, _), results in read_record(plan).items()
    }
    assert best == {MODELS[0]: 0.625, MODELS[1]: 0.75}
