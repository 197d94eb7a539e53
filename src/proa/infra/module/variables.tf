variable "active_region" {
  description = "Whether this region is the active one: its pipeline runs continuously and its job is paused. Otherwise the job runs the pipeline by its schedule."
  type        = bool
}

variable "pipeline_name" {
  description = "The pipeline's name; the same in every region."
  type        = string
}

variable "pipeline_storage" {
  description = "Where the region keeps tables and checkpoints: a path or URL of the region's own. Null with pipeline_catalog. Another value means another pipeline."
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
  description = "The region's own landing zone: a path or URL that files are shipped to. The pipeline reads it as the configuration key landing_zone."
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
  description = "The folder that holds the source files; null means the folder notebooks beside this module."
  type        = string
  default     = null
}

variable "notebooks_directory" {
  description = "The workspace folder that the source files are put into: one of the pipeline's own, which goes with it."
  type        = string
}

variable "schedule" {
  description = "When a region that is not active runs its pipeline: a Quartz cron expression. It bounds how much a failover has to catch up."
  type        = string
  default     = "0 0 1 * * ?"
}

variable "schedule_timezone" {
  description = "The time zone of the schedule."
  type        = string
  default     = "America/New_York"
}
