"""Silver: the tables of the database, again.

`customers` is what the shop knows now (type 1). `orders` keeps what each order was, and from which
change to which (type 2): its rows of today are those without `__END_AT`.
"""

from pyspark import pipelines as dp

CAPTURED = ["Op", "commit_timestamp", "change_seq", "_rescued_data"]

for table, kind in {"customers": 1, "orders": 2}.items():
    dp.create_streaming_table(table)
    dp.create_auto_cdc_flow(
        target=table,
        source=f"{table}_changes",
        keys=["id"],
        sequence_by="change_seq",
        apply_as_deletes="Op = 'D'",
        except_column_list=CAPTURED,
        stored_as_scd_type=kind,
    )
