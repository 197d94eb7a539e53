import dlt
from pyspark.sql.functions import expr

rules = {"valid_website": "(Website IS NOT NULL)", "valid_location": "(Location IS NOT NULL)"}
quarantine_rules = "NOT({0})".format(" AND ".join(rules.values()))


@dlt.view
def raw_farmers_market():
    return spark.read.format("csv").option("header", "true").load("/data/farmers")


@dlt.table(name="farmers_market_quarantine", temporary=True, partition_cols=["is_quarantined"])
@dlt.expect_all(rules)
def farmers_market_quarantine():
    return dlt.read("raw_farmers_market").withColumn("is_quarantined", expr(quarantine_rules))


@dlt.view(name="valid_farmers_market")
def get_valid():
    return dlt.read("farmers_market_quarantine").filter("is_quarantined=false")


@dlt.table
def invalid_farmers_market():
    return dlt.read("farmers_market_quarantine").filter("is_quarantined=true")
