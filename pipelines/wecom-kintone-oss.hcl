# 企业微信 chat archive -> kintone (raw data, chat log) and Aliyun OSS (files of 10 MiB and more)
#
# Secrets come from the environment only; this file is safe to check in. What it expects:
#   WECOM_CHAT_SECRET                     secret of 会话内容存档
#   KINTONE_TOKEN_RAW, KINTONE_TOKEN_LOG  API tokens with the rights to view, add and edit; several apps: several tokens, separated by commas
#   KINTONE_TOKEN_LEASE                   likewise, for the app of the lease; only with app_lease
#   OSS_ACCESS_KEY_ID, OSS_ACCESS_KEY_SECRET
#   WEIR_STATE_KEY                        32 bytes, base64 or hex: seals what the state has to hold
# A field that is left out, or null, is left alone in kintone.

weir {
  name             = "wecom-archive" # state belongs to this name, not to the file's path
  required_version = ">= 0.1"
  timezone         = "Asia/Shanghai" # of dates in object keys
  state_key        = env("WEIR_STATE_KEY")
  rescue           = "24h" # this near to WeCom's deadline, bytes that a sink still owes are kept, sealed
}

variable "corp_id" { type = string }
variable "wecom_client" { # "library": the official SDK; "plain": weir's own client, for machines on which the SDK does not run
  type    = string
  default = "library"
}
variable "wecom_library" {
  type    = string
  default = "/opt/wecom/libWeWorkFinanceSdk_C.so"
}
variable "wecom_keys" { # one private key for each publickey_ver; a file that is added takes effect within a minute
  type    = string
  default = "keys/v*.pem"
}
variable "kintone_url" { type = string }  # whole address, guest space and https://xxx.s.cybozu.com included
variable "app_raw" { type = map(number) } # { 1 = 101, 1000001 = 131 }: app from that seq on; 1 M rows each
variable "app_log" { type = map(number) }
variable "app_lease" { # a tiny app with a unique text field "lease" and a text field "holder": a second engine is refused; 0 = none
  type    = number
  default = 0
}
variable "oss_bucket" { # "" = trial without OSS: files of 10 MiB and more become FILE_OSS_UNDEFINED
  type    = string
  default = ""
}
variable "oss_endpoint" {
  type    = string
  default = ""
}
variable "oss_region" {
  type    = string
  default = "cn-shanghai"
}

locals {
  large   = mib(10) # 10,485,760 bytes: smaller -> kintone, this size and more -> OSS
  has_oss = var.oss_bucket != ""
}

# ── who we are at each service ───────────────────────────────────────────────

connection "wecom" "archive" {
  corp_id = var.corp_id
  secret  = env("WECOM_CHAT_SECRET")
  client  = var.wecom_client
  library = var.wecom_library
  ca      = env("WECOM_CA", "")
  proxy   = env("WECOM_PROXY", "") # http://user:password@10.0.0.1:8081
}

connection "kintone" "main" {
  url        = var.kintone_url
  basic_auth = env("KINTONE_BASIC_AUTH", "")
  proxy      = env("KINTONE_PROXY", "")
  limit {
    concurrency = 10 # kintone allows 100 at once per DOMAIN, for all programs of the company together
  }
}

connection "oss" "archive" {
  enabled           = local.has_oss
  endpoint          = var.oss_endpoint != "" ? var.oss_endpoint : "https://oss-${var.oss_region}-internal.aliyuncs.com"
  region            = var.oss_region
  bucket            = var.oss_bucket
  access_key_id     = env("OSS_ACCESS_KEY_ID", "")
  access_key_secret = env("OSS_ACCESS_KEY_SECRET", "")
  signature         = "v4"
  proxy             = env("OSS_PROXY", "")
}

lease "kintone" { # weir run --takeover takes it
  enabled    = var.app_lease != 0
  connection = connection.kintone.main
  app        = var.app_lease
  token      = env("KINTONE_TOKEN_LEASE", "")
  hold       = "10m" # how long an engine that has died keeps others out
}

# ── 1. fetch, and land the raw data beside everything else ───────────────────

source "wecom_chat" "chat" {
  connection = connection.wecom.archive
  every      = "5m"
  start      = "oldest" # first run: all that WeCom still holds; a number = after that seq
}

sink "kintone" "raw" {
  connection = connection.kintone.main
  input      = source.wecom_chat.chat
  app        = since(var.app_raw, record.seq) # by seq: stable when a record comes twice (a date is not)
  token      = env("KINTONE_TOKEN_RAW")
  key        = { seq = record.seq }
  overflow   = "payload" # too long for a text field -> gzipped JSON attachment
  fields = {
    msgid              = record.id
    publickey_ver      = record.body.publickey_ver
    encrypt_random_key = record.body.encrypt_random_key
    encrypt_chat_msg   = record.body.encrypt_chat_msg
    fetched_at         = record.meta.fetched_at
    decode_status      = "RAW_STORED"
  }
  batch {
    max_records = 100
    max_wait    = "10s"
  }
}

