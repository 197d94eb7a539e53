"""Spark's settings in a pipeline: those that change results are honoured or refused, never ignored."""

from __future__ import annotations

from collections.abc import Mapping

from proa.errors import PipelineError, SourceLocation

CONDITION = "UNSUPPORTED_SPARK_SETTING"

HONOURED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "false",
}
"""Settings that an engine's session is given, with what holds when a pipeline says nothing."""

_FIXED = {
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.mapKeyDedupPolicy": "EXCEPTION",
    "spark.sql.storeAssignmentPolicy": "ANSI",
    "spark.sql.decimalOperations.allowPrecisionLoss": "true",
    "spark.sql.groupByOrdinal": "true",
    "spark.sql.orderByOrdinal": "true",
    "spark.sql.groupByAliases": "true",
    "spark.sql.crossJoin.enabled": "true",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "true",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.ansi.doubleQuotedIdentifiers": "false",
    "spark.sql.ansi.enforceReservedKeywords": "false",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
}
"""Other settings that change rows, with the only value that they have here."""
_LEGACY = "spark.sql.legacy."

_honoured_by_folded = {key.casefold(): key for key in HONOURED}
_fixed_by_folded = {key.casefold(): value for key, value in _FIXED.items()}


def engine_settings(configuration: Mapping[str, str]) -> dict[str, str]:
    """Return what a pipeline's configuration asks of its engine's session, without the defaults."""
    names = {key: _honoured_by_folded.get(key.casefold()) for key in configuration}
    return {
        name: configuration[key]
        for key, name in names.items()
        if name is not None and configuration[key].casefold() != HONOURED[name].casefold()
    }


def check_configuration(configuration: Mapping[str, str]) -> None:
    """Raise PipelineError for a setting that changes results and cannot be honoured."""
    for key, value in configuration.items():
        check_setting(key, value, None)


def check_flow_settings(
    settings: Mapping[str, str], configuration: Mapping[str, str], location: SourceLocation | None
) -> None:
    """Check what a flow, `SET` or `spark.conf.set` says: a session has one setting for all flows.

    Raises PipelineError for a setting that cannot be honoured, or differs from the pipeline's.
    """
    whole = {key.casefold(): value for key, value in {**HONOURED, **configuration}.items()}
    for key, value in settings.items():
        check_setting(key, value, location)
        name = _honoured_by_folded.get(key.casefold())
        if name is not None and value.casefold() != whole[name.casefold()].casefold():
            raise PipelineError(
                f"{name} is {whole[name.casefold()]!r} in this pipeline and cannot be {value!r} for a"
                f" part of it; set it for all, under 'configuration' in the pipeline's specification"
                f" ({name}: {value!r})",
                condition=CONDITION,
                location=location,
            )


def check_setting(key: str, value: str, location: SourceLocation | None) -> None:
    """Raise PipelineError if a setting would change results and is not honoured."""
    folded = key.casefold()
    only = _fixed_by_folded.get(folded)
    if only is None and folded.startswith(_LEGACY):
        only = "false"
    if only is not None and value.casefold() != only.casefold():
        raise PipelineError(
            f"the setting {key} = {value!r} changes results and is not supported: it is {only!r}"
            " here; leave it out, and write what is wanted in the query",
            condition=CONDITION,
            location=location,
        )
