package engine

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// spool is the folder for media in flight, and beside it the one for the few files that are kept because WeCom will soon forget them. In
// both lie encrypted pieces only (see sdk.Spool); the keys of files in flight die with the process, those of kept ones are sealed in the
// state. Kept files are named after their parcel.
type spool struct {
	dir, kept string
	keeps     map[uint64]bool // parcels with kept files, so that nobody looks for those of others; of the writer. Nil = look
}

// openSpool sweeps what an earlier process left: files in flight, and kept ones that no parcel names any more.
func openSpool(dir, pipeline string, s state.Snapshot) (*spool, error) {
	dir, err := filepath.Abs(dir) // plugins work in another folder than we do
	if err != nil {
		return nil, err
	}
	sp := &spool{dir: filepath.Join(dir, "spool"), kept: keptFolder(dir, pipeline), keeps: map[uint64]bool{}}
	if err := os.RemoveAll(sp.dir); err != nil {
		return nil, fmt.Errorf("sweep spool: %w", err)
	}
	for _, d := range []string{sp.dir, sp.kept} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
	}
	live := map[uint64]bool{}
	for _, o := range s.Owing {
		live[o.Parcel] = true
	}
	files, err := os.ReadDir(sp.kept)
	if err != nil {
		return nil, fmt.Errorf("kept files: %w", err)
	}
	for _, f := range files {
		if parcel := parcelOf(f.Name()); live[parcel] {
			sp.keeps[parcel] = true
		} else {
			os.Remove(filepath.Join(sp.kept, f.Name()))
		}
	}
	return sp, nil
}

// keptFolder is a pipeline's own: several may use one data directory, one after the other, and none may sweep what another keeps.
func keptFolder(dir, pipeline string) string {
	sum := sha256.Sum256([]byte(pipeline))
	return filepath.Join(dir, "kept", hex.EncodeToString(sum[:8]))
}

// spool notes that a file of a row lies in the spool.
func (l *lotFacts) spool(root int32, name string) {
	if l.spooled == nil {
		l.spooled = map[int32][]string{}
	}
	if !slices.Contains(l.spooled[root], name) {
		l.spooled[root] = append(l.spooled[root], name)
	}
}

// release removes the files of a row that no step works on any more. Those of a row that is about to be kept go with
// its lot.
func (s *spool) release(l *lotFacts, root int32) {
	if l == nil {
		return
	}
	for _, name := range l.spooled[root] {
		os.Remove(filepath.Join(s.dir, name))
	}
	delete(l.spooled, root)
}

// forget removes what is left of a lot.
func (s *spool) forget(l *lotFacts) {
	if l == nil {
		return
	}
	for root := range l.spooled {
		s.release(l, root)
	}
}

// inherit removes the files that a process had not handed over when it died.
func (s *spool) inherit(pid int, lots map[uint64]*lotFacts) {
	names, _ := filepath.Glob(filepath.Join(s.dir, fmt.Sprintf("f-%d-*", pid))) // the pattern is well-formed
	if len(names) == 0 {
		return
	}
	alive := map[string]bool{}
	for _, l := range lots {
		for _, spooled := range l.spooled {
			for _, name := range spooled {
				alive[name] = true
			}
		}
	}
	for _, name := range names {
		if !alive[filepath.Base(name)] {
			os.Remove(name)
		}
	}
}

// keep makes durable links to the files of a parcel and returns its rows with their new names.
func (s *spool) keep(parcel uint64, p *protocol.Batch) (*protocol.Batch, error) {
	n := 0
	files := map[int][]sdk.File{}
	for i := range p.Rows() {
		list := p.Files(i)
		for k := range list {
			if !list[k].HasBytes() {
				continue
			}
			name := fmt.Sprintf("%d-%d", parcel, n)
			n++
			if err := s.link(filepath.Join(s.dir, list[k].Spool), filepath.Join(s.kept, name)); err != nil {
				return nil, fmt.Errorf("keep file: %w", err)
			}
			list[k].Spool = name
		}
		if len(list) > 0 {
			files[i] = list
		}
	}
	if n == 0 {
		return p, nil
	}
	s.keeps[parcel] = true
	return p.WithFiles(files), syncFolder(s.kept)
}

// link gives a file a second name and makes its bytes durable.
func (s *spool) link(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	os.Remove(to)
	return os.Link(from, to)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// fetch brings the kept files of rows of a parcel back into the spool, under fresh names: all of them, or none.
func (s *spool) fetch(p *parcel, rows []uint32) (err error) {
	files := map[int][]sdk.File{}
	var fetched []string
	defer func() {
		if err != nil {
			for _, name := range fetched {
				os.Remove(name)
			}
		}
	}()
	for _, r := range rows {
		i := int(r)
		list := p.at.Files(i)
		found := false
		for k := range list {
			if !list[k].HasBytes() {
				continue
			}
			found = true
			var random [12]byte
			rand.Read(random[:])
			name := "k-" + hex.EncodeToString(random[:])
			path := filepath.Join(s.dir, name)
			if err := os.Link(filepath.Join(s.kept, list[k].Spool), path); err != nil {
				return fmt.Errorf("kept file: %w", err)
			}
			fetched = append(fetched, path)
			list[k].Spool = name
		}
		if found {
			files[i] = list
		}
	}
	if len(files) > 0 {
		p.at = p.at.WithFiles(files)
	}
	return nil
}

// drop removes the kept files of parcels.
func (s *spool) drop(parcels []uint64) {
	gone := map[uint64]bool{}
	for _, id := range parcels {
		if s.keeps == nil || s.keeps[id] {
			gone[id] = true
			delete(s.keeps, id)
		}
	}
	if len(gone) == 0 {
		return
	}
	files, _ := os.ReadDir(s.kept) // what stays is swept at the next start
	for _, f := range files {
		if gone[parcelOf(f.Name())] {
			os.Remove(filepath.Join(s.kept, f.Name()))
		}
	}
}

// parcelOf reads the name of a kept file; 0 is no parcel.
func parcelOf(name string) uint64 {
	digits, _, _ := strings.Cut(name, "-")
	id, _ := strconv.ParseUint(digits, 10, 64)
	return id
}
