# A pipeline with a plugin of one's own:
#
#   go build -o examples/plugin-go/acme ./examples/plugin-go
#   weir plugin lock examples/plugin-go/pipeline.hcl   # from now on nothing else runs under its name
#   weir run --once examples/plugin-go/pipeline.hcl

weir {
  name = "redacted"
}

plugin "acme" {
  path = "acme" # beside this file
}

variable "out" {
  type    = string
  default = "redacted.jsonl"
}

source "generate" "numbers" {
  count = 1000
}

transform "redact" "short" {
  input  = source.generate.numbers
  fields = ["text"]
}

sink "file" "lines" {
  input = transform.redact.short
  path  = var.out
}
