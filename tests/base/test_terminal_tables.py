"""Tables and lines fit 80 columns where there is no terminal, and names stand as they are."""

from engine.base.terminal_tables import print_lines, print_table


def test_names_are_no_markup_and_long_ones_are_folded(capsys):
    rows = [["[red]a[/red]", "1"], ["very/long/" * 12 + "path.png", "12,345"]]
    print_table(["name", "count"], rows, title="[bold]title")
    out = capsys.readouterr().out
    assert "[red]a[/red]" in out and "[bold]title" in out and "12,345" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert "".join(out.split()).count("very/long/") >= 11


def test_columns_to_the_left_and_to_the_right(capsys):
    print_table(["a", "b", "c"], [["x", "y", "1"], ["xx", "yy", "22"]], left=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if "x" in line]
    assert [line.rstrip() for line in lines] == [" x    y     1", " xx   yy   22"]


def test_a_long_name_beside_numbers_is_folded_behind_its_hyphens(capsys):
    heads = ["run", *("n" * 12 for _ in range(4))]
    rows = [["first-baseline-of-many-runs", *["0.123"] * 4], ["unbreakable" * 3, *["0.123"] * 4]]
    print_table(heads, rows, first_wraps=True)
    lines = capsys.readouterr().out.splitlines()
    firsts = [line.split()[0] for line in lines if line.strip()]
    assert firsts[2:4] == ["first-baseline-of-", "many-runs"]
    assert "".join(firsts[4:]) == "unbreakable" * 3
    assert max(map(len, lines)) == 80


def test_lines_are_folded_between_words(capsys):
    print_lines(["word " * 30, "a/path/" * 15])
    first, *rest = capsys.readouterr().out.splitlines()
    assert len(first) <= 80 and rest[0].startswith("  word") and rest[-1] == "a/path/" * 15
