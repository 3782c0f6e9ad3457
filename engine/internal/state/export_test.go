package state

// SmallLogs makes files of the value log smaller than they are, so that a test fills them with less.
func SmallLogs(o Options, size int64) Options {
	o.logFile = size
	return o
}
