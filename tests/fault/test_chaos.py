"""The chaos run, bounded: 32 streams and 20 kills, once on four simulated GPUs and once on the real decoder. chaos.py alone runs as long as one likes."""

import chaos
import disturbance


def assert_no_violation(*arguments):
    result = chaos.run(chaos.parse(["--seed=20261127", *arguments]))
    assert not result.violations, result.violations
    return result


def test_twenty_kills_on_four_simulated_gpus():
    """Tokens there depend on all of a sequence's KV blocks, so that a lost, doubled or misplaced one shows."""
    result = assert_no_violation("--device=simulated", "--tensor_parallel_size=4")
    assert len(result.kills) == 20 and {kill.moment for kill in result.kills} == set(disturbance.MOMENTS)


def test_twenty_kills_on_the_real_decoder():
    """SmolLM2 on three ranks."""
    result = assert_no_violation("--tensor_parallel_size=3")
    assert len(result.kills) == 20 and {kill.moment for kill in result.kills} == set(disturbance.MOMENTS)


def test_differences_are_counted_by_kind():
    text = "abcdefghij"
    assert chaos.compare(text, text) == {"lost": 0, "duplicated": 0, "changed": 0}
    assert chaos.compare(text, "abcfghij") == {"lost": 2, "duplicated": 0, "changed": 0}
    assert chaos.compare(text, "abcdefdefghij") == {"lost": 0, "duplicated": 3, "changed": 0}
    assert chaos.compare([1, 2, 3, 4], [1, 9, 3, 4]) == {"lost": 0, "duplicated": 0, "changed": 1}


def test_a_plan_has_every_moment_and_loses_a_worker_before_a_recovery():
    for seed in range(200):
        plan = disturbance.make_plan(20, 4, 3, chaos.random.Random(seed))
        assert len(plan) == 20 and sum(kill.stop for kill in plan) == 4
        for moment in disturbance.MOMENTS:
            assert sum(kill.moment == moment for kill in plan) == 4
        for before, after in zip(plan, plan[1:]):
            if after.moment in (disturbance.RECOVERY, disturbance.MID_CHUNK):
                assert before.hits_group, seed


def test_losses_without_output_between_them_are_one_recovery():
    stream = chaos.clients.Stream(None, None, None)
    stream.arrivals = [1.0, 2.01, 5.0, 9.0]
    assert chaos.recoveries([stream], [2.0, 3.0, 6.0]) == [3.0, 3.0]
    assert chaos.num_resumes(stream, [2.0, 3.0, 6.0]) == 3
    assert chaos.num_resumes(stream, [3.0, 4.0, 9.5]) == 1
