package state

import (
	"crypto/rand"
	"encoding/json"
	"time"
)

// Audit is one thing that a person did to the state, beside what engines do: a drop, a back-up, a reset, a retirement. It is kept in the state
// and goes with it into its archives.
type Audit struct {
	When time.Time `json:"when"`
	Who  string    `json:"who"` // user and host
	Verb string    `json:"verb"`
	What string    `json:"what"`
}

// auditOp writes an entry under its time and a random number: nobody has to know the last one.
func (db *DB) auditOp(a Audit) (op, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return op{}, err
	}
	key := key64(prefixAudit, uint64(a.When.UnixNano()))
	key = append(key, make([]byte, 4)...)
	rand.Read(key[9:])
	w := newWriter(len(text) + 8)
	w.bytes(text)
	return db.sealed(key, w), nil
}

// Audits reads what was done, oldest first.
func (db *DB) Audits() ([]Audit, error) {
	var list []Audit
	err := db.scan([]byte{prefixAudit}, nil, func(key []byte, r *reader) error {
		var a Audit
		if json.Unmarshal(r.bytes(), &a) != nil {
			r.fail()
		}
		list = append(list, a)
		return nil
	})
	return list, err
}
