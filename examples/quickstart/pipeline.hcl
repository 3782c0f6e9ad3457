# The smallest pipeline: records out of nothing, their md5, one line each in a file.
#
#   weir run --once examples/quickstart/pipeline.hcl

weir {
  name = "quickstart"
}

variable "count" {
  type    = number
  default = 1000
}
variable "out" {
  type    = string
  default = "quickstart.jsonl"
}

source "generate" "numbers" {
  count = var.count
  size  = 256 # bytes
}

transform "md5" "summed" {
  input = source.generate.numbers
}

sink "file" "lines" {
  input = transform.md5.summed
  path  = var.out
}
