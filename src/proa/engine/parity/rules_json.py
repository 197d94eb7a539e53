"""JSON and CSV in texts."""

from __future__ import annotations

from pyspark.errors import PySparkException
from pyspark.sql import types as t
from pyspark.sql.types import _parse_datatype_json_string

from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import known_types, refuse
from proa.engine.parity.rule_base import EASY, bare, coerce_arguments, constant_of, rule
from proa.engine.parity.sql_nodes import DataType, Node, call, kernel, literal
from proa.engine.parity.sql_tokens import UnreadableSqlError
from proa.engine.parity.typist import Typist


@rule("get_json_object")
def _object(node: Node, typist: Typist) -> Node | None:
    return kernel("get_json_object", st.STRING, *coerce_arguments(node, "SS"))


@rule("json_array_length", "json_object_keys")
def _look(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if not (st.is_string(a) or st.is_void(a)):
        raise refuse(f"{node.name}() of {st.type_text(a)}", "give it a text", node)
    result = st.INT if node.name == "json_array_length" else t.ArrayType(st.STRING)
    return kernel(node.name, result, *coerce_arguments(node, "S"))


def _plain(type_: DataType) -> bool:
    if isinstance(type_, t.ArrayType):
        return _plain(type_.elementType)
    if isinstance(type_, t.MapType):
        return _plain(type_.keyType) and _plain(type_.valueType)
    if isinstance(type_, t.StructType):
        names = [f.name for f in type_.fields]
        return len(set(names)) == len(names) and all(_plain(f.dataType) for f in type_.fields)
    return not isinstance(type_, (t.DayTimeIntervalType, t.YearMonthIntervalType, t.VariantType))


@rule("to_json")
def _to_json(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if len(node.args) > 1:
        raise refuse("to_json() with options", "format the values before", node)
    if not isinstance(a, (t.StructType, t.ArrayType, t.MapType)) or not _plain(a):
        raise refuse(f"to_json() of {st.type_text(a)}", "cast its parts to text", node)
    return kernel("to_json", st.STRING, node.args[0])


_READING = {"mode", "columnnameofcorruptrecord"}


def _options(node: Node) -> dict[str, str]:
    """The options of from_json(), names in lower case. Raises DiffersError for others than are known."""
    if len(node.args) < 3:
        return {}
    given = bare(node.args[2])
    values = [constant_of(arg) for arg in given.args] if given.name == "map" else [None]
    if not all(isinstance(value, str) for value in values):
        raise refuse("from_json() with options that are no constants", "write them as texts", node)
    found = {str(k).lower(): str(v) for k, v in zip(values[::2], values[1::2], strict=True)}
    mode = found.get("mode", "PERMISSIVE").upper()
    if set(found) - _READING or mode not in {"PERMISSIVE", "FAILFAST"}:
        raise refuse(
            "from_json() with these options",
            "use only mode (PERMISSIVE, FAILFAST) and columnNameOfCorruptRecord, and cast the parts",
            node,
        )
    return {**found, "mode": mode}


def _schema_type(text: str) -> DataType:
    """The type that a schema says, as SQL or, of a type of pyspark, as JSON; every field may be NULL.

    Raises UnreadableSqlError for what says no type.
    """
    if text.lstrip().startswith(("{", '"')):
        try:
            return _all_nullable(_parse_datatype_json_string(text))
        except (ValueError, KeyError, TypeError, PySparkException) as error:
            raise UnreadableSqlError(text) from error
    try:
        return st.type_of(text)
    except UnreadableSqlError:
        return st.type_of(f"struct<{text}>")


def _all_nullable(type_: DataType) -> DataType:
    if isinstance(type_, t.ArrayType):
        return t.ArrayType(_all_nullable(type_.elementType))
    if isinstance(type_, t.MapType):
        return t.MapType(_all_nullable(type_.keyType), _all_nullable(type_.valueType))
    if isinstance(type_, t.StructType):
        return t.StructType(
            [t.StructField(field.name, _all_nullable(field.dataType)) for field in type_.fields]
        )
    return type_


@rule("from_json")
def _from_json(node: Node, typist: Typist) -> Node | None:
    if len(node.args) not in {2, 3}:
        raise refuse("from_json() of so many arguments", "give it a text and a schema", node)
    options = _options(node)
    schema = constant_of(node.args[1])
    if not isinstance(schema, str):
        raise refuse(
            "from_json() of a schema that is not a constant", "write the schema as a text", node
        )
    try:
        target = _schema_type(schema)
    except UnreadableSqlError as error:
        raise refuse(
            f"from_json() of the schema {schema!r}", "look at its spelling", node
        ) from error
    if not _plain(target):
        raise refuse("from_json() of this schema", "leave intervals out", node)
    text = coerce_arguments(Node("call", "from_json", [node.args[0]]), "S")
    if not options:
        return kernel("from_json", target, *text)
    if not isinstance(target, t.StructType):
        raise refuse(
            "from_json() of other things than structs with options", "leave them out", node
        )
    corrupt = literal(options.get("columnnameofcorruptrecord", "_corrupt_record"))
    return kernel("from_json_as", target, *text, corrupt, literal(options["mode"] == "FAILFAST"))


@rule("json_tuple")
def _json_tuple(node: Node, typist: Typist) -> Node | None:
    """As inline(): a struct in an array of one."""
    args = coerce_arguments(node, "S" * len(node.args))
    row = t.StructType([t.StructField(f"c{k}", st.STRING) for k in range(len(args) - 1)])
    members = kernel("json_members", row, *args)
    return call("inline", call("array", members, type=t.ArrayType(row)), type=row)


@rule("schema_of_json")
def _schema_of_json(node: Node, typist: Typist) -> Node | None:
    from proa.engine.parity.kernels_json import schema_of

    text = constant_of(node.args[0])
    if len(node.args) > 1 or not isinstance(text, str):
        raise refuse("schema_of_json() of this", "write the schema", node)
    found = schema_of(text)
    if found is None:
        raise refuse(f"schema_of_json() of {text!r}", "give it a JSON text", node)
    return literal(found, st.STRING)


@rule("to_csv")
def _to_csv(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    plain = (*EASY, *st.FLOATS)
    if len(node.args) > 1 or not isinstance(a, t.StructType):
        raise refuse("to_csv() of this", "give it a struct, and no options", node)
    if any(
        not isinstance(f.dataType, plain) or isinstance(f.dataType, t.BinaryType) for f in a.fields
    ):
        raise refuse(f"to_csv() of {st.type_text(a)}", "cast its parts to text", node)
    return kernel("to_csv", st.STRING, node.args[0])


@rule("from_csv", "schema_of_csv", "parse_json", "try_parse_json",
      "variant_get", "try_variant_get", "from_xml", "to_xml")  # fmt: skip
def _other(node: Node, typist: Typist) -> Node | None:
    remedies = {"from_csv": "use split()"}
    from proa.engine.parity.coerce import REMEDY

    raise refuse(f"{node.name}()", remedies.get(node.name, REMEDY), node)
