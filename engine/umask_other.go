//go:build !unix

package engine

func umask(int) int { return 0 }
