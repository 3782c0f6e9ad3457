package kintonesim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// App is one app, as an operator would have built it.
type App struct {
	ID        int64
	Token     string // may view, add, edit and delete
	ReadToken string // may only view; optional
	Space     int64  // its guest space, 0 = none
	Fields    []Field
	Precision Precision
}

// Precision is the app setting for NUMBER fields: 16 digits with 4 decimals where nothing is set, which leaves 12 before the
// point: neither milliseconds since 1970 nor a 64-bit number fits (help, "桁数と丸めかた").
type Precision struct {
	Digits   int // 1–30, all together; 0 means 16 with 4 decimals
	Decimals int // 0–10; what is beyond is rounded half to even
}

// Field is one field of a form.
type Field struct {
	Code      string
	Type      string // one of fieldTypes
	Unique    bool   // 値の重複を禁止する; only on the five types that can have it
	Required  bool
	MaxLength int      // characters, 0 = none
	Options   []string // of choice fields
}

// fieldTypes are the types that an App may have, and what an operator of the query language may do with them (kintone.dev,
// "Query String").
var fieldTypes = map[string]fieldType{
	"SINGLE_LINE_TEXT": {operators: "= != in notin", unique: true, key: true},
	"NUMBER":           {operators: "= != > < >= <= in notin", unique: true, key: true},
	"LINK":             {operators: "= != in notin", unique: true},
	"DATE":             {operators: "= != > < >= <=", unique: true},
	"DATETIME":         {operators: "= != > < >= <=", unique: true},
	"TIME":             {operators: "= != > < >= <="},
	"MULTI_LINE_TEXT":  {},
	"RICH_TEXT":        {},
	"DROP_DOWN":        {operators: "in notin", options: true},
	"RADIO_BUTTON":     {operators: "in notin", options: true},
	"CHECK_BOX":        {operators: "in notin", options: true, list: true},
	"MULTI_SELECT":     {operators: "in notin", options: true, list: true},
	"FILE":             {list: true},
}

type fieldType struct {
	operators string
	unique    bool // may prohibit duplicates
	key       bool // may be an updateKey
	options   bool
	list      bool
}

// maxUnique is the most characters of a unique text (help, "値の重複を禁止する": 64).
const maxUnique = 64

// systemFields are in every app and every answer, under the codes of a Japanese site, and cannot be written.
var systemFields = map[string]string{
	"レコード番号": "RECORD_NUMBER",
	"作成日時":   "CREATED_TIME",
	"更新日時":   "UPDATED_TIME",
}

type app struct {
	def     App
	fields  map[string]Field
	records map[int64]*record
	last    int64                       // highest record id ever given
	unique  map[string]map[string]int64 // field code -> folded value -> record id
}

// record is never changed once it is stored: a write replaces it, an undo puts the old one back.
type record struct {
	id, revision     int64
	created, updated time.Time
	values           map[string]any // string, []string or []*attachment
}

func newApp(def App) (*app, error) {
	if def.ID < 1 || def.Token == "" || def.Token == def.ReadToken {
		return nil, fmt.Errorf("app %d: an id and tokens of its own are required", def.ID)
	}
	if def.Precision == (Precision{}) {
		def.Precision = Precision{Digits: 16, Decimals: 4}
	}
	if p := def.Precision; p.Digits < 1 || p.Digits > 30 || p.Decimals < 0 || p.Decimals > 10 || p.Decimals > p.Digits {
		return nil, fmt.Errorf("app %d: precision %d.%d is not possible", def.ID, p.Digits, p.Decimals)
	}
	a := &app{def: def, fields: map[string]Field{}, records: map[int64]*record{}, unique: map[string]map[string]int64{}}
	if len(def.Fields) > 500 {
		return nil, fmt.Errorf("app %d: more than 500 fields", def.ID)
	}
	for _, f := range def.Fields {
		t, known := fieldTypes[f.Type]
		_, doubled := a.fields[f.Code]
		switch {
		case !known:
			return nil, fmt.Errorf("app %d: field %s: type %s is not simulated", def.ID, f.Code, f.Type)
		case doubled || systemFields[f.Code] != "":
			return nil, fmt.Errorf("app %d: field %s is there twice", def.ID, f.Code)
		case f.Code == "" || len([]rune(f.Code)) > 128 || strings.ContainsAny(f.Code[:1], "0123456789"):
			return nil, fmt.Errorf("app %d: %q cannot be a field code", def.ID, f.Code)
		case t.options != (len(f.Options) > 0) || len(f.Options) > 1000:
			return nil, fmt.Errorf("app %d: field %s: options do not fit its type", def.ID, f.Code)
		}
		// The service drops unique:true on other types without a word (recorded).
		f.Unique = f.Unique && t.unique
		a.fields[f.Code] = f
		if f.Unique {
			a.unique[f.Code] = map[string]int64{}
		}
	}
	return a, nil
}

// formFields answers GET app/form/fields.json.
func (c *call) formFields() (any, *refusal) {
	id, bad := c.in.id("app")
	if bad != nil {
		return nil, bad
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	a, bad := c.open(id, false)
	if bad != nil {
		return nil, bad
	}
	properties := map[string]any{}
	for code, kind := range systemFields {
		properties[code] = map[string]any{"type": kind, "code": code, "label": code, "noLabel": false}
	}
	for code, f := range a.fields {
		p := map[string]any{"type": f.Type, "code": code, "label": code, "noLabel": false, "required": f.Required, "defaultValue": ""}
		t := fieldTypes[f.Type]
		if t.unique {
			p["unique"] = f.Unique
		}
		if t.list {
			p["defaultValue"] = []string{}
		}
		if t.options {
			options := map[string]any{}
			for i, o := range f.Options {
				options[o] = map[string]any{"label": o, "index": fmt.Sprint(i)}
			}
			p["options"] = options
		}
		if strings.HasSuffix(f.Type, "LINE_TEXT") {
			p["maxLength"], p["minLength"] = "", ""
			if f.MaxLength > 0 {
				p["maxLength"] = fmt.Sprint(f.MaxLength)
			}
		}
		properties[code] = p
	}
	return map[string]any{"properties": properties, "revision": "1"}, nil
}

// find returns the id of the record that holds a value in a unique field.
func (s *Server) find(a *app, code, value string) (int64, bool) {
	id, ok := a.unique[code][s.fold(value)]
	return id, ok
}

func (s *Server) fold(value string) string {
	if s.o.FoldCase {
		return strings.ToLower(value)
	}
	return value
}

// put stores r in place of the record with its id, and takes the values of unique fields. A nil new record deletes.
func (s *Server) put(a *app, id int64, r *record) {
	if old := a.records[id]; old != nil {
		for code, taken := range a.unique {
			if v, _ := old.values[code].(string); v != "" && taken[s.fold(v)] == id {
				delete(taken, s.fold(v))
			}
		}
	}
	if r == nil {
		delete(a.records, id)
		return
	}
	a.records[id] = r
	for code, taken := range a.unique {
		if v, _ := r.values[code].(string); v != "" { // empty values are not duplicates (recorded)
			taken[s.fold(v)] = id
		}
	}
}

// ids returns the ids of all records, ascending.
func (a *app) ids() []int64 {
	ids := make([]int64, 0, len(a.records))
	for id := range a.records {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
