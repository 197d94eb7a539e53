# One pipeline in one region. `active_region` is the switch: the active region runs its pipeline
# continuously; any other runs it by the job's schedule, which is cheap and catches up by itself.

locals {
  notebooks_source = coalesce(var.notebooks_source, "${path.module}/notebooks")
  subfolders       = setsubtract([for name in var.notebooks : dirname(name)], ["."])
}

# The folders come first. The provider makes a missing one by itself, but two notebooks that miss
# the same one at the same time make one of them fail.
resource "databricks_directory" "dlt_pipeline" {
  path = var.notebooks_directory
}

resource "databricks_directory" "subfolders" {
  for_each   = local.subfolders
  path       = "${var.notebooks_directory}/${each.value}"
  depends_on = [databricks_directory.dlt_pipeline]
}

resource "databricks_notebook" "dlt_pipeline" {
  for_each   = toset(var.notebooks)
  source     = "${local.notebooks_source}/${each.value}"
  path       = "${var.notebooks_directory}/${each.value}"
  depends_on = [databricks_directory.dlt_pipeline, databricks_directory.subfolders]
}

resource "databricks_job" "dlt_pipeline" {
  name = "Job for ${var.pipeline_name}"

  task {
    task_key = "DLT"
    pipeline_task {
      pipeline_id = databricks_pipeline.dlt_pipeline.id
    }
  }

  schedule {
    quartz_cron_expression = var.schedule
    timezone_id            = var.schedule_timezone
    pause_status           = var.active_region ? "PAUSED" : "UNPAUSED"
  }
}

resource "databricks_pipeline" "dlt_pipeline" {
  channel       = "CURRENT"
  continuous    = var.active_region
  edition       = var.pipeline_edition
  name          = var.pipeline_name
  storage       = var.pipeline_storage
  catalog       = var.pipeline_catalog
  target        = var.pipeline_target
  configuration = merge(var.configuration, { landing_zone = var.landing_zone })

  dynamic "library" {
    for_each = toset(var.notebooks)
    content {
      notebook {
        path = databricks_notebook.dlt_pipeline[library.value].id
      }
    }
  }
}
