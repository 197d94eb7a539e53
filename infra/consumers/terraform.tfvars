# Where consumers are sent: failover names the other region here.
active_region = "us-east"

addresses = {
  "us-east" = "http://127.0.0.1:8101"
  "us-west" = "http://127.0.0.1:8102"
}
