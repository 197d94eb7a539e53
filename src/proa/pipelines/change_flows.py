"""Flows whose rows are changes: AUTO CDC, from a feed of changes or from snapshots."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from proa.errors import PipelineError, SourceLocation
from proa.pipelines import arguments
from proa.pipelines.arguments import check_arguments, wrong_type
from proa.pipelines.definitions import AutoCdc, ColumnChoice, Flow, Replacement, SnapshotCdc
from proa.pipelines.environment import current_session
from proa.pipelines.identifiers import name_parts
from proa.pipelines.registry import active_registry

_SCD_TYPES = {"1": False, "2": True, "SCD TYPE 1": False, "SCD TYPE 2": True}


@check_arguments
def create_auto_cdc_flow(  # noqa: PLR0913, PLR0917 - the names are Databricks'
    target: str,
    source: str,
    keys: Any,
    sequence_by: Any,
    ignore_null_updates: bool = False,  # noqa: FBT001, FBT002 - the order is Databricks'
    apply_as_deletes: Any = None,
    apply_as_truncates: Any = None,
    column_list: Any = None,
    except_column_list: Any = None,
    stored_as_scd_type: Any = "1",
    track_history_column_list: Any = None,
    track_history_except_column_list: Any = None,
    name: str | None = None,
    once: bool = False,  # noqa: FBT001, FBT002 - the order is Databricks'
    *,
    ignore_null_updates_column_list: Any = None,
    ignore_null_updates_except_column_list: Any = None,
    columns_to_update: Any = None,
    system_sequence_by: Any = None,
    spark_conf: dict[str, str] | None = None,
    comment: str | None = None,
    where: Any = None,
    flow_name: str | None = None,
) -> None:
    """Declare a flow that applies the changes in `source` to the streaming table `target`."""
    registry = active_registry()
    location = registry.caller()
    tracked = (track_history_column_list, track_history_except_column_list)
    null_keeps = (ignore_null_updates_column_list, ignore_null_updates_except_column_list)
    if system_sequence_by is not None:
        raise bitemporal(location)
    cdc = AutoCdc(
        keys=_keys(keys, location),
        sequence_by=_expression("sequence_by", sequence_by),
        deletes=_optional("apply_as_deletes", apply_as_deletes),
        truncates=_optional("apply_as_truncates", apply_as_truncates),
        columns=_choice("column_list", column_list, except_column_list, location),
        history=scd_type(stored_as_scd_type, location),
        tracked=_choice("track_history_column_list", *tracked, location),
        null_keeps=_choice("ignore_null_updates_column_list", *null_keeps, location)
        or _all_columns(given=arguments.flag("ignore_null_updates", ignore_null_updates)),
        update_column=_column_name("columns_to_update", columns_to_update),
    )
    arguments.required_name("target", target)
    arguments.required_name("source", source)
    condition = _optional("where", where)

    def query() -> Any:
        changes = current_session().readStream.table(source)
        if condition is not None:
            changes = changes.where(condition)
        return changes.select("*", *_helpers(cdc))

    registry.add_flow(
        Flow(
            arguments.text("name", name)
            or arguments.text("flow_name", flow_name)
            or name_parts(target)[-1],
            target,
            query,
            location,
            once=arguments.flag("once", once),
            comment=arguments.text("comment", comment),
            spark_conf=arguments.mapping("spark_conf", spark_conf),
            cdc=cdc,
        )
    )


@check_arguments
def apply_changes(  # noqa: PLR0913, PLR0917 - the names are Databricks'
    target: str,
    source: str,
    keys: Any,
    sequence_by: Any,
    where: Any = None,
    ignore_null_updates: bool = False,  # noqa: FBT001, FBT002 - the order is Databricks'
    apply_as_deletes: Any = None,
    apply_as_truncates: Any = None,
    column_list: Any = None,
    except_column_list: Any = None,
    stored_as_scd_type: Any = "1",
    track_history_column_list: Any = None,
    track_history_except_column_list: Any = None,
    flow_name: str | None = None,
    once: bool = False,  # noqa: FBT001, FBT002 - the order is Databricks'
    ignore_null_updates_column_list: Any = None,
    ignore_null_updates_except_column_list: Any = None,
    columns_to_update: Any = None,
    *,
    name: str | None = None,
) -> None:
    """`create_auto_cdc_flow`, as it was called at first."""
    create_auto_cdc_flow(
        target,
        source,
        keys,
        sequence_by,
        ignore_null_updates,
        apply_as_deletes,
        apply_as_truncates,
        column_list,
        except_column_list,
        stored_as_scd_type,
        track_history_column_list,
        track_history_except_column_list,
        name,
        once,
        ignore_null_updates_column_list=ignore_null_updates_column_list,
        ignore_null_updates_except_column_list=ignore_null_updates_except_column_list,
        columns_to_update=columns_to_update,
        where=where,
        flow_name=flow_name,
    )


@check_arguments
def create_auto_cdc_from_snapshot_flow(  # noqa: PLR0913, PLR0917 - the names are Databricks'
    target: str,
    source: Any,
    keys: Any,
    stored_as_scd_type: Any = "1",
    track_history_column_list: Any = None,
    track_history_except_column_list: Any = None,
    *,
    name: str | None = None,
    comment: str | None = None,
    spark_conf: dict[str, str] | None = None,
) -> None:
    """Declare a flow that makes the streaming table `target` what the newest snapshot is.

    `source` names a table or view, or is a function from the version applied last (None at first)
    to the next (DataFrame, version), or None when there is none yet, or is that pair itself.
    """
    registry = active_registry()
    location = registry.caller()
    arguments.required_name("target", target)
    if isinstance(source, tuple) and len(source) == 2:
        source = _once(*source)
    if not isinstance(source, str) and not callable(source):
        raise wrong_type("source", "the name of a table or view, or a function", source)
    cdc = SnapshotCdc(
        keys=_keys(keys, location),
        history=scd_type(stored_as_scd_type, location),
        tracked=_choice(
            "track_history_column_list",
            track_history_column_list,
            track_history_except_column_list,
            location,
        ),
        next_snapshot=None if isinstance(source, str) else source,
    )

    def query() -> Any:
        from pyspark.sql import functions as F  # noqa: N812 - as Spark's users know it

        session = current_session()
        if not isinstance(source, str):
            return session.range(0)
        moment = F.current_timestamp() if cdc.history else F.lit(0).cast("bigint")
        return session.read.table(source).withColumn("__proa_sequence", moment)

    registry.add_flow(
        Flow(
            arguments.text("name", name) or name_parts(target)[-1],
            target,
            query,
            location,
            comment=arguments.text("comment", comment),
            spark_conf=arguments.mapping("spark_conf", spark_conf),
            cdc=cdc,
        )
    )


def _once(frame: Any, version: Any) -> Callable[[Any], tuple[Any, Any] | None]:
    """Return a function that yields one snapshot, unless it or a later one is applied already."""

    def next_snapshot(latest: Any) -> tuple[Any, Any] | None:
        return None if latest is not None and version <= latest else (frame, version)

    return next_snapshot


@check_arguments
def apply_changes_from_snapshot(  # noqa: PLR0913, PLR0917 - the names are Databricks'
    target: str,
    source: Any = None,
    keys: Any = None,
    stored_as_scd_type: Any = "1",
    track_history_column_list: Any = None,
    track_history_except_column_list: Any = None,
    snapshot_and_version: Any = None,
    *,
    name: str | None = None,
) -> None:
    """`create_auto_cdc_from_snapshot_flow`, as it was called at first."""
    create_auto_cdc_from_snapshot_flow(
        target,
        snapshot_and_version if source is None else source,
        keys,
        stored_as_scd_type,
        track_history_column_list,
        track_history_except_column_list,
        name=name,
    )


def _helpers(cdc: AutoCdc) -> list[Any]:
    """The columns that change rows have beside the source's own."""
    from pyspark.sql import functions as F  # noqa: N812 - the name that Spark's users know it by

    def column(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return F.col(f"`{value}`") if re.fullmatch(r"[\w ]+", value) else F.expr(value)

    named = {
        "__proa_sequence": cdc.sequence_by,
        "__proa_delete": cdc.deletes,
        "__proa_truncate": cdc.truncates,
        "__proa_update": cdc.update_column,
    }
    return [column(value).alias(name) for name, value in named.items() if value is not None]


def scd_type(value: Any, location: SourceLocation) -> bool:
    """Whether a history is kept. Raises PipelineError for a type that is neither 1 nor 2."""
    if value is None:
        return False
    text = str(value).strip().upper()
    if text == "BITEMPORAL":
        raise bitemporal(location)
    if isinstance(value, bool) or text not in _SCD_TYPES:
        raise PipelineError(
            f"the argument 'stored_as_scd_type' must be 1 or 2, not {value!r}",
            condition="NOT_EXPECTED_TYPE",
            location=location,
        )
    return _SCD_TYPES[text]


def bitemporal(location: SourceLocation) -> PipelineError:
    """The error for two time axes; to be raised by the caller."""
    from proa.pipelines.unsupported import unsupported_error

    return unsupported_error("bitemporal AUTO CDC", location)


def _keys(value: Any, location: SourceLocation) -> tuple[str, ...]:
    keys = _column_names("keys", value)
    if not keys:
        raise PipelineError(
            "the argument 'keys' is empty; name the columns that identify a row",
            condition="AUTOCDC_EMPTY_KEYS",
            location=location,
        )
    return keys


def replace_using(keys: Any, sequence_by: Any, location: SourceLocation) -> Replacement | None:
    """How the rows of a replace flow take the place of others; None when nothing is given."""
    if keys is None and sequence_by is None:
        return None
    columns = _column_names("replace_using", [keys] if isinstance(keys, str) else keys)
    sequence = _column_name("sequence_by", sequence_by)
    if not columns or sequence is None:
        raise PipelineError(
            "a replace flow needs both 'replace_using', the columns whose rows it replaces, and"
            " 'sequence_by', the column that says which rows are newer",
            condition="INVALID_MULTIPLE_ARGUMENT_CONDITIONS",
            location=location,
        )
    return Replacement(columns, sequence)


def _choice(name: str, names: Any, excluded: Any, location: SourceLocation) -> ColumnChoice | None:
    """The columns of a list or of its `except` twin; None without both, or with empty ones."""
    listed, left_out = _column_names(name, names), _column_names(name, excluded)
    if listed and left_out:
        twin = name.replace("column_list", "except_column_list")
        raise PipelineError(
            f"only one of {name!r} and {twin!r} can be given",
            condition="CANNOT_SET_TOGETHER",
            location=location,
        )
    if not listed and not left_out:
        return None
    return ColumnChoice(listed or left_out, excluded=bool(left_out))


def _all_columns(*, given: bool) -> ColumnChoice | None:
    return ColumnChoice(excluded=True) if given else None


def _column_names(name: str, value: Any) -> tuple[str, ...]:
    """Names of columns, given as strings or as `col(...)`."""
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise wrong_type(name, "a list of column names", value)
    return tuple(_required_column(name, item) for item in value)


def _required_column(name: str, value: Any) -> str:
    column = _column_name(name, value)
    if column is None:
        raise wrong_type(name, "a list of column names", value)
    return column


def _column_name(name: str, value: Any) -> str | None:
    """The name of a column, given as a string or as `col(...)`; None for None."""
    if value is None:
        return None
    if not isinstance(value, str):
        expression = getattr(value, "_expr", None)
        value = getattr(expression, "_unparsed_identifier", None)
        if not isinstance(value, str):
            raise wrong_type(name, "a column's name or col('name')", expression)
    return str(value).strip().strip("`")


def _expression(name: str, value: Any) -> Any:
    """Spark SQL or a Column."""
    if value is None or (not isinstance(value, str) and not hasattr(value, "_expr")):
        raise wrong_type(name, "a column's name, a Spark SQL expression or a Column", value)
    return value


def _optional(name: str, value: Any) -> Any:
    return None if value is None else _expression(name, value)
