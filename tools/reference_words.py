"""What the reference says that the code does not: meanings of conditions, options and settings.

`tools/reference.py` refuses a word for something that does not exist, and a thing without words.
"""

from __future__ import annotations

CONDITIONS: dict[str, dict[str, str]] = {
    "Change data": {
        "AUTOCDC_EMPTY_KEYS": "`keys` names no column",
        "CANNOT_SET_TOGETHER": "a column list and its `except` twin are both given",
        "INVALID_MULTIPLE_ARGUMENT_CONDITIONS": "parameters of AUTO CDC exclude one another",
        "AUTOCDC_TARGET_IS_NOT_A_STREAMING_TABLE": "AUTO CDC writes to a view or to a table with a query",
        "AUTOCDC_TARGET_WITH_OTHER_FLOWS": "a table is fed by AUTO CDC and by flows that append",
        "AUTOCDC_MULTIPLE_FLOWS_TO_TARGET": "flows into one table have different keys, SCD types or tracked columns",
        "AUTOCDC_KEY_NOT_IN_SELECTED_SCHEMA": "a column list leaves a key out",
        "AUTOCDC_RESERVED_COLUMN_NAME_CONFLICT": "the source has a column that SCD type 2 makes itself",
        "AUTOCDC_MICROBATCH_VALIDATION": "a change has no key or no sequence; what follows the dot says which",
        "AUTOCDC_SNAPSHOT_VERSION": "a snapshot's version has a type without order",
        "AUTOCDC_INVALID_STATE": "the table was built with other keys, order or history; what follows the dot says which",
        "CAPTURE_NOT_PREPARED": "the database is not set up for capture; the message has the statement to run",
        "CAPTURE_MISSING_RIGHTS": "the database's user lacks rights that capture needs",
    },
    "The pipeline's source": {
        "PIPELINE_ERROR": "any other mistake in a pipeline's source",
        "TABLE_OR_VIEW_NOT_FOUND": "a query, a selection or an append flow names a dataset that is not there",
        "PIPELINE_DUPLICATE_IDENTIFIERS.OUTPUT": "two datasets have one name",
        "PIPELINE_DUPLICATE_IDENTIFIERS.FLOW": "two flows have one name",
        "PIPELINE_DATASET_WITHOUT_FLOW": "nothing feeds the dataset",
        "PIPELINE_GRAPH_NOT_TOPOLOGICALLY_SORTED": "datasets read one another in a circle",
        "RUN_EMPTY_PIPELINE": "the project's files declare nothing to store",
        "ENVIRONMENT_DEPENDENT": "a finding that nobody accepted forbids to run the pipeline in a region",
        "MATERIALIZED_VIEW_WITH_MULTIPLE_QUERIES": "a materialized view has several queries",
        "INVALID_FLOW_QUERY_TYPE.BATCH_RELATION_FOR_STREAMING_TABLE": "the query of a streaming table reads nothing as a stream",
        "INVALID_FLOW_QUERY_TYPE.STREAMING_RELATION_FOR_MATERIALIZED_VIEW": "the query of a materialized view reads a stream",
        "INVALID_FLOW_QUERY_TYPE.STREAMING_RELATION_FOR_ONCE_FLOW": "the query of a once flow reads a stream",
        "INCOMPATIBLE_STREAMING_VIEW_READ": "a streaming view is read as a batch",
        "INCOMPATIBLE_BATCH_VIEW_READ": "a batch view is read as a stream",
        "INVALID_DATASET_NAME": "what cannot name a dataset",
        "INVALID_FLOW_NAME": "what cannot name a flow",
        "MULTIPART_FLOW_NAME_NOT_SUPPORTED": "a flow's name has several parts",
        "INVALID_EXPECTATION": "an expectation's name or condition is wrong",
        "COLUMN_ALREADY_EXISTS": "a dataset would have a column twice",
        "UNRESOLVED_COLUMN": "a query, an expectation or a layout names a column that is not there",
        "AMBIGUOUS_REFERENCE": "a query names a column that several of its tables have",
        "UNRESOLVED_ROUTINE": "a query calls a function that the engine does not have",
        "PARTITION_COLUMN_NOT_FOUND": "a dataset is partitioned by a column that its query does not yield",
        "SPECIFY_CLUSTER_BY_WITH_PARTITIONED_BY_IS_NOT_ALLOWED": "a dataset has partition and clustering columns",
        "PARSE_SYNTAX_ERROR": "SQL, a type or a hint cannot be parsed",
        "UNCLOSED_BRACKETED_COMMENT": "a comment in a SQL file does not end",
        "UNKNOWN_CONFIGURATION_KEY": "`${key}` in a SQL file is in no configuration",
        "SQL_CONF_NOT_FOUND": "`spark.conf.get` finds no such key",
        "UNSUPPORTED_NOTEBOOK_MAGIC": "a notebook's cell begins with something that a pipeline cannot do",
        "PYTHON_SYNTAX_ERROR": "a Python file is no Python",
        "PIPELINE_SOURCE_FAILED": "a Python file raised an error while it was loaded",
        "PIPELINE_SOURCE_NOT_FOUND": "a file or folder under `libraries` is not there",
        "PIPELINE_UNSUPPORTED_DEFINITIONS_FILE_EXTENSION": "a file under `libraries` is neither Python nor SQL",
        "GRAPH_ELEMENT_DEFINED_OUTSIDE_OF_DECLARATIVE_PIPELINE": "a decorator was called where no pipeline is loaded",
        "DECORATOR_ARGUMENT_NOT_CALLABLE": "a decorator stands above something that is no function",
        "DECORATOR_WITHOUT_FUNCTION": "a decorator with parentheses decorates nothing",
        "INVALID_QUERY_FUNCTION": "a query function needs arguments or has no name",
        "QUERY_FUNCTION_FAILED": "a query function raised an error",
        "NOT_EXPECTED_TYPE": "an argument, or what a query function returns, has another type than it must have",
        "UNEXPECTED_ARGUMENT": "a decorator or function has no such parameter",
        "ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION": "code asks for rows or columns while datasets are declared",
        "SESSION_MUTATION_IN_DECLARATIVE_PIPELINE": "code changes the session; what follows the dot says how",
        "UNSUPPORTED_PIPELINE_SPARK_SQL_COMMAND": "`spark.sql()` or `proa query` is given something else than a query",
        "UNSUPPORTED_FEATURE": "Databricks or Apache has it and this version does not; the message says what to do instead",
        "UNSUPPORTED_STREAMING_OPERATOR": "a streaming query would need state: a watermark, an aggregation, a join of two streams",
        "UNSUPPORTED_STREAMING_SOURCE": "a stream of something that cannot be read exactly once",
        "UNSUPPORTED_BATCH_SOURCE": "a format that can only be a stream is read as a batch",
        "UNSUPPORTED_SUBQUERY_EXPRESSION": "an expression written as text reads a table",
        "UNSUPPORTED_TABLE_VALUED_FUNCTION": "a table function that a pipeline cannot follow",
        "INVALID_SOURCE_PATH": "a reader is given several paths",
        "ENGINE_REFUSED": "the engine found a mistake in a query; where the engine names the mistake, its name stands here instead",
    },
    "The project's files and the command line": {
        "INVALID_SETTING": "a mistake in `proa.yml`, an option or an environment variable",
        "USER_ERROR": "any other mistake in what a command was given",
        "INVALID_SELECTION": "tables that cannot be refreshed together, or a view",
        "TABLE_NOT_RESETTABLE": "a full refresh of a table whose `pipelines.reset.allowed` is false",
        "PIPELINE_SPEC_FILE_NOT_FOUND": "there is no `spark-pipeline.yml` here or above",
        "PIPELINE_SPEC_FILE_DOES_NOT_EXIST": "the `spark-pipeline.yml` that was named is not there",
        "MULTIPLE_PIPELINE_SPEC_FILES_FOUND": "both `spark-pipeline.yml` and `spark-pipeline.yaml` are there",
        "PIPELINE_SPEC_MISSING_REQUIRED_FIELD": "`spark-pipeline.yml` lacks a key",
        "PIPELINE_SPEC_UNEXPECTED_FIELD": "`spark-pipeline.yml` has a key that means nothing",
        "PIPELINE_SPEC_FIELD_NOT_DICT": "a key of `spark-pipeline.yml` must hold a mapping",
        "PIPELINE_SPEC_DICT_KEY_NOT_STRING": "a name in `configuration` is no string",
        "PIPELINE_SPEC_DICT_VALUE_NOT_STRING": "a value in `configuration` is no string; put it in quotes",
        "PIPELINE_SPEC_INVALID_GLOB_PATTERN": "a glob under `libraries` is neither a file nor a folder and `/**`",
    },
    "Files that are read": {
        "CF_MISSING_FORMAT": "`cloudFiles.format` is not set",
        "CF_UNSUPPORTED_FORMAT": "`cloudFiles.format` is none that is read",
        "CF_UNKNOWN_OPTION_KEYS_ERROR": "an option of Auto Loader does not exist",
        "CF_INVALID_OPTION": "an option of Auto Loader has a value that it cannot have",
        "CF_UNSUPPORTED_OPTION": "an option of Auto Loader that is refused by name",
        "CF_ADD_NEW_NOT_SUPPORTED": "new columns are to be added to a schema that was given",
        "PATH_NOT_FOUND": "a folder or table that a query reads is not there",
        "CF_EMPTY_DIR": "there is no path to load",
        "CF_EMPTY_DIR_FOR_SCHEMA_INFERENCE": "the columns cannot be inferred, because there is no file yet; the flow waits",
        "CF_INVALID_GLOB": "a bracket in a path's pattern is not closed",
        "INVALID_DATETIME_PATTERN": "a date pattern has letters that are not supported",
        "UNSUPPORTED_DATATYPE": "files or tables cannot have a column of this type",
        "UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE": "CSV and text files cannot have a column of this type",
        "UNKNOWN_FIELD_EXCEPTION": "a file has fields that the schema lacks, and the evolution mode forbids them",
        "CF_FILE_NOT_FOUND": "a file was discovered and is gone",
        "CF_FILE_MODIFIED": "a file was changed after it was discovered",
        "FAILED_READ_FILE": "a file cannot be read",
        "MALFORMED_RECORD_IN_PARSING": "a record cannot be parsed, and `mode` is `FAILFAST`",
    },
    "Tables and batches": {
        "INVALID_DATA": "the data broke a rule that the pipeline set",
        "EXPECTATION_VIOLATED": "a row breaks an expectation that fails the update",
        "NOT_NULL_CONSTRAINT_VIOLATION": "a row has no value in a column that is NOT NULL",
        "DELTA_FAILED_TO_MERGE_FIELDS": "a column's type in the table and in the query do not go together",
        "USER_SPECIFIED_AND_INFERRED_SCHEMA_NOT_COMPATIBLE": "the query yields columns that the declared schema lacks",
        "CANNOT_UPDATE_PARTITION_COLUMNS": "the partition columns of a table that has rows were changed",
        "DELTA_SOURCE_TABLE_IGNORE_CHANGES": "a table that is read as a stream was refreshed fully, or rows were removed from it",
        "DELTA_VERSION_NOT_FOUND": "a version of a table is not in its log any more",
        "FAILED_READ_FILE.FILE_NOT_EXIST": "a file that belongs to a table was removed by somebody else",
        "CHECKPOINT_DAMAGED": "a plan, a schema or a segment of a checkpoint is gone or damaged",
        "PYTHON_FAILED": "Python code of the pipeline, such as a UDF, failed in the engine",
    },
    "Shipping": {
        "SHIPPED_FILE_DIFFERS": "a landing zone holds other bytes under the name of a file that is to be shipped",
        "SHIPPED_FILE_LOST": "a file was shipped to one landing zone and can be had nowhere for another",
        "INVALID_MANIFEST": "a manifest is damaged",
        "UNSUPPORTED_FORMAT": "an object in the storage was written by another version of Proa",
        "MANIFEST_CONFLICT": "the journal of a source and a landing zone's manifest contradict each other",
        "INVALID_OBJECT_NAME": "a file has a name that object stores do not take",
    },
    "Changing roles": {
        "LOSS_TOO_LARGE": "a failover would lose more than is allowed; nothing was changed",
        "REGIONS_DIFFER": "a switchover found rows that differ; nothing was moved",
        "CHANGE_UNDER_WAY": "another change of roles is not finished",
        "CONTROL_RECORD_CONFLICT": "the places that hold the control record disagree; people decide",
        "INVALID_CONTROL_RECORD": "an entry of the control record is damaged",
        "NOTHING_TO_FAIL_BACK_TO": "no other region was ever active",
        "NOT_A_STANDBY": "a drill was asked of the active region",
        "NOT_CONFIRMED": "a change was asked for where nobody can confirm it, without --yes",
        "PIPELINE_NOT_FOUND": "a region lacks a pipeline of the group",
        "PERMISSION_DENIED": "a region refuses the controller's token",
    },
    "Try again, or look first": {
        "UNAVAILABLE": "a store, an engine or a region did not answer; nothing happened",
        "ENGINE_FAILED": "the engine broke off; nothing happened",
        "WORKER_LACKS_LIBRARY": "the Python of a Spark worker lacks what Proa's reader and writer need",
        "UNKNOWN_OUTCOME": "no answer came, and it may have happened; the next run looks",
        "CONFLICT": "another writer was first; nothing of ours happened",
        "GENERATION_CHANGED": "the table was refreshed fully while a batch was computed",
        "STALE_FILES": "another commit changed the table's types, or rows that a batch builds on, while it was computed",
        "NOT_FOUND": "an object is not there",
        "PROA_ERROR": "anything else",
    },
}
"""Every condition, by where it comes from."""

