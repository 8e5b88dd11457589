import pytest

from engine.base.config import UserError
from engine.base.user_code import Reference

FILE = '''"""Losses."""
import json
LIMIT = 3


def halved(labels, logits):
    return logits / 2
'''


def reference(text):
    return Reference.parse(text, flag="--loss")


def test_a_function_is_found_in_a_file_and_in_a_package(tmp_path):
    path = tmp_path / "losses.py"
    path.write_text(FILE)
    assert reference(f"{path}:halved").load()(0, 4) == 2
    assert reference(f"{path}:halved").source() == path
    assert reference("textwrap:dedent").load()(" a") == "a"
    assert reference("json:dumps").source().name == "__init__.py"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("halved", "expected package.module:function or FILE.py:function"),
        ("{file}:", "expected package.module:function"),
        ("{file}:halve", "has no function 'halve'; did you mean halved?"),
        ("{file}:LIMIT", "LIMIT is not a function (got int)"),
        ("{file}x.py:halved", "is not a file"),
        ("no.such.module:f", "no module 'no'"),
        ("json.nothing:f", "no module 'json.nothing'"),
        ("some/where:f", "write FILE.py:function for a file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, message):
    path = tmp_path / "losses.py"
    path.write_text(FILE)
    with pytest.raises(UserError) as raised:
        reference(text.format(file=path)).load()
    assert str(raised.value).startswith("--loss") and message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("line", "message"), [("1 / 0", "4: ZeroDivisionError: "), ("def (:", "4: invalid syntax")]
)
def test_an_error_in_the_users_code_is_one_line_with_its_place(tmp_path, line, message):
    path = tmp_path / "broken.py"
    path.write_text(f"import json\n\n\n{line}\n")
    with pytest.raises(UserError, match=f"broken.py:{message}"):
        reference(f"{path}:f").load()
