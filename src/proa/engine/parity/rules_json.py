"""JSON and CSV in texts."""

from __future__ import annotations

from pyspark.sql import types as t

from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import known_types, refuse
from proa.engine.parity.rule_base import coerce_arguments, constant_of, rule
from proa.engine.parity.sql_nodes import DataType, Node, kernel
from proa.engine.parity.sql_tokens import UnreadableSqlError
from proa.engine.parity.typist import Typist


@rule("get_json_object")
def _object(node: Node, typist: Typist) -> Node | None:
    return kernel("get_json_object", st.STRING, *coerce_arguments(node, "SS"))


@rule("json_array_length", "json_object_keys")
def _look(node: Node, typist: Typist) -> Node | None:
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


@rule("from_json")
def _from_json(node: Node, typist: Typist) -> Node | None:
    if len(node.args) != 2:
        raise refuse("from_json() with options", "leave the options out and cast the parts", node)
    schema = constant_of(node.args[1])
    if not isinstance(schema, str):
        raise refuse(
            "from_json() of a schema that is no constant", "write the schema as a text", node
        )
    try:
        target = st.type_of(schema)
    except UnreadableSqlError:
        try:
            target = st.type_of(f"struct<{schema}>")
        except UnreadableSqlError as error:
            raise refuse(
                f"from_json() of the schema {schema!r}", "look at its spelling", node
            ) from error
    if not _plain(target) or (
        isinstance(target, t.StructType) and "_corrupt_record" in target.fieldNames()
    ):
        raise refuse("from_json() of this schema", "leave _corrupt_record and intervals out", node)
    return kernel(
        "from_json", target, *coerce_arguments(Node("call", "from_json", [node.args[0]]), "S")
    )


@rule("to_csv", "from_csv", "schema_of_csv", "schema_of_json", "json_tuple", "parse_json", "try_parse_json",
      "variant_get", "try_variant_get", "from_xml", "to_xml")  # fmt: skip
def _other(node: Node, typist: Typist) -> Node | None:
    remedies = {"json_tuple": "use get_json_object()", "to_csv": "use concat_ws()",
                "from_csv": "use split()", "schema_of_json": "write the schema"}  # fmt: skip
    from proa.engine.parity.coerce import REMEDY

    raise refuse(f"{node.name}()", remedies.get(node.name, REMEDY), node)
