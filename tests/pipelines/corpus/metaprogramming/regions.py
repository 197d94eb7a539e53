import dlt
from functools import reduce
from pyspark.sql.functions import lit

REGIONS = ["north", "south"]
RULES = {"has id": "id IS NOT NULL", "has amount": "amount > 0"}


def generate_bronze(region):
    @dlt.table(name=f"orders_{region}_bronze", table_properties={"region": region})
    def orders():
        return spark.readStream.format("cloudFiles").option("cloudFiles.format", "json").load(f"/data/{region}")


def generate_silver(region, rules):
    @dlt.table(name=f"orders_{region}_silver")
    @dlt.expect_all_or_drop(rules)
    def orders():
        return dlt.read_stream(f"orders_{region}_bronze").withColumn("region", lit(region))


for region in REGIONS:
    generate_bronze(region)
    generate_silver(region, RULES)

for step in ("daily", "weekly"):

    @dlt.view(name=f"orders_{step}")
    def orders_view(step=step):
        return dlt.read("all_orders").where(f"kind = '{step}'")


@dlt.table
def all_orders():
    return reduce(
        lambda left, right: left.unionByName(right),
        [dlt.read(f"orders_{region}_silver") for region in REGIONS],
    )
