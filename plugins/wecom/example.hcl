# The chat archive of a company, with its files, into one file of lines and a folder beside it.

weir {
  name     = "wecom"
  timezone = "Asia/Shanghai"
}

# client = "plain" speaks to a simulator; towards Tencent use the official library.
connection "wecom" "archive" {
  corp_id = "ww0123456789abcdef"
  secret  = env("WECOM_CHAT_SECRET")
  library = "/opt/wecom/libWeWorkFinanceSdk_C.so"
}

source "wecom_chat" "chat" {
  connection = connection.wecom.archive
  every      = "5m"
  start      = "oldest" # of the first run; later ones go on where the last one ended
}

transform "decrypt" "plain" {
  input        = source.wecom_chat.chat
  private_keys = keyring("keys/v*.pem")
}

transform "parse" "message" {
  input = transform.decrypt.plain
}

transform "wecom_media" "got" {
  input      = transform.parse.message
  connection = connection.wecom.archive
  files      = [for f in record.files : f if f.size_claimed < mib(100)]
  wait       = "30s"                     # longer than that, the row goes on and the file follows
  again      = ["1m", "5m", "15m", "1h"] # the last one repeats until WeCom's deadline
}

sink "file" "archive" {
  input = transform.wecom_media.got
  path  = "chat.jsonl"
}
