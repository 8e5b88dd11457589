import errno
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.base import command_line
from engine.base.config import UserError

ROOT = Path(__file__).resolve().parents[2]


def run(body) -> int:
    return command_line.run("python -m engine.sample", body)


def raising(error):
    def body() -> int:
        raise error

    return body


@pytest.mark.parametrize("status", [0, 1, 2, 130, 143])
def test_the_status_of_the_body_is_the_status(status) -> None:
    assert run(lambda: status) == status


def test_a_user_error_is_one_line_and_status_2(capsys) -> None:
    assert run(raising(UserError("--epochs: got 0, must be at least 1"))) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "python -m engine.sample: error: --epochs: got 0, must be at least 1\n"


def test_any_other_error_is_a_traceback_and_status_1(capsys) -> None:
    assert run(raising(ZeroDivisionError("oh"))) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_broken_pipe_to_a_worker_is_an_error_not_a_reader_gone(capsys) -> None:
    assert run(raising(BrokenPipeError("worker"))) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "status"),
    [("ENOSPC", 1), ("EDQUOT", 1), ("EMFILE", 1), ("EROFS", 2), ("EACCES", 2), ("ENAMETOOLONG", 2)],
)
def test_what_the_system_refuses_is_one_line_with_the_path(number, status, capsys) -> None:
    code = getattr(errno, number)
    assert run(raising(OSError(code, os.strerror(code), "run/model.keras"))) == status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(
        f"python -m engine.sample: error: run/model.keras: {os.strerror(code)}; "
    )


def test_a_full_disk_is_one_line_and_other_errors_of_the_system_are_tracebacks(capsys) -> None:
    assert run(raising(OSError(errno.ENOSPC, "No space left on device"))) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert run(raising(FileNotFoundError(errno.ENOENT, "No such file", "x"))) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("unbuffered", "named"),
    [("", "standard output"), ("1", "standard output, or a file that was being written")],
)
def test_standard_output_that_is_full_is_one_line(unbuffered, named) -> None:
    program = (
        "import sys\nfrom engine.base import command_line\n"
        "sys.exit(command_line.run('sample', lambda: print('x') or 0))\n"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"sample: error: {named}: No space left on device; ")
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_is_status_130() -> None:
    assert run(raising(KeyboardInterrupt())) == 130


def test_sigterm_runs_finally_blocks_and_is_status_143() -> None:
    tidied = []

    def body() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            tidied.append(True)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert run(body) == 143
    assert tidied
    assert signal.getsignal(signal.SIGTERM) == before


def test_stop_requested_passes_those_who_catch_every_exception() -> None:
    assert not issubclass(command_line.StopRequested, Exception)


def test_a_command_runs_in_a_thread_too() -> None:
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(run(lambda: 0)))
    thread.start()
    thread.join()
    assert statuses == [0]


def test_a_reader_that_goes_away_is_no_error() -> None:
    program = (
        "import sys; from engine.base import command_line\n"
        "def body():\n    for i in range(100_000): print(i)\n    return 0\n"
        "sys.exit(command_line.run('x', body))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


def test_a_stop_flag_notes_the_first_signal_and_gives_way_to_a_second_ctrl_c(capsys) -> None:
    before = signal.getsignal(signal.SIGINT)
    with command_line.StopFlag() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop() and stop.signal_number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_a_signal_while_standard_error_is_written_to_only_raises_the_flag(monkeypatch) -> None:
    reading, writing = os.pipe()

    class Interrupted(io.RawIOBase):
        """A terminal that the signal comes in the middle of writing to."""

        def writable(self) -> bool:
            return True

        def fileno(self) -> int:
            return writing

        def write(self, data) -> int:
            if not stop():
                signal.raise_signal(signal.SIGTERM)
            return os.write(writing, data)

    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(Interrupted())))
    with command_line.StopFlag() as stop:
        print("epoch 1", file=sys.stderr, flush=True)
    assert stop() and os.read(reading, 100) == b"stopping after this step ...\nepoch 1\n"
    os.close(reading)
    monkeypatch.undo()
    os.close(writing)


def test_tensorflows_log_level_is_the_users_where_given(monkeypatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    command_line.quieten_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    command_line.quieten_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"


def test_native_chatter_is_dropped_unless_the_block_raises(capfd, monkeypatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    with command_line.quiet_imports():
        os.write(2, b"chatter\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"

    def fail() -> None:
        with command_line.quiet_imports():
            os.write(2, b"the cause\n")
            raise ImportError

    with pytest.raises(ImportError):
        fail()
    assert capfd.readouterr().err == "the cause\n"


@pytest.mark.parametrize(
    "imports",
    [
        "with command_line.without_scikit_learn():\n    from engine.training import trainer\n",
        "from engine.base import config\nfrom engine.inference import predictor\n"
        "try:\n    predictor.load_model('absent.keras')\nexcept config.UserError:\n    pass\n",
    ],
)
def test_a_command_imports_tensorflow_without_scikit_learn_which_stays_importable(imports) -> None:
    """Keras imports it for wrappers of its own, a fifth of the time that importing TensorFlow takes."""
    program = (
        f"import sys; from engine.base import command_line\n{imports}"
        "assert 'tensorflow' in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('sklearn')]\n"
        "import sklearn\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
