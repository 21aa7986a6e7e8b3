"""The cores that a process uses: its share of those that it has in common with others."""

import pytest

from fastprop.core import cores


@pytest.fixture(autouse=True)
def undivided(monkeypatch):
    monkeypatch.setattr(cores, "_part", None)
    monkeypatch.setattr(cores, "_processes", 1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cores.numba.config, "NUMBA_NUM_THREADS", 64)
    monkeypatch.setattr(cores, "quota", lambda *_: None)
    yield
    cores.forget()


@pytest.mark.parametrize(
    ("affinities", "shares"),
    [
        ([range(8)] * 2, [4, 4]),
        ([range(8)] * 3, [2, 2, 2]),
        ([range(2)] * 4, [1, 1, 1, 1]),
        ([range(6)] * 6, [1] * 6),
        ([range(4), range(4, 8)], [4, 4]),
        ([range(8), range(4)], [6, 2]),
        ([range(3)], [3]),
    ],
)
def test_processes_share_the_cores_that_they_have_in_common(affinities, shares, monkeypatch):
    for own, share in enumerate(shares):
        monkeypatch.setattr(cores, "affinity", lambda own=own: [*affinities[own]])
        cores.divide([[*each] for each in affinities], own)
        assert cores.available() == share


def test_processes_share_the_quota_of_their_container(monkeypatch):
    monkeypatch.setattr(cores, "affinity", lambda: [*range(64)])
    monkeypatch.setattr(cores, "quota", lambda *_: 6.0)
    cores.divide([range(64)] * 3, 1)
    assert cores.available() == 2
