import dataclasses

import pytest
from numbered_shards import write_shards

from engine.base.config import UserError
from engine.pipeline import tiers
from engine.pipeline.plan import InputPlan
from engine.pipeline.reading import StoredSplit

AUTO = InputPlan(cache_memory_fraction=0.5)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    directory = tmp_path_factory.mktemp("numbered")
    write_shards(directory, {"train": 150, "validation": 37})
    return directory


def test_auto_takes_memory_only_where_the_split_fits(numbered, monkeypatch):
    split = StoredSplit(numbered, "train")
    needed = split.decoded_bytes
    assert needed == 150 * 8 * 6
    for free, expected in ((2 * needed, "memory"), (2 * needed - 2, "streaming")):
        monkeypatch.setattr(tiers, "available_memory_bytes", lambda free=free: free)
        tier = tiers.choose_tier(split, AUTO)
        assert tier.name == expected
        assert "GiB" in tier.reason


def test_auto_counts_what_lies_in_memory_besides(numbered, monkeypatch):
    split = StoredSplit(numbered, "train")
    both = split.decoded_bytes + StoredSplit(numbered, "validation").decoded_bytes
    held = dataclasses.replace(AUTO, held_splits=("validation",))
    for free, expected in ((2 * both, "memory"), (2 * both - 2, "streaming")):
        monkeypatch.setattr(tiers, "available_memory_bytes", lambda free=free: free)
        tier = tiers.choose_tier(split, held)
        assert tier.name == expected
        assert "decoded with validation" in tier.reason
        assert tiers.choose_tier(split, AUTO).name == "memory"


@pytest.mark.parametrize(
    ("encoding", "options", "expected"),
    [
        ("raw", {"cache": "memory"}, ("memory", "whole split", True)),
        ("raw", {"cache": "streaming"}, ("streaming", "whole split", False)),
        ("png", {"cache": "memory"}, ("memory", "whole split", True)),
        ("png", {"cache": "streaming"}, ("streaming", "windows", False)),
        ("png", {"data_service": "grpc://here:1"}, ("service", "whole split", False)),
    ],
)
def test_a_tier_says_its_order_and_whether_it_loads(tmp_path, encoding, options, expected):
    write_shards(tmp_path, {"train": 40}, encoding=encoding)
    tier = tiers.choose_tier(StoredSplit(tmp_path, "train"), InputPlan(**options))
    assert (tier.name, tier.order, tier.loads_split) == expected


def test_what_cannot_be_balanced_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    write_shards(tmp_path, {"train": 40}, encoding="png")
    monkeypatch.delattr(StoredSplit, "scanned")
    plan = InputPlan(sampling="balanced", cache="streaming")
    with pytest.raises(UserError, match="class-weights"):
        tiers.choose_tier(StoredSplit(tmp_path, "train"), plan)