transform "decrypt" "plain" {
  input        = source.wecom_chat.chat
  private_keys = keyring(var.wecom_keys) # a map version -> PEM, version from the file name; read again every minute
}

sink "kintone" "raw_state" { # the raw row says when it could not be decoded, and when it could after all
  connection = connection.kintone.main
  input      = weir.events
  when       = record.meta.step == "transform.decrypt.plain" && record.body.subject != null
  about      = record.body.subject
  after      = [sink.kintone.raw] # the row must be there before it can be updated
  app        = since(var.app_raw, record.body.subject.seq)
  token      = env("KINTONE_TOKEN_RAW")
  mode       = "update" # never inserts
  key        = { seq = record.body.subject.seq }
  fields = {
    decode_status = record.meta.recovered == "true" ? "DECODED" : "DECRYPT_FAILED"
    error         = record.meta.code # code and key version, never content
  }
}

# ── 2. understand, fetch media, check ────────────────────────────────────────

transform "parse" "message" {
  input = transform.decrypt.plain
}

transform "wecom_media" "got" {
  input      = transform.parse.message
  connection = connection.wecom.archive
  files      = [for f in record.files : f if local.has_oss || f.size_claimed < local.large]
  wait       = "30s"                     # longer than that, the row goes on as FILE_WAITING and the file follows
  again      = ["1m", "5m", "15m", "1h"] # planned second times; at 120 h a last real request
}

transform "md5" "checked" { # a copy that differs is delivered at once; a better one replaces it
  input = transform.wecom_media.got
  again = ["10m", "2h", "24h"]
}

# ── 3. large files to OSS ────────────────────────────────────────────────────

sink "oss" "large" {
  connection = connection.oss.archive
  enabled    = local.has_oss # disabled: receipt.oss.large.state = "disabled" where it would have been wanted
  input      = transform.md5.checked
  on_owed    = "pass" # OSS away: the chat row is written now, the link follows
  files      = [for f in record.files : f if f.size >= local.large]
  key = join("/", [ # `file` = each of `files`
    var.corp_id,
    formatdate("YYYY/MM/DD", record.time),
    safename(record.key),
    "${record.seq}-${file.index}_${safename(file.name)}",
  ])
  storage_class = "IA"
  metadata      = { msgid = record.id, md5 = file.md5 }
  on_differs    = "version" # other bytes under this key -> …-v2; never overwrite
}

# ── 4. the chat log ──────────────────────────────────────────────────────────

sink "kintone" "log" {
  connection = connection.kintone.main
  input      = transform.md5.checked
  app        = since(var.app_log, record.seq)
  token      = env("KINTONE_TOKEN_LOG")
  key        = { msgid = record.id }
  overflow   = "file"
  files      = { file = [for f in record.files : f if f.size < local.large] } # FILE field -> files
  fields = {
    msgtime     = record.time # kintone keeps minutes
    msgtime_ms  = record.body.msgtime_ms
    seq         = record.seq
    status      = status(record, receipt.oss.large)
    from        = record.body.from
    to          = record.body.roomid == "" && length(record.body.tolist) == 1 ? record.body.tolist[0] : ""
    roomid      = record.body.roomid
    tolist      = join("\n", record.body.tolist)
    msgtype     = record.body.msgtype
    content     = record.body.content # text, else the type's JSON without sdkfileid
    filename    = try(record.files[0].name, "")
    filesize    = try(record.files[0].size, null)
    action      = record.body.action
    ref_msgid   = record.meta.ref_msgid
    storage_url = join("\n", receipt.oss.large.urls)
    md5_outcome = record.meta.md5_outcome
  }
  batch {
    max_records = 100
    max_wait    = "10s"
  }
}

sink "kintone" "recalled" { # the original keeps its content and file; it only gets a flag
  connection = connection.kintone.main
  input      = transform.parse.message
  about      = record.meta.ref_msgid
  after      = [sink.kintone.log]
  when       = record.body.action == "recall"
  app        = since(var.app_log, record.seq)
  token      = env("KINTONE_TOKEN_LOG")
  mode       = "update" # original outside the archive = "orphan", counted; never a ghost row
  key        = { msgid = record.meta.ref_msgid }
  fields = {
    revoked          = ["revoked"]
    revoked_at       = record.time
    revoked_by_msgid = record.id
  }
}
