# One region: a root module with a state of its own, so that a dead region never blocks the other.
# Everything that differs between regions stands in terraform.tfvars.

module "dlt_pipeline" {
  source              = "../../module"
  active_region       = var.active_region
  pipeline_name       = var.pipeline_name
  pipeline_storage    = var.pipeline_storage
  pipeline_catalog    = var.pipeline_catalog
  pipeline_target     = var.pipeline_target
  pipeline_edition    = var.pipeline_edition
  landing_zone        = var.landing_zone
  configuration       = var.configuration
  notebooks           = var.notebooks
  notebooks_source    = var.notebooks_source == null ? null : "${path.root}/${var.notebooks_source}"
  notebooks_directory = var.notebooks_directory
  schedule            = var.schedule
  schedule_timezone   = var.schedule_timezone
}
