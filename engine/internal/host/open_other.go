//go:build !unix

package host

// What may be run is not told by permissions here.
const (
	nonblock   = 0
	anyExecute = 0o777
)

func closeEachOnExec() {} // handles are inherited only where they are named
