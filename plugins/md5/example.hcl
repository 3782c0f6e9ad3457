# The md5 of each line of a file.

weir {
  name = "md5"
}

source "file" "lines" {
  path = "lines.txt"
}

# again and until are for records with files: one whose md5 differs is fetched again.
transform "md5" "checked" {
  input = source.file.lines
  again = ["10m", "2h", "24h"]
  until = "120h"
}

sink "file" "sums" {
  input = transform.md5.checked
  path  = "checked.txt"
  key   = record.meta.md5 # equal lines once
}
