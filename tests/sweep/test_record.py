"""Record: the columns of the tables."""

import pyarrow as pa
import pytest

from relusweep.sweep.record import (
    DEFAULTS,
    MOMENT_MEASURES,
    RESULTS,
    SCHEMA_DIGESTS,
    SCHEMA_VERSION,
    SCHEMAS,
    code_version,
    provenance,
    schema_digest,
)
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


def test_columns_change_only_with_the_schema_version():
    digest = schema_digest()
    assert max(SCHEMA_DIGESTS) == SCHEMA_VERSION, "raise SCHEMA_VERSION to the last version of SCHEMA_DIGESTS"
    assert SCHEMA_DIGESTS[SCHEMA_VERSION] == digest, (
        f"The columns of the tables have changed. Raise SCHEMA_VERSION to {SCHEMA_VERSION + 1}, add "
        f'{SCHEMA_VERSION + 1}: "{digest}" to SCHEMA_DIGESTS and leave its other entries, which are of stores that '
        "exist. Keep a store that the version before has written in tests/stores."
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: schema.append(pa.field("more", pa.float64())),
        lambda schema: schema.remove(1),
        lambda schema: schema.set(1, pa.field(schema.names[1], pa.large_string())),
        lambda schema: schema.set(1, pa.field("other", schema.field(1).type)),
    ],
    ids=["more", "fewer", "type", "name"],
)
def test_digest_depends_on_every_column(change):
    changed = [schema_digest(SCHEMAS | {table: change(schema)}) for table, schema in SCHEMAS.items()]
    assert len({schema_digest(), *changed}) == 4


def test_parameters_that_older_rows_lack_are_what_ids_leave_out():
    run = Run.model_validate({"problem": "sine", "lr": 0.1})
    assert set(PARAMETERS) - set(DEFAULTS) == {"problem", "lr", "d", "n", "n_test"}
    for name, default in DEFAULTS.items():
        assert Run.model_validate({"problem": "sine", "lr": 0.1} | {name: getattr(run, name)}).id == run.id
        assert default is None or getattr(run, name) == default
