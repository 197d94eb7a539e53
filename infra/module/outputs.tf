output "pipeline_id" {
  description = "The pipeline in this region."
  value       = databricks_pipeline.dlt_pipeline.id
}

output "job_id" {
  description = "The job that runs the pipeline while the region is not active."
  value       = databricks_job.dlt_pipeline.id
}

output "notebooks" {
  description = "Where each source file is in the workspace."
  value       = { for name, notebook in databricks_notebook.dlt_pipeline : name => notebook.path }
}

output "active_region" {
  description = "Whether this region is the active one."
  value       = var.active_region
}
