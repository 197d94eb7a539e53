# Where the consumers are sent. A root module and state of its own that asks no region, so that it
# can be changed while one of them is dead. What your consumers follow goes here: a DNS record, a
# load balancer's target, a gateway's upstream. `terraform_data` stands in for it and needs no cloud.

terraform {
  required_version = ">= 1.4"
}

resource "terraform_data" "consumers" {
  input = {
    region  = var.active_region
    address = lookup(var.addresses, var.active_region, null)
  }

  lifecycle {
    precondition {
      condition     = contains(keys(var.addresses), var.active_region)
      error_message = "There is no address of region ${var.active_region}; addresses names ${join(", ", keys(var.addresses))}."
    }
  }
}
