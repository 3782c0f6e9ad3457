package kintonesim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// call is one request on its way through the server.
type call struct {
	s      *Server
	w      http.ResponseWriter
	r      *http.Request
	at     time.Time
	lang   int    // index into a message
	name   string // "PUT records.json", for the log
	tokens []string
	space  int64 // guest space of the path, 0 = none
	in     input
	app    int64  // for the log
	rows   int    // for the log
	leave  func() // the call no longer counts as running: before its answer is out, so that a caller's next one is not the second
	status int
	code   string
}

// endpoints by method and name. A handler that takes no JSON reads the request itself.
var endpoints = map[string]func(*call) (any, *refusal){
	"GET app/form/fields.json":   (*call).formFields,
	"GET record.json":            (*call).getRecord,
	"GET records.json":           (*call).getRecords,
	"POST records/cursor.json":   (*call).openCursor,
	"GET records/cursor.json":    (*call).readCursor,
	"DELETE records/cursor.json": (*call).closeCursor,
	"GET file.json":              (*call).download,
	"POST file.json":             (*call).upload,
	"POST record.json":           (*call).write,
	"POST records.json":          (*call).write,
	"PUT record.json":            (*call).write,
	"PUT records.json":           (*call).write,
	"DELETE records.json":        (*call).write,
	"POST bulkRequest.json":      (*call).bulkRequest,
}

var apiPath = regexp.MustCompile(`^/k/(?:guest/([1-9][0-9]*)/)?v1/([A-Za-z/]+\.json)$`)

// handle answers one call that the site as a whole has let in.
func (c *call) handle() {
	if want := c.s.o.BasicAuth; want != "" {
		if user, password, _ := c.r.BasicAuth(); user+":"+password != want {
			c.w.Header().Set("WWW-Authenticate", `Basic realm="kintone"`)
			c.html(http.StatusUnauthorized, "Unauthorized", "Basic authentication is required.")
			return
		}
	}
	path := apiPath.FindStringSubmatch(c.r.URL.Path)
	if path == nil {
		c.html(http.StatusNotFound, "Not Found", "The page does not exist.")
		return
	}
	c.space, _ = strconv.ParseInt(path[1], 10, 64)
	method := c.r.Method
	if override := c.r.Header.Get("X-HTTP-Method-Override"); override != "" && method == http.MethodPost {
		method = strings.ToUpper(override) // for URLs above 8 KB (kintone.dev, "Kintone REST API Overview")
	}
	c.name = method + " " + path[2]
	handler := endpoints[c.name]
	if handler == nil {
		c.html(http.StatusMethodNotAllowed, "Method Not Allowed", "No such API.")
		return
	}
	if bad := c.signIn(); bad != nil {
		c.refuse(bad)
		return
	}
	if c.name != "POST file.json" {
		if bad := c.read(); bad != nil {
			c.refuse(bad)
			return
		}
	}
	out, bad := handler(c)
	switch {
	case bad != nil:
		c.refuse(bad)
	case out != nil:
		c.answer(http.StatusOK, out)
	}
}

// maxTokens is how many tokens one request may carry (kintone.dev, "Authentication").
const maxTokens = 9

// signIn reads the API tokens. Other ways to sign in are not simulated and refused.
func (c *call) signIn() *refusal {
	for _, line := range c.r.Header.Values("X-Cybozu-API-Token") {
		for _, token := range strings.Split(line, ",") {
			if token = strings.TrimSpace(token); token != "" {
				c.tokens = append(c.tokens, token)
			}
		}
	}
	switch {
	case len(c.tokens) == 0 && c.r.Header.Get("X-Cybozu-Authorization") != "":
		return &refusal{status: http.StatusUnauthorized, code: "CB_WA01", text: wrongLogin}
	case len(c.tokens) == 0:
		return &refusal{status: http.StatusUnauthorized, code: "CB_AU01", text: pleaseLogin}
	case len(c.tokens) > maxTokens:
		return &refusal{status: http.StatusBadRequest, code: "CB_IL02", text: illegalRequest} // code assumed
	}
	seen := map[int64]bool{}
	for _, token := range c.tokens {
		owner := int64(0)
		for id, a := range c.s.apps {
			if token == a.def.Token || token == a.def.ReadToken {
				owner = id
			}
		}
		if owner == 0 {
			return &refusal{status: http.StatusBadRequest, code: "GAIA_IA02", text: wrongToken}
		}
		if seen[owner] {
			return &refusal{status: http.StatusBadRequest, code: "GAIA_DA03", text: doubleToken}
		}
		seen[owner] = true
	}
	return nil
}

// open finds an app and checks the right to use it. Callers hold s.mu.
func (c *call) open(id int64, write bool) (*app, *refusal) {
	c.app = id
	a := c.s.apps[id]
	switch {
	case a == nil:
		return nil, &refusal{status: http.StatusNotFound, code: "GAIA_AP01", text: noApp, args: []any{id}}
	case a.def.Space != 0 && c.space == 0:
		return nil, &refusal{status: http.StatusBadRequest, code: "GAIA_IL23", text: guestPath}
	case a.def.Space != c.space:
		return nil, forbidden()
	case slices.Contains(c.tokens, a.def.Token):
		return a, nil
	case slices.Contains(c.tokens, a.def.ReadToken) && !write:
		return a, nil
	}
	return nil, &refusal{status: http.StatusForbidden, code: "GAIA_NO01", text: tokenLacksRight}
}

