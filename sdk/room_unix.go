//go:build unix

package sdk

import "syscall"

// room is how many bytes the disk under dir still takes from us; false where it does not say.
func room(dir string) (int64, bool) {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil || st.Blocks == 0 {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}
