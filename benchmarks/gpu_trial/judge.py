"""What all parts came to: checks that pass or fail, and the figures behind them."""

import json
import time
from pathlib import Path
from typing import Any

from gpu_trial.page import page
from gpu_trial.places import BY_HAND, OURS, OUT, SPEED, STARTED, STOCK, WORK

Run = dict[str, Any]
Checks = dict[str, tuple[str, Any]]
"""For each check, PASS or FAIL and the figure that decided it."""

_GROWTH = ("step", "from", "to", "zero_stage", "loss_before", "loss_after", "seconds", "peak_memory_bytes")
_TAIL = 1500
_KEPT_LOSS = {"fp32": 0.0}
_KEPT_LOSS_OTHERWISE = 2e-3
"""How far a growth may move the held-out loss, by number format."""
_SPREAD = {"fp32": 1e-3, "bf16": 5e-3, "fp16": 5e-3}
"""How far the held-out losses of ZeRO stages may lie apart, at any evaluation."""
_RESUMED = 2e-2
"""How far a step's loss after a kill may lie from that of the undisturbed run."""


def judge() -> bool:
    """Write results.json and results.md, and print the checks. Returns whether all of them pass."""
    runs = {code.stem: _run(code) for code in sorted(WORK.glob("*.code"))}
    found = json.loads(SPEED.read_text()) if SPEED.exists() else {}
    checks: Checks = {}
    for name, run in runs.items():
        checks |= _run_checks(name, run)
    checks |= _stages_agree(runs) | _resumes(runs)
    if found:
        checks["speed: every loop runs"] = _verdict(not found["errors"], found["errors"])
    table = _speed_table(found)
    kept = {name: {key: value for key, value in run.items() if key != "losses"} for name, run in runs.items()}
    seconds = time.time() - STARTED
    results = {"checks": checks, "speed_table": table, "speed": found, "runs": kept, "seconds": seconds}
    (OUT / "results.json").write_text(json.dumps(results, indent=1))
    (OUT / "results.md").write_text(page(results))
    for check, (verdict, by) in checks.items():
        print(f"{verdict}  {check}  {json.dumps(by)[:300]}")
    for row in table:
        print(json.dumps(row))
    if found:
        print(f"waits a step: {json.dumps(found['host_waits_a_step'])}  left out: {found['left_out']}")
    print(f"{seconds:.0f} s; {OUT / 'results.json'}")
    return bool(checks) and all(verdict == "PASS" for verdict, _ in checks.values())


def _verdict(passes: bool, by: Any) -> tuple[str, Any]:
    return ("PASS" if passes else "FAIL", by)


def _run(code: Path) -> Run:
    """How a run ended, and what it recorded."""
    ended, seconds = code.read_text().split()
    run: Run = {"code": int(ended), "wall_seconds": int(seconds)}
    log = code.with_suffix(".log")
    if run["code"] and log.exists():
        run["log_tail"] = log.read_text()[-_TAIL:]
    metrics = WORK / code.stem / "metrics.jsonl"
    return run | _recorded(metrics) if metrics.exists() else run


def _recorded(metrics: Path) -> Run:
    events: dict[str, list[dict[str, Any]]] = {}
    for line in metrics.read_text().splitlines():
        event = json.loads(line)
        events.setdefault(event["event"], []).append(event)
    steps, ranks = events.get("step", []), events.get("ranks", [{}])[-1]
    last = steps[-1] if steps else {}
    return {
        "growths": [{key: growth.get(key) for key in _GROWTH} for growth in events.get("growth", [])],
        "evals": [(one["step"], one["loss"]) for one in events.get("eval", [])],
        "steps": len(steps),
        "losses": {step["step"]: step["loss"] for step in steps},
        "skipped": last.get("skipped_steps"),
        "start": events.get("start", [None])[0],
        "rollbacks": len(events.get("rollback", [])),
        "memory": ranks.get("memory_bytes"),
        "utilisation": ranks.get("utilisation"),
        "tokens_per_second_last": last.get("tokens_per_second"),
    }


def _run_checks(name: str, run: Run) -> Checks:
    checks = {f"{name}: ends with 0": _verdict(run["code"] == 0, run["code"])}
    if run.get("growths"):
        gap = max(abs(growth["loss_after"] - growth["loss_before"]) for growth in run["growths"])
        tolerance = next((most for key, most in _KEPT_LOSS.items() if key in name), _KEPT_LOSS_OTHERWISE)
        checks[f"{name}: growth keeps the loss"] = _verdict(gap <= tolerance, gap)
    return checks


def _stages_agree(runs: dict[str, Run]) -> Checks:
    losses = {
        name: [loss for _, loss in run["evals"]]
        for name, run in runs.items()
        if name.startswith("zero") and run.get("evals")
    }
    checks: Checks = {}
    for number_format, most in _SPREAD.items():
        own = {name: course for name, course in losses.items() if name.endswith(number_format)}
        if len(own) > 1:
            spread = max(max(at_a_step) - min(at_a_step) for at_a_step in zip(*own.values(), strict=False))
            checks[f"{number_format}: ZeRO stages agree"] = _verdict(spread < most, own)
    return checks


def _resumes(runs: dict[str, Run]) -> Checks:
    if not {"killed", "undisturbed"} <= runs.keys():
        return {}
    mine, other = (runs[name].get("losses", {}) for name in ("killed", "undisturbed"))
    gaps = [abs(mine[step] - other[step]) for step in mine if step in other]
    same = bool(gaps) and max(gaps) < _RESUMED and len(mine) >= len(other)
    return {"killed twice: the losses are those of the undisturbed run": _verdict(same, max(gaps, default=None))}


def _speed_table(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each setting and depth: this package's rate, and how many times as fast as the others it is."""
    rates = {(one["setting"], one["layers"], one["way"]): one["tokens_per_second"] for one in found.get("loops", [])}
    return [
        {
            "setting": setting,
            "layers": layers,
            "tokens_per_second": round(rate),
            "times_by_hand": _ratio(rate, rates.get((setting, layers, BY_HAND))),
            "times_trainer": _ratio(rate, rates.get((setting, layers, STOCK))),
        }
        for (setting, layers, way), rate in rates.items()
        if way == OURS
    ]


def _ratio(ours: float, theirs: float | None) -> float | None:
    return ours / theirs if theirs else None
