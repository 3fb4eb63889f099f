"""What ends a stage before its steps are done."""

from apollo_ds.schedule.triggers import Evidence, GradientsDisagree, SlopeFlatterThan


def test_a_flat_loss_ends_a_stage_and_a_steep_one_does_not() -> None:
    trigger = SlopeFlatterThan(-0.05)
    flops = [1e9, 2e9, 4e9]
    assert not trigger.fires(Evidence(flops[:2], [3.0, 3.0]))
    assert trigger.fires(Evidence(flops, [3.0, 2.99, 2.98]))
    assert not trigger.fires(Evidence(flops, [3.0, 2.7, 2.4]))


def test_layers_part_when_gradients_disagree_three_times_running() -> None:
    assert not GradientsDisagree().fires(Evidence(correlations=[0.2, 0.9, 0.2, 0.2]))
    assert GradientsDisagree().fires(Evidence(correlations=[0.9, 0.2, 0.4, 0.1]))
