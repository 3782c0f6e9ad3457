# A hundred thousand records out of nothing, to see how fast a machine is.

weir {
  name = "generate"
}

source "generate" "numbers" {
  count = 100000
  size  = 1024 # bytes
  rate  = 0    # records per second; 0 = as fast as they are taken
}

sink "file" "lines" {
  input = source.generate.numbers
  path  = "numbers.jsonl"
}
