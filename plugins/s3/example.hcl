# Each line of a file as an object of its own.

weir {
  name = "s3"
}

source "file" "lines" {
  path = "lines.jsonl"
}

connection "s3" "archive" {
  region            = "ap-northeast-1"
  bucket            = "archive"
  access_key_id     = env("S3_ACCESS_KEY_ID")
  access_key_secret = env("S3_ACCESS_KEY_SECRET")
}

sink "s3" "lines" {
  connection = connection.s3.archive
  input      = source.file.lines
  body_key   = "lines/${safename(record.id)}.json"
  files      = record.files # where an earlier step has fetched some
  key        = "files/${safename(record.id)}/${file.index}_${safename(file.name)}"
}
