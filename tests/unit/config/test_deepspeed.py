"""DeepSpeed's configuration in a recipe: what may stand in it, and what the machine decides."""

import json
from pathlib import Path

import pytest
from least_recipe import complaint
from project import PROJECT

from apollo_ds.config.deepspeed import bucket_elements, precision, settle, with_buckets
from apollo_ds.config.load import load_recipe
from apollo_ds.errors import UserError

DEEPSPEED_FILES = sorted((PROJECT / "ds_configs").glob("*.json"))


def test_overrides_reach_inside_the_deepspeed_file(recipe_file: Path) -> None:
    overrides = ["deepspeed.zero_optimization.stage=3", "deepspeed.bf16.enabled=false"]
    before, after = load_recipe(recipe_file).deepspeed, load_recipe(recipe_file, overrides).deepspeed
    assert (before["bf16"]["enabled"], after["bf16"]["enabled"]) == ("auto", False)
    assert after["zero_optimization"] == {**before["zero_optimization"], "stage": 3}
    assert {**after, "zero_optimization": 0, "bf16": 0} == {**before, "zero_optimization": 0, "bf16": 0}


def test_the_project_s_deepspeed_files_are_found_from_any_folder(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_recipe(recipe_file).deepspeed["zero_optimization"]["stage"] == 1
    (tmp_path / "mine.json").write_text('{"gradient_clipping": 0.5}')
    assert load_recipe(recipe_file, ["deepspeed=mine.json"]).deepspeed == {"gradient_clipping": 0.5}


@pytest.mark.parametrize("path", DEEPSPEED_FILES, ids=lambda path: path.stem)
def test_the_deepspeed_files_that_come_with_the_package_are_accepted(path: Path, recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, [f"deepspeed={path}"])
    stage, _, variant = path.stem.removeprefix("zero").partition("_")
    assert recipe.deepspeed["zero_optimization"]["stage"] == int(stage)
    fixed = variant if variant in ("fp16", "fp32") else None
    assert precision(settle(recipe.deepspeed, computes_bf16=True, world_size=2)) == (fixed or "bf16")
    assert precision(settle(recipe.deepspeed, computes_bf16=False, world_size=2)) == (fixed or "fp32")


@pytest.mark.parametrize(
    ("file", "computes_bf16", "world_size", "stage"),
    [
        ("zero1", False, 1, 0),
        ("zero2", False, 1, 0),
        ("zero1", True, 1, 1),
        ("zero1", False, 2, 1),
        ("zero2_offload", False, 1, 2),
        ("zero3", False, 1, 3),
    ],
)
def test_a_single_rank_shards_and_sends_nothing(file: str, computes_bf16: bool, world_size: int, stage: int) -> None:
    config = json.loads((DEEPSPEED_FILES[0].parent / f"{file}.json").read_text())
    settled = settle(config, computes_bf16, world_size)["zero_optimization"]
    nothing_to_send = {"overlap_comm": False, "contiguous_gradients": False} if file in ("zero1", "zero2") else {}
    expected = {**config["zero_optimization"], **(nothing_to_send if world_size == 1 else {}), "stage": stage}
    assert settled == expected


def test_deepspeed_s_throughput_timer_waits_for_no_device_unless_asked_to() -> None:
    assert settle({}, True, 2)["timers"] == {"throughput": {"enabled": False}}
    asked = {"throughput": {"enabled": True, "synchronized": False}}
    assert settle({"timers": asked}, True, 2)["timers"] == asked


def test_compiled_layers_are_not_for_zero_3(recipe_file: Path) -> None:
    with pytest.raises(UserError, match=r"compile_blocks: ZeRO 3 moves weights inside each layer; use stage 1 or 2"):
        load_recipe(recipe_file, ["compile_blocks=true", "deepspeed.zero_optimization.stage=3"])


def test_a_missing_deepspeed_file_is_named(recipe_file: Path) -> None:
    recipe_file.write_text(recipe_file.read_text().replace("zero1.json", "zero9.json"))
    said = complaint(recipe_file)
    assert said.startswith(
        f"{recipe_file}: deepspeed: there is no file ds_configs/zero9.json; did you mean ds_configs/zero"
    )


@pytest.mark.parametrize(
    ("content", "expected"), [("{", "not valid JSON: "), ("[1]", "deepspeed: must be a mapping, not [1]")]
)
def test_a_damaged_deepspeed_file_is_refused(content: str, expected: str, recipe_file: Path) -> None:
    damaged = recipe_file.with_name("damaged.json")
    damaged.write_text(content)
    assert expected in complaint(recipe_file, f"deepspeed={damaged}")


def test_a_file_for_the_trainer_is_told_of_once_with_all_keys_to_remove(recipe_file: Path) -> None:
    file = recipe_file.with_name("trainer.json")
    adam = {"type": "AdamW", "params": {"lr": "auto", "betas": "auto"}}
    zero = {"stage": 2, "reduce_bucket_size": "auto", "offload_optimizer": {"device": "auto"}}
    values = {"bf16": {"enabled": "auto"}, "optimizer": adam, "zero_optimization": zero, "train_batch_size": "auto"}
    file.write_text(json.dumps({**values, "gradient_clipping": "auto"}))
    told = "optimizer, zero_optimization.reduce_bucket_size, zero_optimization.offload_optimizer.device, "
    assert complaint(recipe_file, f"deepspeed={file}").endswith(
        f"{told}train_batch_size, gradient_clipping; without gradient_clipping nothing is clipped"
    )


@pytest.mark.parametrize(
    ("stage", "stated", "trained", "elements", "overlaps"),
    [
        (1, None, 110_000_000, 50_000_000, True),
        (2, None, 20_000_000, 20_000_000, False),
        (1, 500_000_000, 110_000_000, 110_000_000, False),
        (2, 25_000_000, 110_000_000, 25_000_000, True),
        (3, None, 20_000_000, 20_000_000, True),  # there it is about weights too
    ],
)
def test_buckets_are_no_larger_than_the_model_and_overlap_where_there_are_several(
    stage: int, stated: int | None, trained: int, elements: int, overlaps: bool
) -> None:
    zero = {"stage": stage, "overlap_comm": True, **({"reduce_bucket_size": stated} if stated else {})}
    found = with_buckets({"zero_optimization": zero}, trained)["zero_optimization"]
    assert found == {"stage": stage, "reduce_bucket_size": elements, "overlap_comm": overlaps}


@pytest.mark.parametrize(
    ("zero", "trained", "ranks", "elements"),
    [
        ({"stage": 1, "overlap_comm": True}, 110_000_000, 8, 100_000_000),  # one is averaged, the other filled
        ({"stage": 1, "overlap_comm": False}, 110_000_000, 8, 50_000_000),
        ({"stage": 2, "overlap_comm": True}, 20_000_000, 8, 20_000_000),
        ({"stage": 2, "contiguous_gradients": False}, 110_000_000, 8, 50_000_000),  # a copy
        ({"stage": 3, "overlap_comm": True}, 110_000_000, 8, 50_000_000),
        ({"stage": 0}, 110_000_000, 8, 110_000_000),
        ({"stage": 0}, 7_000_000_000, 8, 500_000_000),
        ({"stage": 0}, 110_000_000, 1, 0),
        ({"stage": 1, "contiguous_gradients": False, "overlap_comm": False}, 110_000_000, 1, 0),
        ({"stage": 2, "offload_optimizer": {"device": "cpu"}}, 110_000_000, 1, 50_000_000),
    ],
)
def test_what_buckets_hold(zero: dict[str, object], trained: int, ranks: int, elements: int) -> None:
    assert bucket_elements({"zero_optimization": zero}, trained, ranks) == elements
