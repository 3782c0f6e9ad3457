package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A maker of files without an argument "files" cannot be asked for some of them alone: for the sake of a sink it makes all again.
func TestAMakerThatCannotChoose(t *testing.T) {
	dir := t.TempDir()
	shelf := filepath.Join(dir, "shelf")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir {
  name   = "maker"
  rescue = "1m" # so that the bytes are made again, not kept
}
source "crash_in" "in" {
  pages   = 1
  records = 3
  path    = %q
}
transform "crash_fetch" "got" { input = source.crash_in.in }
sink "crash_out" "out" {
  input = transform.crash_fetch.got
  path  = %q
  files = record.files
}
`, filepath.Join(dir, "source"), shelf))
	if err := os.WriteFile(shelf+".away", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := stepOf(t, finish(t, o), "sink.crash_out.out"); s.Owed != 3 || s.Dead != 0 {
		t.Errorf("away: %+v", s)
	}
	if err := os.Remove(shelf + ".away"); err != nil {
		t.Fatal(err)
	}
	if s := stepOf(t, finish(t, o), "sink.crash_out.out"); s.Owed != 0 || s.Dead != 0 {
		t.Errorf("back: %+v", s)
	}
	if put := verbs(t, shelf)["put"]; len(put) != 3 {
		t.Errorf("the shelf holds %v", put)
	}
}
