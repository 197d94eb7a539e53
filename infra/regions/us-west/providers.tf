terraform {
  required_version = ">= 1.4"

  required_providers {
    databricks = {
      source  = "databricks/databricks"
      version = ">= 1.50"
    }
  }
}

# The time-outs matter: without them the provider asks a dead region again and again, for ever.
provider "databricks" {
  host                  = var.host
  token                 = var.token
  retry_timeout_seconds = 30
  http_timeout_seconds  = 15
}