OPTIONS: dict[str, dict[str, str]] = {
    "Which files": {
        "format": "`json`, `csv`, `parquet` or `text`; required",
        "maxFilesPerTrigger": "files of a batch, at most",
        "maxBytesPerTrigger": "bytes of a batch (`512m`, `10g`), at most; a batch has at least one file",
        "includeExistingFiles": "whether files count that were there before the flow's first start",
        "allowOverwrites": "read a changed file again, as a new one",
        "pathGlobFilter": "a glob for files' names",
        "fileNamePattern": "another name of `pathGlobFilter`",
        "modifiedAfter": "files that were modified after this time",
        "modifiedBefore": "files that were modified up to this time",
        "maxFileAge": "leave out files that are older (`90 days`)",
        "recursiveFileLookup": "`true` keeps folders' names from making columns; folders are searched in depth anyway",
        "partitionColumns": "the columns that folders' names give, by commas; empty for none",
        "ignoreCorruptFiles": "go on without files that cannot be read",
        "ignoreMissingFiles": "go on without files that are gone",
        "validateOptions": "refuse options that do not exist",
    },
    "Columns and types": {
        "inferColumnTypes": "infer types in JSON and CSV; otherwise all columns are strings",
        "inferSchema": "another name of `inferColumnTypes`",
        "schemaHints": "types that are pinned: `id bigint, address.zip string`",
        "schemaEvolutionMode": "what happens to new columns; default `none` with a schema, else `addNewColumns`",
        "schemaInference.sampleSize.numFiles": "files that types are inferred from, at most",
        "schemaInference.sampleSize.numBytes": "bytes that types are inferred from, at most; default 50 GiB",
        "rescuedDataColumn": "the column for what does not fit; without a schema `_rescued_data`, with one there is none",
        "columnNameOfCorruptRecord": "the column for records that cannot be parsed, when the schema or the hints have it",
        "readerCaseSensitive": "whether `Id` and `id` are two names",
        "mode": "records that cannot be parsed: `PERMISSIVE` keeps, `DROPMALFORMED` leaves out, `FAILFAST` fails",
    },
    "How files are written": {
        "multiLine": "JSON: a file is one object or one array of objects",
        "encoding": "the characters' encoding",
        "charset": "another name of `encoding`",
        "lineSep": "what ends a line: one ASCII character; `\\r\\n` needs no mention",
        "header": "CSV: whether the first line has the names; default `false` with a schema, else `true`",
        "sep": "CSV: what stands between values: one ASCII character",
        "delimiter": "another name of `sep`",
        "quote": "CSV: what encloses a value; empty for nothing",
        "escape": "CSV: what escapes a quote within quotes; two quotes are one, too",
        "comment": "CSV: lines that begin with this character are left out",
        "nullValue": "CSV: a text that stands for NULL, in quotes or not; no text at all always does",
        "emptyValue": 'CSV: the text that `""` stands for; by default the null value',
        "ignoreLeadingWhiteSpace": "CSV: leave out white space before values that are not in quotes",
        "ignoreTrailingWhiteSpace": "CSV: leave out white space behind values that are not in quotes",
        "wholetext": "text: a row per file instead of per line",
        "dateFormat": "the pattern of dates, in Spark's letters",
        "timestampFormat": "the pattern of timestamps, in Spark's letters",
    },
}
"""Every option of Auto Loader that has an effect. Defaults come from the code."""

