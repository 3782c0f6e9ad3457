weir {
  name             = "wecom-archive"
  required_version = ">= 0.1"
  timezone         = "Asia/Shanghai"
  lang             = "ja"
  state_key        = env("WEIR_STATE_KEY")
  rescue           = "24h"
}

variable "corp_id" { type = string }
variable "wecom_keys" {
  type    = string
  default = "keys/v*.pem"
}
variable "kintone_url" { type = string }
variable "app_raw" { type = map(number) }
variable "app_log" { type = map(number) }
variable "oss_bucket" {
  type    = string
  default = ""
}
variable "oss_endpoint" {
  type    = string
  default = "https://oss-cn-shanghai-internal.aliyuncs.com"
}

locals {
  large   = mib(10)
  has_oss = var.oss_bucket != ""
}

connection "wecom" "archive" {
  corp_id = var.corp_id
  secret  = env("WECOM_CHAT_SECRET")
  ca      = env("WECOM_CA", "")
  proxy   = env("WECOM_PROXY", "")
  limit {
    rate        = "600/1m"
    concurrency = 4
  }
}

connection "kintone" "main" {
  url = var.kintone_url
  limit {
    concurrency = 10
  }
}

connection "oss" "archive" {
  enabled           = local.has_oss
  endpoint          = var.oss_endpoint
  bucket            = var.oss_bucket
  access_key_id     = env("OSS_ACCESS_KEY_ID")
  access_key_secret = env("OSS_ACCESS_KEY_SECRET")
}

source "wecom_chat" "chat" {
  connection = connection.wecom.archive
  holes {
    again = ["2m", "30m"]
  }
}

sink "kintone" "raw" {
  connection = connection.kintone.main
  input      = source.wecom_chat.chat
  app        = since(var.app_raw, record.seq)
  token      = env("KINTONE_TOKEN_RAW")
  key        = { seq = record.seq }
  fields = {
    msgid         = record.id
    publickey_ver = record.body.publickey_ver
    fetched_at    = record.meta.fetched_at
    decode_status = "RAW_STORED"
  }
  batch {
    max_records = 100
    max_bytes   = mib(1)
    max_wait    = "10s"
  }
}

transform "decrypt" "plain" {
  input        = source.wecom_chat.chat
  private_keys = keyring(var.wecom_keys)
}

sink "kintone" "raw_state" {
  connection = connection.kintone.main
  input      = weir.events
  when       = record.meta.step == "transform.decrypt.plain"
  about      = record.body.subject
  after      = [sink.kintone.raw]
  app        = since(var.app_raw, record.body.subject.seq)
  token      = env("KINTONE_TOKEN_RAW")
  mode       = "update"
  key        = { seq = record.body.subject.seq }
  fields = {
    decode_status = record.meta.recovered == "true" ? "DECODED" : "DECRYPT_FAILED"
    error         = record.meta.code
  }
}

transform "parse" "message" {
  input = transform.decrypt.plain
}

transform "wecom_media" "got" {
  input      = transform.parse.message
  connection = connection.wecom.archive
  files      = [for f in record.files : f if local.has_oss || f.size_claimed < local.large]
  again      = ["1m", "5m"]
}

transform "md5" "checked" {
  input = transform.wecom_media.got
}

sink "oss" "large" {
  connection = connection.oss.archive
  enabled    = local.has_oss
  input      = transform.md5.checked
  on_owed    = "pass"
  files      = [for f in record.files : f if f.size >= local.large]
  key = join("/", [
    var.corp_id,
    formatdate("YYYY/MM/DD", local_time(record.time)),
    record.key,
    "${record.seq}-${file.index}_${safename(file.name)}",
  ])
  metadata = { msgid = record.id, md5 = file.md5, none = null }
}

sink "kintone" "log" {
  connection = connection.kintone.main
  input      = transform.md5.checked
  app        = since(var.app_log, record.seq)
  token      = env("KINTONE_TOKEN_LOG")
  key        = { msgid = record.id }
  files      = { file = [for f in record.files : f if f.size < local.large] }
  fields = {
    msgtime     = record.time
    msgtime_ms  = record.body.msgtime_ms
    status      = status(record, receipt.oss.large)
    to          = record.body.roomid == "" && length(record.body.tolist) == 1 ? record.body.tolist[0] : ""
    tolist      = join("\n", record.body.tolist)
    content     = record.body.content
    filename    = try(record.files[0].name, "")
    filesize    = try(record.files[0].size, null)
    storage_url = join("\n", receipt.oss.large.urls)
  }
}

sink "kintone" "recalled" {
  connection = connection.kintone.main
  input      = transform.parse.message
  about      = record.meta.ref_msgid
  after      = [sink.kintone.log]
  when       = record.body.action == "recall"
  app        = var.app_log
  token      = env("KINTONE_TOKEN_LOG")
  mode       = "update"
  key        = { msgid = record.meta.ref_msgid }
  fields = {
    revoked    = ["revoked"]
    revoked_at = record.time
  }
}
