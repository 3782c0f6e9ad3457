package main

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/weir-etl/weir/engine"
)

func TestSpace(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct {
		disk engine.Disk
		want string
	}{
		{engine.Disk{State: 20 * mib, Free: 50 * gib, Known: true}, ""},
		{engine.Disk{State: 20 * mib, Free: 50 * gib, Known: true, PerHour: mib, LastsHours: 51_000}, ""},
		{engine.Disk{State: 1200 * mib, Free: 31 * gib, Known: true}, "state 1.2 GiB; 31 GiB are free"},
		{engine.Disk{State: 20 * mib, Kept: 3 * gib, Spool: 5 * mib, Free: 31 * gib, Known: true, PerHour: gib, LastsHours: 30.75},
			"state 20 MiB, kept files 3.0 GiB, files in flight 5.0 MiB; 31 GiB are free; grows by 1.0 GiB an hour: at this rate the disk lasts 31 h"},
		{engine.Disk{State: mib, Free: 3 * gib, Known: true, PerHour: gib, LastsHours: 2.75},
			"state 1.0 MiB; 3.0 GiB are free; grows by 1.0 GiB an hour: at this rate the disk lasts 2.8 h"},
		{engine.Disk{State: mib, Free: 200 * mib, Known: true, StopsBelow: 256 * mib, Stopped: true},
			"state 1.0 MiB; 200 MiB are free; less than 256 MiB: nothing is fetched until there is room"},
		{engine.Disk{State: gib}, "state 1.0 GiB"},
	} {
		if got := space(c.disk); got != c.want {
			t.Errorf("%+v: got\n%s, want\n%s", c.disk, got, c.want)
		}
	}
}

// Who may not read a data directory is told whose it is to be, and who tried.
func TestPermissionIsExplained(t *testing.T) {
	code, remedy := explain(fmt.Errorf("folder /srv/weir/state: %w", fs.ErrPermission))
	if want := "This user is " + whoami() + ". "; code != exitFailed || !strings.HasPrefix(remedy, want) {
		t.Errorf("got %d, %q, want %d, %q …", code, remedy, exitFailed, want)
	}
}
