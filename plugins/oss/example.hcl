# Files of chat messages as objects.

weir {
  name     = "oss"
  timezone = "Asia/Shanghai"
}

connection "wecom" "archive" {
  corp_id = "ww0123456789abcdef"
  secret  = env("WECOM_CHAT_SECRET")
  library = "/opt/wecom/libWeWorkFinanceSdk_C.so"
}

source "wecom_chat" "chat" {
  connection = connection.wecom.archive
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
}

connection "oss" "archive" {
  endpoint          = "https://oss-cn-shanghai.aliyuncs.com"
  region            = "cn-shanghai"
  bucket            = "archive"
  access_key_id     = env("OSS_ACCESS_KEY_ID")
  access_key_secret = env("OSS_ACCESS_KEY_SECRET")
}

sink "oss" "files" {
  connection    = connection.oss.archive
  input         = transform.wecom_media.got
  files         = [for f in record.files : f if f.size >= mib(10)]
  key           = "${formatdate("YYYY/MM/DD", record.time)}/${record.seq}-${file.index}_${safename(file.name)}" # for each of files
  metadata      = { msgid = record.id, md5 = file.md5 }
  storage_class = "IA"
}
