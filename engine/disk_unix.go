//go:build unix

package engine

import "syscall"

// volumeOf asks the system about the disk under dir.
func volumeOf(dir string) volume {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil || st.Blocks == 0 {
		return volume{}
	}
	return volume{free: int64(st.Bavail) * int64(st.Bsize), size: int64(st.Blocks) * int64(st.Bsize), known: true}
}
