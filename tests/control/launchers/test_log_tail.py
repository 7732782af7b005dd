from pathlib import Path

from headrace.control.launchers.log_tail import log_tail


def test_the_last_lines_that_say_something(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n\n" for n in range(50)))
    assert log_tail(log, 2) == "line 48\nline 49"


def test_colours_and_what_a_progress_bar_wrote_over_are_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"10%\r50%\r100%\r\n\x1b[31mout of memory\x1b[0m \xff\n")
    assert log_tail(log) == "100%\nout of memory \ufffd"


def test_long_lines_and_long_logs_are_cut(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 100_000 + "\n" + "y" * 1000)
    assert log_tail(log).splitlines() == ["x" * 300, "y" * 300]


def test_a_log_that_is_not_there_has_no_words(tmp_path: Path) -> None:
    assert log_tail(tmp_path / "log") == ""
