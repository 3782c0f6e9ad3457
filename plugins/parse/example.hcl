# Decrypted messages from a file; those of one type into another file.

weir {
  name = "parse"
}

source "file" "plain" {
  path = "plain.jsonl"
  kind = "wecom.chat.plain/1"
}

transform "parse" "message" {
  input = source.file.plain
}

sink "file" "texts" {
  input = transform.parse.message
  when  = record.body.msgtype == "text" && record.body.action == "send"
  path  = "texts.jsonl"
}
