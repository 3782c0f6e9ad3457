# A file that grows, line by line, into another.

weir {
  name = "file"
}

source "file" "lines" {
  path  = "lines.jsonl"
  kind  = "line/1"
  every = "1s" # left out, the file is read once
}

sink "file" "copy" {
  input = source.file.lines
  path  = "copy.jsonl"
}
