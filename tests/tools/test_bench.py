from bench import TOGETHER, bench


def test_each_part_is_timed_beside_its_baseline():
    table = bench(turns=1, labelled=8, clips=2).set_index("what")
    assert set(table.index) >= {f"{n} together" for n in TOGETHER} | {"plain decoding", "smart-turn", "e5-small"}
    assert (table.seconds > 0).all()
    assert table.ratio["1 together"] == table.ratio["plain decoding"] == 1
