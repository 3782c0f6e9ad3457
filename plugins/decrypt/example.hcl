# What could be opened goes into a file; what waits for a key is owed until the key is there.

weir {
  name = "decrypt"
}

connection "wecom" "archive" {
  corp_id = "ww0123456789abcdef"
  secret  = env("WECOM_CHAT_SECRET")
  library = "/opt/wecom/libWeWorkFinanceSdk_C.so"
}

source "wecom_chat" "chat" {
  connection = connection.wecom.archive
}

# keys/v1.pem, keys/v2.pem, …: a file that is added takes effect within a minute.
transform "decrypt" "plain" {
  input        = source.wecom_chat.chat
  private_keys = keyring("keys/v*.pem")
}

sink "file" "plain" {
  input = transform.decrypt.plain
  path  = "plain.jsonl"
}
