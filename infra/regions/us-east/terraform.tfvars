# Region us-east. The token is not a value of a file: export TF_VAR_token.

host    = "http://127.0.0.1:8101"
address = "http://127.0.0.1:8101"

# Whether this region is the active one: failover sets it to true, failback to false.
active_region = true

pipeline_name       = "pipeline"
pipeline_storage    = "s3://us-east/dlt/"
pipeline_target     = "pipeline"
landing_zone        = "s3://us-east/landing"
notebooks_directory = "/Pipelines/pipeline"

notebooks = [
  "notebook1.py",
  "notebook2.py",
]