// read collects the input, from the query of a GET or DELETE or from a JSON body.
func (c *call) read() *refusal {
	if c.r.Method == http.MethodGet || (c.r.Method == http.MethodDelete && c.r.URL.RawQuery != "") {
		if c.r.Header.Get("Content-Type") != "" {
			// kintone.dev, "Kintone REST API Overview": no Content-Type without a body.
			return &refusal{status: http.StatusBadRequest, code: "CB_IL02", text: illegalRequest}
		}
		c.in = fromQuery(c.r.URL.Query())
		return nil
	}
	if kind := c.r.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		return &refusal{status: http.StatusBadRequest, code: "CB_IL02", text: illegalRequest}
	}
	body, err := io.ReadAll(io.LimitReader(c.r.Body, c.s.o.MaxBody+1))
	if err != nil {
		return &refusal{status: http.StatusBadRequest, code: "CB_IJ01", text: badJSON}
	}
	if int64(len(body)) > c.s.o.MaxBody {
		return &refusal{status: http.StatusRequestEntityTooLarge}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if dec.Decode(&c.in) != nil || dec.More() || c.in == nil {
		return &refusal{status: http.StatusBadRequest, code: "CB_IJ01", text: badJSON}
	}
	return nil
}

// input is what a call was given: JSON, or a query in the same shape.
type input map[string]any

var indexed = regexp.MustCompile(`^(\w+)\[(\d*)\]$`)

// fromQuery reads fields[0]=a&fields[1]=b as a list.
func fromQuery(q url.Values) input {
	in := input{}
	for _, name := range slices.SortedFunc(maps.Keys(q), byIndex) {
		if m := indexed.FindStringSubmatch(name); m != nil {
			list, _ := in[m[1]].([]any)
			for _, v := range q[name] {
				list = append(list, v)
			}
			in[m[1]] = list
			continue
		}
		in[name] = q.Get(name)
	}
	return in
}

func byIndex(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b) // fields[2] before fields[10]
	}
	return strings.Compare(a, b)
}

// text returns a scalar as text. Ids may be JSON numbers or strings.
func (in input) text(name string) (string, bool) {
	switch v := in[name].(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// id returns a required positive number.
func (in input) id(name string) (int64, *refusal) {
	s, ok := in.text(name)
	if !ok || s == "" {
		return 0, invalid(name, requiredParameter)
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, invalid(name, onlyNumbers)
	}
	if n < 1 {
		return 0, invalid(name, atLeastOne)
	}
	return n, nil
}

// list returns a list, and whether it was there.
func (in input) list(name string) ([]any, bool) {
	v, ok := in[name].([]any)
	return v, ok
}

func (c *call) answer(status int, body any) {
	c.status = status
	c.w.Header().Set("Content-Type", "application/json;charset=utf-8")
	c.leave()
	c.w.WriteHeader(status)
	enc := json.NewEncoder(c.w)
	enc.SetEscapeHTML(false)
	enc.Encode(body)
}

func (c *call) refuse(bad *refusal) {
	if bad.code == "" {
		c.html(bad.status, http.StatusText(bad.status), "")
		return
	}
	c.code = bad.code
	c.w.Header().Set("X-Cybozu-Error", bad.code)
	c.w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
	if bad.results != nil {
		c.answer(bad.status, map[string]any{"results": bad.results})
		return
	}
	c.answer(bad.status, c.body(bad))
}

// body renders an error in the caller's language.
func (c *call) body(bad *refusal) map[string]any {
	lang := c.lang
	if bad.code == "GAIA_TO04" && c.r.Header.Get("Accept-Language") == "" {
		lang = en // recorded: this one comes from another layer, in English
	}
	out := map[string]any{"code": bad.code, "id": c.s.errorID(), "message": bad.text.in(lang, bad.args...)}
	if len(bad.errors) > 0 {
		paths := map[string]any{}
		for path, found := range bad.errors {
			var texts []string
			for _, f := range found {
				texts = append(texts, f.text.in(lang, f.args...))
			}
			paths[path] = map[string]any{"messages": texts}
		}
		out["errors"] = paths
	}
	return out
}

// html is how a load balancer, a portal and a maintenance page answer.
func (c *call) html(status int, title, text string) {
	c.status = status
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.leave()
	c.w.WriteHeader(status)
	fmt.Fprintf(c.w, "<!DOCTYPE html><html><head><title>%s</title></head><body><h1>%s</h1><p>%s</p></body></html>\n", title, title, text)
}

// language is that of the answers: the header decides for a user who follows the browser, and nothing or "*" is Japanese.
func language(r *http.Request) int {
	if strings.HasPrefix(strings.ToLower(r.Header.Get("Accept-Language")), "en") {
		return en
	}
	return ja
}
