"""benchmarks/products.py prints its tables, here after one short turn of a small network. No speed is asserted."""

import products
import pytest
from cases import Case

TINY = Case("tiny", (9, 8, 3), "relu", "identity", 32)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_tables_are_printed(monkeypatch, capsys, dtype):
    """A share of the peak for each layer's products; equation 4 has one layer less."""
    short = {"SECONDS": 1e-4, "LEAST": 1, "QUIET": 0, "AS_EVER": 0.0}  # one turn, which counts as quiet
    for name, value in {**short, "named": lambda name: TINY, "rows_of": lambda *_: 64}.items():
        monkeypatch.setattr(products, name, value)
    monkeypatch.setattr("sys.argv", ["products.py", "--dtype", dtype, "tiny"])
    products.main()
    tables = capsys.readouterr().out.strip().split(f"\n\nQuiet turns, medians, {dtype}, one thread\n\n")
    assert len(tables) == 2
    for table in tables:
        head, _, cells = ([cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[-3:])
        found = dict(zip(head, cells, strict=True))
        assert found["shape"] == "tiny"
        assert float(found["kernels, us"]) > 0
        shares = {name: found[name].split(", ") for name in ("forward", "dW", "dA")}
        assert {name: len(each) for name, each in shares.items()} == {"forward": 2, "dW": 2, "dA": 1}
        assert all(share.endswith("%") for each in shares.values() for share in each)


def test_turns_beside_a_busy_neighbour_are_not_quiet():
    turns = products.Turns()
    turns.seconds, turns.nops = [1.0, 2.0, 3.0], [17e9, 9e9, 16.5e9]
    assert turns.quiet(17e9) == [1.0, 3.0]
    found = products.Found({"fit": turns}, [9e10] * 3, [8e10] * 3, 0.0)
    assert found.quiet() == {"fit": 2.0}
    assert found.medians() == {"fit": 2.0}
    assert found.goes_on(), "three turns are too few"
