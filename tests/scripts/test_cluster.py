"""benchmarks/cluster.py: its model holds what a model must hold, and its table is printed. No speed is asserted."""

import cluster
import pytest
from mpi_jobs import needs_mpi, run_job
from processes import BENCHMARKS

LINK = cluster.Link("test", 1e-5, 1e9, "")
SIZES = (784, 1024, 1024, 10)


def test_an_allreduce_takes_its_messages_and_twice_its_bytes():
    assert cluster.allreduce(2, 1e6, LINK) == pytest.approx(2e-5 + 1e-3)
    assert cluster.allreduce(256, 1e6, LINK) == pytest.approx(16e-5 + 2e-3 * 255 / 256)


@pytest.mark.parametrize("ranks", cluster.RANKS)
@pytest.mark.parametrize("step", [1e-3, 1e-2, 1.0])
def test_overlap_hides_a_part_but_not_the_reduction_of_the_first_layer(ranks, step):
    plain, hidden = (cluster.step_time(SIZES, ranks, step, LINK, overlap) for overlap in (False, True))
    first = cluster.allreduce(ranks, 4 * SIZES[0] * SIZES[1], LINK)
    assert step + first <= hidden <= plain + 6 * 2 * 8 * LINK.latency


@pytest.mark.parametrize("overlap", [False, True])
def test_the_batch_of_the_goal_reaches_it_and_less_does_not(overlap):
    step_of = lambda batch: 1e-3 + 1e-4 * batch  # noqa: E731
    batch = cluster.batch_of_goal(SIZES, 8, step_of, LINK, overlap)
    for factor, reaches in ((1.02, True), (0.97, False)):
        step = step_of(batch * factor / 8)
        efficiency = step / cluster.step_time(SIZES, 8, step, LINK, overlap)
        assert (efficiency >= cluster.GOAL) == reaches


def test_the_model_is_printed_with_its_sources(monkeypatch, capsys):
    monkeypatch.setattr(cluster, "line_of_steps", lambda case: lambda batch: 1e-5 * batch)
    cluster.main(["model", "mnist"])
    said = capsys.readouterr().out
    assert said.startswith("A model")
    assert said.count("\n| 256 |") == len(cluster.LINKS)
    assert said.count("https://") >= 3
    cluster.main(["model", "mnist", "--latency", "5", "--bandwidth", "50"])
    assert "as given: 5 us, 50 Gbit/s" in capsys.readouterr().out


@needs_mpi
@pytest.mark.slow
def test_the_sides_are_measured_on_two_ranks():
    said = run_job(2, BENCHMARKS / "cluster.py", "measure", "digits", "--batch", 512)
    assert said.count("| digits | 512 |") == 1
    assert "bandwidth" in said
