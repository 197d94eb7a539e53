output "active_region" {
  description = "Whether this region is the active one."
  value       = module.dlt_pipeline.active_region
}

output "pipeline_id" {
  description = "The pipeline in this region."
  value       = module.dlt_pipeline.pipeline_id
}

output "job_id" {
  description = "The job that runs the pipeline while the region is not active."
  value       = module.dlt_pipeline.job_id
}

output "address" {
  description = "Where consumers read this region's tables."
  value       = var.address
}
