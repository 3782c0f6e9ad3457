package kintonesim

import (
	"cmp"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// query is the part of the query language (kintone.dev, "Query String") that is simulated:
//
//	query     = [ or ] [ "order by" code [asc|desc] { "," … } ] [ "limit" n ] [ "offset" n ]
//	or        = and { "or" and }
//	and       = condition { "and" condition }
//	condition = "(" or ")" | code operator value | code ["not"] "in" "(" value { "," value } ")"
//
// "like", "is empty" and functions are refused as a syntax error.
type query struct {
	match         func(*record) bool
	order         []order
	limit, offset int
	limited       bool
}

type order struct {
	code string
	down bool
}

const (
	maxLimit  = 500
	maxOffset = 10_000
)

// run returns all matching records in order; limit and offset are the caller's.
func (q *query) run(a *app) []*record {
	var found []*record
	for _, id := range a.ids() {
		if r := a.records[id]; q.match(r) {
			found = append(found, r)
		}
	}
	by := append(slices.Clone(q.order), order{"$id", true}) // records without an order come newest first
	slices.SortStableFunc(found, func(x, y *record) int {
		for _, o := range by {
			n := a.compare(o.code, a.operand(x, o.code), a.operand(y, o.code))
			if o.down {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return 0
	})
	return found
}

// operand is what a record has for comparison: text, whatever the type.
func (a *app) operand(r *record, code string) string {
	switch a.kind(code) {
	case "__ID__", "RECORD_NUMBER":
		return text(r.id)
	case "CREATED_TIME":
		return r.created.UTC().Format("2006-01-02T15:04:00Z")
	case "UPDATED_TIME":
		return r.updated.UTC().Format("2006-01-02T15:04:00Z")
	}
	s, _ := r.values[code].(string)
	return s
}

// compare orders numbers by size and everything else as text; times are stored in a form that sorts.
func (a *app) compare(code, x, y string) int {
	switch a.kind(code) {
	case "__ID__", "RECORD_NUMBER", "NUMBER":
		if m, err1 := strconv.ParseInt(x, 10, 64); err1 == nil {
			if n, err2 := strconv.ParseInt(y, 10, 64); err2 == nil {
				return cmp.Compare(m, n)
			}
		}
		m, ok1 := new(big.Rat).SetString(x)
		n, ok2 := new(big.Rat).SetString(y)
		if ok1 && ok2 {
			return m.Cmp(n)
		}
	}
	return strings.Compare(x, y)
}

func (a *app) kind(code string) string {
	if code == "$id" {
		return "__ID__"
	}
	if kind := systemFields[code]; kind != "" {
		return kind
	}
	return a.fields[code].Type
}

// parser reads a query; the first refusal sticks.
type parser struct {
	a      *app
	tokens []token
	bad    *refusal
}

type token struct {
	text    string
	literal bool // a quoted string
}

func (a *app) parseQuery(source string) (*query, *refusal) {
	p := &parser{a: a}
	p.scan(source)
	q := &query{match: func(*record) bool { return true }, limit: 100}
	if p.bad == nil && len(p.tokens) > 0 && !p.ahead("order") && !p.ahead("limit") && !p.ahead("offset") {
		q.match = p.or()
	}
	if p.take("order") {
		p.want("by")
		for {
			code := p.code()
			down := p.take("desc")
			_ = !down && p.take("asc")
			q.order = append(q.order, order{code, down})
			if !p.take(",") {
				break
			}
		}
	}
	if p.take("limit") {
		q.limited = true
		if q.limit = p.count(); q.limit > maxLimit {
			p.fail(&refusal{status: http.StatusBadRequest, code: "GAIA_QU01", text: limitLimit})
		}
	}
	if p.take("offset") {
		q.limited = true
		if q.offset = p.count(); q.offset > maxOffset {
			p.fail(&refusal{status: http.StatusBadRequest, code: "GAIA_QU02", text: offsetLimit})
		}
	}
	if len(p.tokens) > 0 {
		p.syntax()
	}
	return q, p.bad
}

// scan splits the source. Outside of strings any white space will do, also U+3000; inside, raw control characters are an error
// (recorded on the real service, 2026-04).
func (p *parser) scan(source string) {
	rest := []rune(source)
	for len(rest) > 0 {
		r := rest[0]
		switch {
		case unicode.IsSpace(r):
			rest = rest[1:]
		case r == '"':
			var b strings.Builder
			i := 1
			for ; i < len(rest) && rest[i] != '"'; i++ {
				if rest[i] < ' ' {
					p.syntax()
					return
				}
				if rest[i] == '\\' && i+1 < len(rest) {
					i++
					if at := strings.IndexRune("nrt", rest[i]); at >= 0 {
						b.WriteByte("\n\r\t"[at])
						continue
					}
				}
				b.WriteRune(rest[i])
			}
			if i == len(rest) {
				p.syntax()
				return
			}
			p.tokens = append(p.tokens, token{b.String(), true})
			rest = rest[i+1:]
		case strings.ContainsRune("(),", r):
			p.tokens = append(p.tokens, token{string(r), false})
			rest = rest[1:]
		default:
			const operators = "=!<>"
			symbol := strings.ContainsRune(operators, r)
			i := 0
			for i < len(rest) && !unicode.IsSpace(rest[i]) && !strings.ContainsRune(`"(),`, rest[i]) &&
				strings.ContainsRune(operators, rest[i]) == symbol {
				i++
			}
			p.tokens = append(p.tokens, token{string(rest[:i]), false})
			rest = rest[i:]
		}
	}
}

func (p *parser) or() func(*record) bool {
	left := p.and()
	for p.take("or") {
		l, r := left, p.and()
		left = func(rec *record) bool { return l(rec) || r(rec) }
	}
	return left
}

func (p *parser) and() func(*record) bool {
	left := p.condition()
	for p.take("and") {
		l, r := left, p.condition()
		left = func(rec *record) bool { return l(rec) && r(rec) }
	}
	return left
}

func (p *parser) condition() func(*record) bool {
	if p.take("(") {
		inner := p.or()
		p.want(")")
		return inner
	}
	a, not := p.a, false
	code := p.next().text
	op := strings.ToLower(p.next().text)
	if op == "not" {
		not = true
		p.want("in")
		op = "in"
	}
	p.check(code, op, not)
	if op == "in" {
		set := map[string]bool{}
		p.want("(")
		for p.bad == nil {
			set[p.value(code)] = true
			if !p.take(",") {
				break
			}
		}
		p.want(")")
		return func(r *record) bool {
			if list, ok := r.values[code].([]string); ok {
				return slices.ContainsFunc(list, func(s string) bool { return set[s] }) != not
			}
			return set[a.operand(r, code)] != not
		}
	}
	want := p.value(code)
	return func(r *record) bool {
		have := a.operand(r, code)
		if (have == "" || want == "") && op != "=" && op != "!=" {
			return false // nothing is neither more nor less than a value
		}
		n := a.compare(code, have, want)
		switch op {
		case "=":
			return n == 0
		case "!=":
			return n != 0
		case ">":
			return n > 0
		case "<":
			return n < 0
		case ">=":
			return n >= 0
		}
		return n <= 0
	}
}

// check refuses unknown fields and operators that a type does not allow.
func (p *parser) check(code, op string, not bool) {
	if !slices.Contains([]string{"=", "!=", ">", "<", ">=", "<=", "in"}, op) {
		p.syntax()
		return
	}
	p.known(code)
	operators := fieldTypes[p.a.fields[code].Type].operators
	switch p.a.kind(code) {
	case "__ID__", "RECORD_NUMBER":
		operators = "= != > < >= <= in notin"
	case "CREATED_TIME", "UPDATED_TIME":
		operators = "= != > < >= <="
	}
	if not {
		op = "notin"
	}
	if !slices.Contains(strings.Fields(operators), op) {
		p.fail(&refusal{status: http.StatusBadRequest, code: "GAIA_IQ03", text: wrongOperator, args: []any{code, op}})
	}
}

func (p *parser) known(code string) {
	if p.a.kind(code) == "" {
		p.fail(&refusal{status: http.StatusBadRequest, code: "GAIA_IQ11", text: noField, args: []any{code}})
	}
}

// value reads a literal in the normal form of the field.
func (p *parser) value(code string) string {
	t := p.next()
	if !t.literal && !decimal.MatchString(t.text) {
		p.syntax()
		return ""
	}
	switch kind := p.a.kind(code); kind {
	case "NUMBER", "__ID__", "RECORD_NUMBER":
		if n, ok := number(t.text, Precision{Digits: 30, Decimals: 10}); ok {
			return n
		}
		if t.text != "" {
			p.syntax()
		}
	case "DATETIME", "CREATED_TIME", "UPDATED_TIME":
		m, ok := moment("DATETIME", t.text)
		if !ok && t.text != "" {
			p.syntax()
		}
		return m
	}
	return t.text
}

func (p *parser) code() string {
	t := p.next()
	p.known(t.text)
	return t.text
}

func (p *parser) count() int {
	n, err := strconv.Atoi(p.next().text)
	if err != nil || n < 0 {
		p.syntax()
		return 0
	}
	return n
}

func (p *parser) ahead(word string) bool {
	return p.bad == nil && len(p.tokens) > 0 && !p.tokens[0].literal && strings.EqualFold(p.tokens[0].text, word)
}

func (p *parser) take(word string) bool {
	if !p.ahead(word) {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

func (p *parser) want(word string) {
	if !p.take(word) {
		p.syntax()
	}
}

func (p *parser) next() token {
	if p.bad != nil || len(p.tokens) == 0 {
		p.syntax()
		return token{}
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

func (p *parser) syntax() { p.fail(invalid("query", badQuery)) }

func (p *parser) fail(bad *refusal) {
	if p.bad == nil {
		p.bad = bad
	}
}
