"""Arrow batches brought into a table's shape."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """`batch` with exactly the columns of `schema`: found by name whatever the case, brought to the
    column's type, NULL where missing. Nested fields are treated alike.
    """
    if batch.schema.equals(schema):
        return batch
    where = {name.lower(): index for index, name in enumerate(batch.schema.names)}
    columns = []
    for field in schema:
        index = where.get(field.name.lower())
        if index is None:
            columns.append(pa.nulls(batch.num_rows, field.type))
        else:
            columns.append(_array(batch.column(index), field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _array(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type.equals(kind):
        return array
    if pa.types.is_struct(kind) and pa.types.is_struct(array.type):
        return _struct(array, kind)
    if pa.types.is_list(kind) and pa.types.is_large_list(array.type):
        array = array.cast(pa.list_(array.type.value_field))
    if pa.types.is_list(kind) and pa.types.is_list(array.type):
        return _rehung(array, kind, _array(array.values, kind.value_type))
    if pa.types.is_map(kind) and pa.types.is_map(array.type):
        pairs = [_array(array.keys, kind.key_type), _array(array.items, kind.item_type)]
        fields = [pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)]
        return _rehung(array, kind, pa.StructArray.from_arrays(pairs, fields=fields))
    return pc.cast(array, kind)


def _rehung(array: pa.Array, kind: pa.DataType, child: pa.Array) -> pa.Array:
    """`array`'s own validity and offsets over another child."""
    validity, offsets = array.buffers()[:2]
    return pa.Array.from_buffers(
        kind, len(array), [validity, offsets], offset=array.offset, children=[child]
    )


def _struct(array: pa.StructArray, kind: pa.StructType) -> pa.Array:
    where = {array.type.field(i).name.lower(): i for i in range(array.type.num_fields)}
    children = []
    for field in kind:
        index = where.get(field.name.lower())
        child = (
            pa.nulls(len(array), field.type)
            if index is None
            else _array(array.field(index), field.type)
        )
        children.append(child)
    return pa.StructArray.from_arrays(children, fields=list(kind), mask=array.is_null())