REFUSED_OPTIONS = {
    "cleanSource": "but `OFF`: the other region, a full refresh and a recovery read the same files again",
    "singleVariantColumn": "there is no VARIANT column; use `_rescued_data`",
    "badRecordsPath": "what cannot be read is kept in `_rescued_data`",
}

CONFIGURATION = {
    "landing_zone": (
        "configuration",
        (
            "the landing zone; `proa run --region R` sets the region's own. Only a name: the pipeline"
            ' asks for it (`spark.conf.get("landing_zone")`)'
        ),
    ),
    "pipelines.cdc.tombstoneGCThresholdInSeconds": (
        "table",
        (
            "AUTO CDC targets: how long a deletion is remembered, in seconds of the data's own clock,"
            " so that a change that comes late does not bring its row back"
        ),
    ),
    "pipelines.trigger.interval": (
        "flow, table, configuration",
        (
            "continuous updates: how long a flow waits between two looks (`10 seconds`, `5 minutes`);"
            " default 5 seconds, materialized views 1 minute. A flow's own setting wins over its"
            " table's, and that over the pipeline's"
        ),
    ),
    "pipelines.maxFlowRetryAttempts": (
        "configuration",
        "how often a flow is tried again within an update; default 2, negative for without end",
    ),
    "pipelines.numUpdateRetryAttempts": (
        "configuration",
        (
            "how often an update runs its failed flows again; default 5, and without end in a"
            " continuous update"
        ),
    ),
    "pipelines.reset.allowed": (
        "table",
        "`false` protects a table from full refreshes; default `true`",
    ),
}
"""Keys of a pipeline that have an effect: (where they stand, what they do)."""

