weir {
  name     = "ten"
  timezone = "Asia/Shangai"
}

variable "app_log" { type = map(number) }

connection "wecom" "archive" {
  corp_id = "ww1"
  secret  = "never-show-this-text"
}

connection "kintone" "main" {
  url = "https://example.cybozu.com"
}

source "wecom_chat" "chat" {
  connection = connection.wecom.archive
  evrey      = "5m"
}

transform "decrypt" "plain" {
  input        = source.wecom_chat.chta
  private_keys = keyring("keys/v*.pem")
}

transform "pasre" "message" {
  input = transform.decrypt.plain
}

transform "wecom_media" "got" {
  input      = source.wecom_chat.chat
  connection = connection.wecom.archive
}

transform "parse" "good" {
  input = transform.decrypt.plain
}

sink "kintone" "log" {
  connection = connection.kintone.main
  input      = transform.parse.good
  app        = sinse(var.app_log, record.seq)
  token      = env("KINTONE_TOKEN_LOG")
  key        = { msgid = record.id }
  fields = {
    content = try(record.body.contnet, "")
    url     = join("\n", receipt.oss.large.urls)
  }
  batch {
    max_wait = "ten seconds"
  }
}
