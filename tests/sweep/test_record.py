"""Record: the columns of the tables."""

import pyarrow as pa

from relusweep.sweep.record import MOMENT_MEASURES, RESULTS, SCHEMAS, code_version, provenance
from relusweep.sweep.run import PARAMETERS, Run


def test_every_parameter_and_result_is_a_column():
    assert SCHEMAS["runs"].names == [*PARAMETERS, *RESULTS]
    assert set(MOMENT_MEASURES) < set(RESULTS)


def test_columns_have_the_types_of_their_parameters():
    types = {
        name: SCHEMAS["runs"].field(name).type for name in ("lr", "seed", "bias", "init", "depth", "classes", "radius")
    }
    assert types == {
        "lr": pa.float64(), "seed": pa.int64(), "bias": pa.bool_(), "init": pa.string(), "depth": pa.int64(),
        "classes": pa.string(), "radius": pa.float64(),
    }  # fmt: skip


def test_parameters_survive_a_round_trip_through_arrow():
    for extra in ({}, {"lr_ratio": float("inf")}, {"depth": 2, "activation": "leaky_relu"}):
        run = Run.model_validate({"problem": "sine", "lr": 0.1} | extra)
        table = pa.Table.from_pylist([run.model_dump()], schema=SCHEMAS["runs"])
        again = {key: table.to_pylist()[0][key] for key in PARAMETERS}
        assert Run.model_validate(again).id == run.id


def test_provenance_is_text_about_code_and_machine():
    assert all(isinstance(value, str) and value for value in provenance().values())
    assert code_version()[0].isdigit()
