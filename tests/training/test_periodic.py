from engine.training import periodic


def test_a_stopwatch_counts_laps_and_what_others_spent_on_them():
    now = [5.0]
    watch = periodic.Stopwatch(clock=lambda: now[0])
    now[0] += 3
    watch.include(10)
    assert watch.seconds == 13
    assert watch.lap() == 13
    now[0] += 2
    assert (watch.lap(), watch.seconds) == (2, 0)


def test_an_interval_is_due_every_so_many_steps_or_seconds():
    by_steps = periodic.Interval(steps=3)
    assert [step for step in range(1, 10) if by_steps.due(step)] == [3, 6, 9]
    now = [0.0]
    by_time = periodic.Interval(seconds=60, clock=lambda: now[0])
    due = []
    for step in range(1, 10):
        now[0] += 25
        if by_time.due(step):
            due.append(step)
    assert due == [3, 6, 9]
    assert not any(periodic.Interval().due(step) for step in range(1, 1000))
