import pytest
from numbered_shards import write_shards
from scipy import stats

from engine.base.config import UserError
from engine.shards import dataset_checks


def test_validation_too_small_to_choose_by_is_one_line_with_the_interval(tmp_path):
    few = write_shards(tmp_path / "few", {"train": 40, "validation": 30})
    line = dataset_checks.validation_warning(few)
    exact = stats.binomtest(9, 10).proportion_ci(method="exact")
    assert "10 images of class 'well', fewer than 50" in line and "\n" not in line
    assert f"known is {exact.low:.0%} to {exact.high:.0%} (95%)" in line
    many = write_shards(tmp_path / "many", {"train": 40, "validation": 150})
    assert dataset_checks.validation_warning(many) is None


def test_a_validation_split_of_one_class_is_refused(tmp_path):
    both = write_shards(tmp_path / "both", {"train": 40, "validation": 37})
    dataset_checks.check_validation(both)
    manifest = write_shards(tmp_path / "one", {"train": 40, "validation": 1})
    with pytest.raises(UserError, match=r"one class only.*--validation-fraction"):
        dataset_checks.check_validation(manifest)
