from engine.phantoms import __main__ as phantoms

SMALL = "--train-images 4 --val-images 0 --test-images 2 --min-size 32 --max-size 40 --workers 1"


def test_it_says_what_was_made_then_that_it_is_complete(tmp_path, capsys) -> None:
    arguments = [str(tmp_path / "a"), *SMALL.split()]
    assert phantoms.main(arguments) == 0
    first = capsys.readouterr()
    assert "6 images of" in first.out and "(train 4, test 2)" in first.out
    assert "drawing phantoms: 6/6" in first.err
    assert phantoms.main(arguments) == 0
    assert capsys.readouterr() == (f"{tmp_path / 'a'}: complete already, nothing to do\n", "")


def test_other_settings_are_status_2_and_overwrite_mends_it(tmp_path, capsys) -> None:
    arguments = [str(tmp_path / "a"), *SMALL.split()]
    assert phantoms.main(arguments) == 0
    capsys.readouterr()
    assert phantoms.main([*arguments, "--seed", "3"]) == 2
    error = capsys.readouterr().err
    assert "seed is 0 there, 3 was requested" in error and error.count("\n") == 1
    assert phantoms.main([*arguments, "--seed", "3", "--overwrite"]) == 0


def test_a_wrong_flag_is_status_2(tmp_path, capsys) -> None:
    assert phantoms.main([str(tmp_path), "--train-images", "-5"]) == 2
    assert "--train-images: got -5" in capsys.readouterr().err
