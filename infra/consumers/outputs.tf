output "active_region" {
  description = "The region that answers consumers."
  value       = terraform_data.consumers.output.region
}

output "address" {
  description = "Where consumers are sent."
  value       = terraform_data.consumers.output.address
}
