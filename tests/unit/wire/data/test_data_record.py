"""Data records: fields are attributes, and field names have no meaning to Python or numpy."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from gigaexec.wire.data.record import DataRecord

RECORD = DataRecord("model.Layer", {"size": 3, "weights": [1.5], "fields": "hidden", "not a name": 1})


def test_fields_are_attributes() -> None:
    assert RECORD.size == 3
    assert RECORD.weights == [1.5]
    assert RECORD.fields["fields"] == "hidden"
    assert {"size", "weights", "type_name"} < set(dir(RECORD))
    with pytest.raises(AttributeError, match="the record has no field 'other'"):
        RECORD.other  # noqa: B018


def test_it_shows_its_fields_and_escapes_what_cannot_be_printed() -> None:
    assert repr(RECORD) == "model.Layer(size=3, weights=[1.5], fields='hidden', **{'not a name': 1})"
    assert repr(DataRecord("m.\x1b[31m", {})) == "m.\\x1b[31m()"


def test_it_is_compared_by_name_and_fields() -> None:
    assert DataRecord("m.C", {"a": 1, "b": 2}) == DataRecord("m.C", {"b": 2, "a": 1})
    assert DataRecord("m.C", {"a": 1}) != DataRecord("m.D", {"a": 1})
    assert DataRecord("m.C", {"a": 1}) != {"a": 1}
    assert len({DataRecord("m.C", {"a": 1}), DataRecord("m.C", {"a": 1})}) == 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(RECORD)


def test_it_survives_pickling_and_copying() -> None:
    assert pickle.loads(pickle.dumps(RECORD)) == RECORD
    assert copy.deepcopy(RECORD) == RECORD


def test_it_cannot_be_assigned_to() -> None:
    with pytest.raises(
        AttributeError, match="cannot assign 'size': the attributes of a DataRecord are read-only"
    ):
        RECORD.size = 4
    with pytest.raises(
        AttributeError, match="cannot delete 'size': the attributes of a DataRecord are read-only"
    ):
        del RECORD.size


def test_no_field_answers_for_an_array_at_an_address() -> None:
    interface = {"shape": (1,), "typestr": "<f8", "data": (8, False), "version": 3}
    record = DataRecord("m.C", {"__array_interface__": interface, "__class__": int})
    assert np.asarray(record).dtype == object
    assert type(record) is DataRecord
    assert record.fields["__array_interface__"] == interface
