import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relusweep.cluster.slurm.machine import Machine, MachineError
from relusweep.sweep.spec import Spec
from relusweep.sweep.spec_error import SpecError

READERS = [(Spec.read, SpecError), (Machine.read, MachineError)]
BRACKETS = "x = " + "[" * 20_000


@pytest.mark.parametrize(("read", "refusal"), READERS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BRACKETS.encode(), "not valid TOML: brackets in brackets"),
        (b"x = " + b"{ a = " * 20_000, "not valid TOML"),
        (b"x = " + b"9" * 5_000, "not valid TOML: .*4300 digits"),
        (b"\xff\xfe", "not a text file"),
        (b"\0" * 100, "not valid TOML"),
        (b"x = 1979-05-27T07:32:00Z", "x: unknown key"),
    ],
)
def test_whatever_is_no_such_file_is_refused_in_one_line(read, refusal, content, message, tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(refusal, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("read", "refusal"), READERS)
def test_no_more_is_read_than_a_spec_can_have(read, refusal):
    with pytest.raises(refusal, match=r"^/dev/zero: more than 64 MiB; expected a "):
        read(Path("/dev/zero"))


def test_a_spec_may_come_through_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "name = 'x'\n[[block]]\nfixed = { problem = 'sine', lr = 0.1 }"
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    assert Spec.read(pipe).text == text
    writer.join()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["log", "range", "width", "é", ""]), inner),
    max_leaves=6,
)  # fmt: skip


def _toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(key)} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    return {True: "true", False: "false", None: '""'}[value] if value is None or value in (True, False) else repr(value)


@pytest.mark.slow
@given(
    st.sampled_from(["fixed", "grid", "zip", "random", "gird"]),
    st.sampled_from(["width", "lr", "problem", "seed", "count", "widht"]),
    VALUES,
)
@settings(max_examples=300, deadline=None)
def test_any_value_anywhere_is_taken_or_refused_in_one_line(table, key, value):
    text = f"name = 'x'\nfixed = {{ n = 4 }}\n[[block]]\n{table} = {{ {key} = {_toml(value)} }}"
    message = ""
    try:
        Spec.parse(text, "x.toml")
    except SpecError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.parametrize(("read", "refusal"), READERS)
@given(text=st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_is_refused_in_one_line(tmp_path_factory, read, refusal, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode(errors="replace"))
    with pytest.raises(refusal) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@given(st.sampled_from([*Machine.model_fields, "partitoin"]), VALUES)
@settings(max_examples=300, deadline=None)
def test_any_value_of_a_machine_file_is_taken_or_refused_in_one_line(tmp_path_factory, key, value):
    path = tmp_path_factory.getbasetemp() / "machine.toml"
    given = {"nodes": 1, "cpus_per_task": 1, "time": "01:00:00"} | {key: value}
    path.write_text("\n".join(f"{name} = {_toml(each)}" for name, each in given.items()))
    message = ""
    try:
        Machine.read(path)
    except MachineError as error:
        message = str(error)
    assert "\n" not in message
