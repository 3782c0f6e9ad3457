package kintonesim

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// Row is a copy of a stored record.
type Row struct {
	ID, Revision int64
	Values       map[string]any // by field code: string, []string or []File; fields without a value are missing
}

// File is a copy of a file in a record.
type File struct {
	Name, MediaType string
	Size            int64
	SHA256, MD5     string // hexadecimal
	Content         []byte // not to be changed in place; nil when only the digests were kept
}

// Rows returns all records of an app, by ascending id; nil for an app that does not exist.
func (s *Server) Rows(app int64) []Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.apps[app]
	if a == nil {
		return nil
	}
	rows := []Row{}
	for _, id := range a.ids() {
		r := a.records[id]
		row := Row{ID: id, Revision: r.revision, Values: map[string]any{}}
		for code, v := range r.values {
			if empty(v) {
				continue
			}
			if held, ok := v.([]*attachment); ok {
				var files []File
				for _, h := range held {
					f := h.file
					files = append(files, File{f.name, f.mediaType, f.size, f.sha256, f.md5, f.content})
				}
				v = files
			}
			row.Values[code] = v
		}
		rows = append(rows, row)
	}
	return rows
}

// Tamper changes what is stored behind the API's back, with none of its checks: for tests of those who compare.
//
// edit gets the rows of Rows and returns what shall be stored instead: changed, left out, or with copies. A row whose ID is 0, or
// taken by an earlier row, gets a new one.
func (s *Server) Tamper(app int64, edit func([]Row) []Row) error {
	rows := edit(s.Rows(app))
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.apps[app]
	if a == nil {
		return fmt.Errorf("no app %d", app)
	}
	now := s.o.Now()
	old := maps.Clone(a.records)
	for id := range old {
		s.put(a, id, nil)
	}
	for _, row := range rows {
		if row.ID == 0 || a.records[row.ID] != nil {
			a.last++
			row.ID = a.last
		}
		r := &record{id: row.ID, revision: max(row.Revision, 1), created: now, updated: now, values: map[string]any{}}
		if before := old[row.ID]; before != nil {
			r.created, r.updated = before.created, before.updated
		}
		for code, v := range row.Values {
			if files, ok := v.([]File); ok {
				v = s.reattach(a, r, code, files, old[row.ID])
			}
			r.values[code] = v
		}
		s.put(a, r.id, r)
	}
	return nil
}

// reattach keeps the attachments that were not changed and makes new ones for the others.
func (s *Server) reattach(a *app, r *record, code string, files []File, old *record) []*attachment {
	var before []*attachment
	if old != nil {
		before, _ = old.values[code].([]*attachment)
	}
	var list []*attachment
	for _, f := range files {
		i := slices.IndexFunc(before, func(h *attachment) bool {
			return h.file.name == f.Name && h.file.sha256 == f.SHA256 && h.file.md5 == f.MD5 && h.file.size == f.Size &&
				bytes.Equal(h.file.content, f.Content)
		})
		if i >= 0 {
			list = append(list, before[i])
			continue
		}
		held := &attachment{
			key:  s.newKey("2012020611%031X"),
			file: &file{name: f.Name, mediaType: f.MediaType, size: f.Size, sha256: f.SHA256, md5: f.MD5, content: f.Content, spent: true},
			app:  a.def.ID, record: r.id, code: code,
		}
		s.held[held.key] = held
		list = append(list, held)
	}
	return list
}
