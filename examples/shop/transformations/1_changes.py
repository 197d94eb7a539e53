"""Bronze: the changes as the database told them, one row each.

`proa capture` writes a folder for each table. A file has the columns `Op` (I, U or D),
`commit_timestamp` and `change_seq` beside the table's own; a new column of the table comes by itself.
"""

from pyspark import pipelines as dp

LANDING_ZONE = spark.conf.get("landing_zone")

# CSV has no types. They are pinned, so that two regions that see other files first agree.
TYPES = {
    "customers": "id bigint, name string, city string",
    "orders": "id bigint, customer bigint, placed_at timestamp, status string, amount decimal(12,2)",
}


def declare_changes(table):
    @dp.table(name=f"{table}_changes", comment=f"Every change of {table}, as it was captured.")
    @dp.expect("complete", "_rescued_data IS NULL")
    def changes():
        return (
            spark.readStream.format("cloudFiles")
            .option("cloudFiles.format", "csv")
            .option("header", "true")
            .option("multiLine", "true")
            .option("cloudFiles.schemaHints", TYPES[table])
            .load(f"{LANDING_ZONE}/shop/proa_shop/{table}")
        )


for table in TYPES:
    declare_changes(table)
