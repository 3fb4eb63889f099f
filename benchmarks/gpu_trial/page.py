"""A page for results.json: what was checked, and how fast each loop is."""

from typing import Any

from gpu_trial.places import BY_HAND, OURS, STOCK

Results = dict[str, Any]


def page(results: Results) -> str:
    """Markdown."""
    speed = results["speed"]
    lines = ["# A trial on one GPU", ""]
    if speed:
        lines += [f"{speed['device']}, PyTorch {speed['torch']}. {_peak(speed)}", ""]
    lines += [*_checks(results["checks"]), "", *_growths(results["runs"])]
    if speed:
        lines += ["", *_loops(speed["loops"]), "", *_waits(speed)]
    return "\n".join(lines) + "\n"


def _peak(speed: Results) -> str:
    return f"Matrix products reach {speed['peak_flops'] / 1e12:,.0f} TFLOP/s, of which utilisation is a part."


def _checks(checks: Results) -> list[str]:
    failed = [f"- {name}: {by}" for name, (verdict, by) in checks.items() if verdict != "PASS"]
    if not failed:
        return [f"All of {len(checks)} checks pass."]
    return [f"Of {len(checks)} checks {len(failed)} fail:", "", *failed]


def _growths(runs: Results) -> list[str]:
    rows = ["| run | layers | held-out loss before and after | growth, seconds |", "|---|---|---|---|"]
    for name, run in runs.items():
        for growth in run.get("growths", []):
            losses = f"{growth['loss_before']:.6f}, {growth['loss_after']:.6f}"
            rows.append(f"| {name} | {growth['from']} -> {growth['to']} | {losses} | {growth['seconds']:.2f} |")
    return rows


def _loops(loops: list[Results]) -> list[str]:
    rates = {(one["setting"], one["layers"], one["way"]): one["tokens_per_second"] for one in loops}
    rows = [
        "| setting | layers | milliseconds a step | tokens a second | utilisation | peak memory | times by hand | "
        "times the stock Trainer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in loops:
        if one["way"] != OURS:
            continue
        setting, layers, rate = one["setting"], one["layers"], one["tokens_per_second"]
        ratios = [_ratio(rate, rates.get((setting, layers, way))) for way in (BY_HAND, STOCK)]
        memory = f"{(one['peak_memory_bytes'] or 0) / 1e9:.1f} GB"
        figures = [f"{one['milliseconds']:.1f}", f"{rate:,.0f}", f"{one['utilisation']:.1%}", memory, *ratios]
        rows.append(f"| {setting} | {layers} | {' | '.join(figures)} |")
    return rows


def _ratio(ours: float, theirs: float | None) -> str:
    return f"{ours / theirs:.2f}" if theirs else ""


def _waits(speed: Results) -> list[str]:
    told = [f"- {case}: {', '.join(places) or 'none'}" for case, places in speed["host_waits_a_step"].items()]
    return ["Where a step makes the host wait for the GPU:", "", *told]
