variable "host" {
  description = "The region's server: a Proa region (http://host:port) or a Databricks workspace (https://...). Null takes DATABRICKS_HOST."
  type        = string
  default     = null
}

variable "token" {
  description = "An access token of that server; set it by TF_VAR_token, never in a file. Null takes what the environment has."
  type        = string
  default     = null
  sensitive   = true
}

variable "address" {
  description = "Where consumers read this region's tables; consumers/ sends them to the active region's."
  type        = string
  default     = null
}

variable "active_region" {
  description = "Whether this region is the active one. Failover sets it to true here; failback sets it to false again."
  type        = bool
}

variable "pipeline_name" {
  description = "The pipeline's name; the same in every region."
  type        = string
}

variable "pipeline_storage" {
  description = "Where the region keeps tables and checkpoints. Null with pipeline_catalog."
  type        = string
  default     = null
}

variable "pipeline_catalog" {
  description = "The Unity Catalog catalog, instead of pipeline_storage."
  type        = string
  default     = null
}

variable "pipeline_target" {
  description = "The schema that the tables belong to."
  type        = string
  default     = null
}

variable "pipeline_edition" {
  description = "The Databricks product edition: CORE, PRO or ADVANCED."
  type        = string
  default     = "ADVANCED"
}

variable "landing_zone" {
  description = "The region's own landing zone."
  type        = string
}

variable "configuration" {
  description = "More configuration of the pipeline, by key."
  type        = map(string)
  default     = {}
}

variable "notebooks" {
  description = "The pipeline's source files, relative to notebooks_source."
  type        = list(string)
}

variable "notebooks_source" {
  description = "The folder that holds the source files, relative to this folder; null means module/notebooks."
  type        = string
  default     = null
}

variable "notebooks_directory" {
  description = "The workspace folder that the source files are put into: one of the pipeline's own, which goes with it."
  type        = string
}

variable "schedule" {
  description = "When the region runs its pipeline while it is not active: a Quartz cron expression."
  type        = string
  default     = "0 0 1 * * ?"
}

variable "schedule_timezone" {
  description = "The time zone of the schedule."
  type        = string
  default     = "America/New_York"
}
