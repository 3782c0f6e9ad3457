# Lines of a file, each a JSON object, into rows of an app.

weir {
  name = "kintone"
}

source "file" "orders" {
  path  = "orders.jsonl"
  kind  = "order/1"
  every = "10s"
}

connection "kintone" "main" {
  url = "https://example.cybozu.com"
  limit {
    concurrency = 10 # kintone allows 100 at once per domain, for all programs of the company together
  }
}

# An app of its own, with the unique text field "lease" and the text field "holder".
lease "kintone" {
  connection = connection.kintone.main
  app        = 120
  token      = env("KINTONE_TOKEN_LEASE")
  hold       = "10m"
}

sink "kintone" "orders" {
  connection = connection.kintone.main
  input      = source.file.orders
  app        = 101
  token      = env("KINTONE_TOKEN")
  key        = { order_id = record.body.id } # a unique field: a second time writes the same row
  fields = {
    customer = record.body.customer
    total    = record.body.total
    remarks  = try(record.body.remarks, null) # null leaves the field alone
  }
  files = { attachments = record.files }
}
