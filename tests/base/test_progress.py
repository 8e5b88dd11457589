import io
import sys

import pytest

from engine.base.progress import LINE_INTERVAL, ProgressBar, format_duration, say


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (42.4, "42 s"),
        (59.6, "1 min 0 s"),
        (185, "3 min 5 s"),
        (3599.9, "1 h 0 min"),
        (7380, "2 h 3 min"),
    ],
)
def test_durations_are_said_in_two_units_at_most(seconds, text) -> None:
    assert format_duration(seconds) == text


def test_say_writes_to_standard_error_alone(capsys) -> None:
    say("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_without_a_terminal_a_line_now_and_then_and_one_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressBar("building", total=1000, stream=stream, clock=clock) as bar:
        for _ in range(4):
            clock.now += LINE_INTERVAL / 2
            bar.advance(100)
    assert stream.getvalue().splitlines() == [
        "building: 200/1,000 images, 20 images/s, 40 s left",
        "building: 400/1,000 images, 20 images/s, 30 s left",
        "building: 400/1,000 images, 20 images/s, 20 s",
    ]


def test_images_done_before_do_not_count_towards_the_speed() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressBar("building", total=100, done=60, stream=stream, clock=clock) as bar:
        clock.now += 4.0
        bar.advance(40)
        assert bar.images_per_second == pytest.approx(10.0)
    assert stream.getvalue() == "building: 100/100 images, 10 images/s, 4 s\n"


def test_the_speed_is_zero_before_any_time_has_passed() -> None:
    with ProgressBar("x", total=1, stream=io.StringIO(), clock=Clock()) as bar:
        bar.advance()
        assert bar.images_per_second == 0.0


def test_without_lines_nothing_is_written_where_there_is_no_terminal() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressBar("x", total=10, lines=False, stream=stream, clock=clock) as bar:
        clock.now += 3 * LINE_INTERVAL
        bar.advance(10)
    assert stream.getvalue() == ""


def test_a_block_that_raises_claims_no_end() -> None:
    stream = io.StringIO()

    def fail() -> None:
        with ProgressBar("x", total=10, stream=stream, clock=Clock()):
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_live_bar_and_a_last_line() -> None:
    stream, clock = Terminal(), Clock()
    with ProgressBar("building", total=10, stream=stream, clock=clock) as bar:
        clock.now += 2.0
        bar.advance(10, detail="loss 0.31")
    assert stream.getvalue().splitlines()[-1].endswith("building: 10/10 images, 5 images/s, 2 s")


def test_results_printed_beside_a_live_bar_stay_on_standard_output(capsys) -> None:
    stream = Terminal()
    with ProgressBar("predicting", total=1, stream=stream, clock=Clock()):
        print("a.jpeg 0.97")
    assert capsys.readouterr().out == "a.jpeg 0.97\n"
    assert "a.jpeg" not in stream.getvalue()


def test_a_message_is_folded_on_a_terminal_and_one_line_elsewhere(monkeypatch) -> None:
    text = "warning: " + "word " * 20 + "a/path/that/is/longer/than/the-terminal-is-wide.png"
    monkeypatch.setenv("COLUMNS", "40")
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr(sys, "stderr", stream)
        say(text)
        lines = stream.getvalue().splitlines()
        assert " ".join(" ".join(lines).split()) == text
        assert (len(lines) > 1) == stream.isatty()
        assert not stream.isatty() or max(map(len, lines[:-1])) <= 40
