"""A host's cores and GPUs, divided among trials."""

import pytest

from tuning import device_shares


@pytest.mark.parametrize("count, cores", [(1, 4), (2, 4), (3, 8), (4, 2)])
def test_every_core_is_given_out_and_nobody_goes_without(count, cores):
    shares = device_shares.divide(count, cores=range(cores), gpus=[])
    assert {core for share in shares for core in share.cores} == set(range(cores))
    assert all(share.environment["OMP_NUM_THREADS"] == str(len(share.cores)) for share in shares)
    if count <= cores:
        assert sum(len(share.cores) for share in shares) == cores
    assert not any("CUDA_VISIBLE_DEVICES" in share.environment for share in shares)


def test_a_quota_below_the_cores_is_divided_too():
    shares = device_shares.divide(2, cores=range(64), gpus=[], threads=4)
    assert [share.environment["TF_NUM_INTRAOP_THREADS"] for share in shares] == ["2", "2"]
    assert [len(share.cores) for share in shares] == [32, 32]


def test_gpus_are_dealt_and_shared_ones_grow_as_needed():
    dealt = [s.environment for s in device_shares.divide(2, cores=range(4), gpus=["0", "1", "2"])]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in dealt] == ["0,2", "1"]
    assert not any("TF_FORCE_GPU_ALLOW_GROWTH" in one for one in dealt)
    shared = [s.environment for s in device_shares.divide(2, cores=range(4), gpus=["5"])]
    assert all(one["CUDA_VISIBLE_DEVICES"] == "5" for one in shared)
    assert all(one["TF_FORCE_GPU_ALLOW_GROWTH"] == "true" for one in shared)
