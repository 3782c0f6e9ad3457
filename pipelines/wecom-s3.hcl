# 企业微信 chat archive -> S3: each message as a JSON object, its files beside it
#
# What it expects of the environment: WECOM_CHAT_SECRET, S3_ACCESS_KEY_ID, S3_ACCESS_KEY_SECRET, WEIR_STATE_KEY.
# Objects are written once: equal bytes again are success, other bytes under a key go to …-v2.

weir {
  name      = "wecom-s3"
  timezone  = "Asia/Shanghai"
  state_key = env("WEIR_STATE_KEY")
}

variable "corp_id" { type = string }
variable "wecom_client" {
  type    = string
  default = "library"
}
variable "wecom_library" {
  type    = string
  default = "/opt/wecom/libWeWorkFinanceSdk_C.so"
}
variable "wecom_keys" {
  type    = string
  default = "keys/v*.pem"
}
variable "s3_bucket" { type = string }
variable "s3_endpoint" { # "" = AWS
  type    = string
  default = ""
}
variable "s3_region" {
  type    = string
  default = "ap-northeast-1"
}

connection "wecom" "archive" {
  corp_id = var.corp_id
  secret  = env("WECOM_CHAT_SECRET")
  client  = var.wecom_client
  library = var.wecom_library
  ca      = env("WECOM_CA", "")
  proxy   = env("WECOM_PROXY", "")
}

connection "s3" "archive" {
  endpoint          = var.s3_endpoint != "" ? var.s3_endpoint : null
  region            = var.s3_region
  bucket            = var.s3_bucket
  access_key_id     = env("S3_ACCESS_KEY_ID")
  access_key_secret = env("S3_ACCESS_KEY_SECRET")
  path_style        = var.s3_endpoint != ""
}

source "wecom_chat" "chat" {
  connection = connection.wecom.archive
  every      = "5m"
}

transform "decrypt" "plain" {
  input        = source.wecom_chat.chat
  private_keys = keyring(var.wecom_keys)
}

transform "parse" "message" {
  input = transform.decrypt.plain
}

transform "wecom_media" "got" {
  input      = transform.parse.message
  connection = connection.wecom.archive
}

transform "md5" "checked" {
  input = transform.wecom_media.got
}

sink "s3" "archive" {
  connection = connection.s3.archive
  input      = transform.md5.checked
  body_key   = "${var.corp_id}/${record.seq}_${safename(record.id)}.json"
  files      = record.files
  key        = "${var.corp_id}/${record.seq}-${file.index}_${safename(file.name)}"
  metadata   = { msgid = record.id, md5 = file.md5 }
}