PLACES = {
    "flow": "`spark_conf` of a flow or dataset in Python, `SET` above it in a SQL file",
    "table": "`table_properties` in Python, `TBLPROPERTIES` in SQL",
    "configuration": "`configuration` in `spark-pipeline.yml`, or a region's in `proa.yml`",
}

STEPS = {
    "ship.put_journal": "a shipment got its numbers in the source's journal",
    "ship.put_file": "a file's bytes are in a landing zone",
    "ship.put_manifest": "a shipment is in a landing zone's manifest",
    "ship.compact": "entries of a manifest were merged into a segment",
    "declared.put": "the storage says which tables the pipeline declares",
    "schema.put": "a version of a flow's schema is in the checkpoint",
    "plan.put": "the plan of a batch is in the checkpoint",
    "plan.fold": "plans of several batches stand in one segment as well",
    "compute.write": "a batch's Parquet files lie beside the table",
    "table.create": "a table's first version is in its log",
    "table.evolve": "a table has other columns",
    "commit": "a batch is part of a table",
    "reset": "a table is empty and of a new generation",
    "checkpoint.compact": "known files of several batches were merged into a segment",
    "events.flush": "events are in the event log",
    "maintain.compact": "few large files stand in the place of many small ones",
    "maintain.delete": "an object that nobody needs is gone",
    "state.write": "a change of a region's state is committed",
    "work.begin": "a worker has something to do",
    "control.put": "the control record says what a change of roles is about to do",
    "region.fence": "a region's updates are stopped",
    "region.drain": "a region has processed what had landed",
    "region.prove": "a proof that both regions are equal is filed",
    "region.activate": "a region runs all the time",
    "region.repoint": "consumers are sent to another region",
    "region.demote": "a region runs by its schedule",
}
"""What is true after each dangerous step."""
