# Region us-west. The token is not a value of a file: export TF_VAR_token.

host    = "http://127.0.0.1:8102"
address = "http://127.0.0.1:8102"

# Whether this region is the active one: failover sets it to true, failback to false.
active_region = false

pipeline_name       = "pipeline"
pipeline_storage    = "s3://us-west/dlt/"
pipeline_target     = "pipeline"
landing_zone        = "s3://us-west/landing"
notebooks_directory = "/Pipelines/pipeline"

notebooks = [
  "notebook1.py",
  "notebook2.py",
]
