package kintonesim

import (
	"fmt"
	"net/http"
)

// refusal is an answer that is not a success. Without a code it goes out as HTML, as from a load balancer.
type refusal struct {
	status  int
	code    string
	text    message
	args    []any
	errors  problems
	results []any // of a bulkRequest, in place of the usual body
}

// message is a text in Japanese and English.
type message [2]string

const ja, en = 0, 1

func (m message) in(lang int, args ...any) string {
	if len(args) == 0 {
		return m[lang]
	}
	return fmt.Sprintf(m[lang], args...)
}

// problems are what is wrong with the input, by path.
type problems map[string][]problem

type problem struct {
	text message
	args []any
}

func (p problems) add(path string, text message, args ...any) {
	p[path] = append(p[path], problem{text, args})
}

// The texts as recorded on the real service, as far as they are known. Clients must not read them.
var (
	badInput          = message{"入力内容が正しくありません。", "Missing or invalid input."}
	required          = message{"必須です。", "Required."}
	requiredParameter = message{"必須です。", "Required field."}
	atLeastOne        = message{"最小でも1以上です。", "must be greater than or equal to 1"}
	onlyNumbers       = message{"数字でなければなりません。", "Only numbers are allowed."}
	duplicate         = message{"値がほかのレコードと重複しています。", "This value already exists in another record."}
	notAnOption       = message{"\"%v\"は選択肢にありません。", "The value, \"%v\", is not in options."}
	tooLong           = message{"%d文字より短くなければなりません。", "Enter less than %d characters."}
	tooManyDigits     = message{"整数部の桁数が多すぎます。", "The value has too many integer digits."}
	badTime           = message{"日時の形式または範囲が正しくありません。", "The date or time is not valid."}
	oneLine           = message{"改行は使えません。", "Line breaks are not allowed."}
	badValue          = message{"値の形式が正しくありません。", "The value has a wrong form."}
	badUpdateKey      = message{"重複禁止のフィールドを指定します。", "The field must be a text or number field that prohibits duplicate values."}
	keyInRecord       = message{"updateKeyのフィールドは更新できません。", "The field of updateKey cannot be updated."}
	sameRecordTwice   = message{"同じレコードが複数回指定されています。", "The same record is specified more than once."}
	addLimit          = message{"一度に100件までのレコードを追加できます。", "A maximum of 100 records can be added at one time."}
	updateLimit       = message{"一度に100件までのレコードを更新できます。", "A maximum of 100 records can be updated at one time."}
	deleteLimit       = message{"一度に1件から100件までのレコードを削除できます。", "Between 1 and 100 records can be deleted at one time."}
	bulkLimit         = message{"一度に20件までのリクエストを実行できます。", "A maximum of 20 requests can be run at one time."}
	badQuery          = message{"クエリ記法が間違っています。", "The query syntax is wrong."}
	sizeRange         = message{"1から500までの値を指定します。", "must be between 1 and 500"}

	noRecord        = message{"指定したレコード（id: %v）が見つかりません。", "The specified record (ID: %v) is not found."}
	noKey           = message{"updateKeyに指定した条件に一致するレコードがありません。", "No records match the conditions specified in the \"updateKey\" field."}
	noApp           = message{"指定したアプリ（id: %v）が見つかりません。削除されている可能性があります。", "The app (ID: %v) not found. The app may have been deleted."}
	noFile          = message{"指定したファイル（id: %v）が見つかりません。", "The specified file (id: %v) not found."}
	noCursor        = message{"指定したカーソルは存在しないか、既に有効期限が切れています。", "The specified cursor does not exist or has expired."}
	noField         = message{"指定されたフィールド（%v）が見つかりません。", "The specified field (%v) is not found."}
	wrongOperator   = message{"%vフィールドのフィールドタイプには演算子%vを使用できません。", "The field type of %v does not allow the operator %v."}
	limitLimit      = message{"limit には 500 以下の値を指定してください。", "limit must be 500 or less."}
	offsetLimit     = message{"offset には 10,000 以下の値を指定してください。", "offset must be 10,000 or less."}
	conflict        = message{"ほかのユーザーがレコードを更新しています。", "The record has been updated by another user."}
	wrongLogin      = message{"ログインに失敗しました。", "Login failed."}
	pleaseLogin     = message{"ログインしてください。", "Please login."}
	wrongToken      = message{"指定したAPIトークンは、アプリで生成されたトークンと異なります。", "The specified API token does not match the API token generated via an app."}
	doubleToken     = message{"同じアプリのAPIトークンを重複して指定できません。", "You cannot specify a duplicate API token for the same app."}
	tokenLacksRight = message{"指定したAPIトークンでは、指定したAPIを実行できません。", "Using this API token, you cannot run the specified API."}
	noRight         = message{"権限がありません。", "No privilege to proceed."}
	fieldRight      = message{"フィールドを編集する権限がありません。", "You do not have permission to edit the field."}
	guestPath       = message{"ゲストスペース内のアプリです。", "The app is in a guest space."}
	illegalRequest  = message{"不正なリクエストです。", "Illegal request."}
	badJSON         = message{"不正なJSON文字列です。", "Invalid JSON string."}
	busy            = message{"APIの同時リクエスト数が上限を超えています。", "The number of concurrent API requests exceeds the limit."}
	cursorsUsedUp   = message{"カーソルの作成数が上限に達しています。", "The number of cursors has reached the limit."}
	databaseLock    = message{"データベースのロックに失敗しました。", "Failed to lock the database."}
)

func invalid(path string, text message, args ...any) *refusal {
	p := problems{}
	p.add(path, text, args...)
	return p.refusal()
}

func (p problems) refusal() *refusal {
	return &refusal{status: http.StatusBadRequest, code: "CB_VA01", text: badInput, errors: p}
}

func forbidden() *refusal {
	return &refusal{status: http.StatusForbidden, code: "CB_NO02", text: noRight}
}

func missingFile(key string) *refusal {
	return &refusal{status: http.StatusNotFound, code: "GAIA_BL01", text: noFile, args: []any{key}}
}

func tooManyRequests() *refusal {
	return &refusal{status: http.StatusTooManyRequests, code: "GAIA_TO04", text: busy}
}

// locked is a write that met another one: HTTP 400 although it passes a moment later (the official cli-kintone retries it).
func locked() *refusal {
	return &refusal{status: http.StatusBadRequest, code: "GAIA_DA02", text: databaseLock}
}
