variable "active_region" {
  description = "The region that answers consumers."
  type        = string
}

variable "addresses" {
  description = "Where consumers read each region's tables, by region."
  type        = map(string)
}
