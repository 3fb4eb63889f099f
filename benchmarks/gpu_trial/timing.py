"""What is timed: steps of this package, of a loop by hand and of the stock Trainer, at several depths."""

import gc
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
from speed.pacing import join_alone
from speed.settings import SETTINGS, Setting, recipe_of

from apollo_ds.config.deepspeed import precision
from apollo_ds.engine.hardware import measured_peak
from apollo_ds.models.flops import training_flops
from gpu_trial.host_waits import host_waits
from gpu_trial.loops import DROPOUT, seconds_a_step
from gpu_trial.places import BY_HAND, IS_TINY, OURS, SECONDS_FOR_SPEED, SPEED, STOCK

_TINY = {"hidden_size": 64, "num_heads": 1, "intermediate_size": 128, "vocab_size": 4096}
_NAMES = ("bert-cpu", "gpt2-cpu") if IS_TINY else ("bert-base-512", "gpt2-base-1024", "bert-base-128")
_SHORTER = "bert-base-128"
"""Of this setting only the ends are timed against the stock Trainer."""
_COMPILED = ("bert-base-512-compiled", "gpt2-base-1024-compiled")
_SECONDS_TO_COMPILE = 60.0
_WARM_UP = 3
_STEPS = 2 if IS_TINY else 12
_ALIGNMENT = 64
"""GPUs multiply fastest where a vocabulary is a multiple of this."""


class Measurements:
    """What has been found so far. It is written after each measurement, so that a time limit loses only one."""

    def __init__(self) -> None:
        self.limit = time.monotonic() + SECONDS_FOR_SPEED
        self.processes = join_alone()
        self.on_gpu = self.processes.device.type == "cuda"
        self.found: dict[str, Any] = {
            "device": torch.cuda.get_device_name() if self.on_gpu else "cpu",
            "torch": torch.__version__,
            "host_waits_a_step": {},
            "loops": [],
            "left_out": [] if find_spec("accelerate") else [f"{STOCK}: accelerate is not installed"],
            "errors": [],
        }

    def measure_peak(self, setting: Setting) -> None:
        """Note the operations a second that matrix products reach."""
        config = recipe_of(setting, self.processes).deepspeed
        self.found["peak_flops"] = measured_peak(self.processes, precision(config))

    def attempt(self, what: str, action: Callable[[], None]) -> None:
        """Measure something if there is time. What goes wrong is noted, and the next measurement can follow."""
        if time.monotonic() > self.limit:
            self.found["left_out"].append(f"{what}: no time left")
            return
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        try:
            action()
        except Exception:
            self.found["errors"].append(f"{what}: {traceback.format_exc()[-1500:]}")
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
        SPEED.write_text(json.dumps(self.found))

    def loop(self, name: str, way: str, setting: Setting, layers: int) -> None:
        """Time a loop. Utilisation counts the operations of the scored positions alone, whichever the loop computes."""

        def timed() -> None:
            seconds = seconds_a_step(way, self.processes, setting, layers, _WARM_UP, _STEPS)
            flops = training_flops(setting.shape, layers, setting.seq_len, setting.samples)
            record = {
                "setting": name,
                "way": way,
                "layers": layers,
                "milliseconds": seconds * 1000,
                "tokens_per_second": setting.samples * setting.seq_len / seconds,
                "utilisation": flops / seconds / self.found["peak_flops"],
                "vocabulary": setting.shape.vocab_size,
                "compiled": setting.compile_blocks,
                "peak_memory_bytes": torch.cuda.max_memory_allocated() if self.on_gpu else None,
            }
            self.found["loops"].append(record)

        self.attempt(f"{name}, {way}, {layers} layers", timed)

    def waits(self, name: str, setting: Setting, zero: int, with_young: bool = False) -> None:
        """Note where a step under a ZeRO stage makes the host wait."""
        case = f"{name}, zero {zero}{', half of the weights younger' if with_young else ''}"

        def noted() -> None:
            self.found["host_waits_a_step"][case] = host_waits(setting, self.processes, zero, with_young)

        self.attempt(f"host waits of {case}", noted)


def measure() -> None:
    """Measure all there is time for."""
    settings, measurements = _settings(), Measurements()
    measurements.measure_peak(next(iter(settings.values())))
    for name, setting in settings.items() if measurements.on_gpu else ():
        for zero in (1, 2, 3):
            measurements.waits(name, setting, zero)
        measurements.waits(name, setting, 1, with_young=True)
    for name, setting in settings.items():
        _beside_each_other(measurements, name, setting)
        if name != _SHORTER:
            _with_aligned_vocabulary(measurements, name, setting)
            _with_dropout(measurements, name, setting)
            _with_documents(measurements, name, setting)
    for name in _COMPILED if measurements.on_gpu else ():
        if time.monotonic() < measurements.limit - _SECONDS_TO_COMPILE:
            measurements.loop(name, OURS, SETTINGS[name], SETTINGS[name].shape.num_layers)


def _settings() -> dict[str, Setting]:
    chosen = {name: SETTINGS[name] for name in _NAMES}
    if not IS_TINY:
        return chosen
    return {
        name: replace(setting, samples=2, seq_len=32, shape=setting.shape.model_copy(update=_TINY))
        for name, setting in chosen.items()
    }


def _beside_each_other(measurements: Measurements, name: str, setting: Setting) -> None:
    full = setting.shape.num_layers
    stock_runs = find_spec("accelerate") is not None
    for layers in (1, full // 4, full // 2, full):
        measurements.loop(name, OURS, setting, layers)
        measurements.loop(name, BY_HAND, setting, layers)
        if stock_runs and (name != _SHORTER or layers in (1, full)):
            measurements.loop(name, STOCK, setting, layers)


def _with_aligned_vocabulary(measurements: Measurements, name: str, setting: Setting) -> None:
    """Time both with a vocabulary that a GPU is fast with, which those who know it give a loop by hand."""
    words = -(-setting.shape.vocab_size // _ALIGNMENT) * _ALIGNMENT
    if words == setting.shape.vocab_size:
        return
    aligned = replace(setting, shape=setting.shape.model_copy(update={"vocab_size": words}))
    for layers in (1, setting.shape.num_layers):
        for way in (OURS, BY_HAND):
            measurements.loop(f"{name}, vocabulary {words}", way, aligned, layers)


def _with_documents(measurements: Measurements, name: str, setting: Setting) -> None:
    """Time what it costs that documents do not see each other, at full depth."""
    parted = replace(setting, document_mask=True)
    measurements.loop(f"{name}, documents parted", OURS, parted, setting.shape.num_layers)


def _with_dropout(measurements: Measurements, name: str, setting: Setting) -> None:
    """Time what dropout costs, at full depth."""
    shape = setting.shape.model_copy(update={"dropout": DROPOUT})
    measurements.loop(f"{name}, dropout {DROPOUT}", OURS, replace(setting, shape=shape), shape.num_layers)
