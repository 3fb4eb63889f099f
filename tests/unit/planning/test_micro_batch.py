"""How many samples a rank processes at once."""

from dataclasses import replace

from recipes import tiny

from apollo_ds.planning.micro_batch import activation_bytes, micro_batch_of


def test_a_step_of_fewer_layers_takes_more_samples_at_once() -> None:
    recipe = tiny("gpt2", "unused", global_batch_size=48, micro_batch_size=4)
    schedule = recipe.schedule()
    plans = [schedule.at(step) for step in range(schedule.total_steps)]
    sizes = {plan.depth: micro_batch_of(recipe, schedule.stages[plan.stage], plan, 2) for plan in plans}
    assert sizes[6] == 4
    assert sizes[1] == 12  # the largest divisor of 24 that is no more than 4 * (6 + 1) / (1 + 1)
    stage = schedule.stages[0]
    room = 4 * activation_bytes(recipe, stage, 6)
    assert all(size * activation_bytes(recipe, stage, depth) <= room for depth, size in sizes.items())


def test_a_stage_that_learns_its_growth_is_not_checkpointed() -> None:
    recipe = tiny("gpt2", "unused", method="ligo", activation_checkpointing=True)
    learning = next(stage for stage in recipe.schedule().stages if stage.learned_growth)
    plain = recipe.model_copy(update={"activation_checkpointing": False})
    assert activation_bytes(recipe, learning, 6) == activation_bytes(plain, learning, 6)
    assert (
        activation_bytes(recipe, replace(learning, learned_growth=None), 6) < activation_bytes(plain, learning, 6) / 5
    )


def test_shorter_samples_and_frozen_layers_make_room_too() -> None:
    recipe = tiny("gpt2", "unused", global_batch_size=48, micro_batch_size=4)
    schedule = recipe.schedule()
    last = schedule.at(schedule.total_steps - 1)
    stage = schedule.stages[last.stage]
    assert micro_batch_of(recipe, stage, last, 1) == 4
    assert micro_batch_of(recipe, replace(stage, seq_len=16), last, 1) == 8
    assert micro_batch_of(recipe, replace(stage, pool=2), last, 1) == 6  # embeddings and head see all tokens
    assert micro_batch_of(recipe, stage, replace(last, first_trained=5), 1) == 12


def test_where_micro_batches_draw_their_depth_there_are_equally_many() -> None:
    method = {"name": "apollo", "layers": [1, 3, 6], "grow_at": [0.25, 0.5], "draw": "micro_step"}
    recipe = tiny("gpt2", "unused", method=method, global_batch_size=48)
    schedule = recipe.schedule()
    plans = [schedule.at(step) for step in range(schedule.total_steps)]
    assert {micro_batch_of(recipe, schedule.stages[plan.stage], plan, 1) for plan in plans} == {4}
