//go:build failpoints

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// failpoint tells crash tests which window of the engine is entered: a line "failpoint NAME" in the file or pipe that WEIR_FAILPOINT_LOG
// names. WEIR_FAILPOINT=NAME, or NAME:3 for the third time, stops in that window for ever after a line "blocked NAME": whoever kills the
// engine then kills it exactly there. The windows are listed in engine/doc.go.
var failpoint = newFailpoint(os.Getenv("WEIR_FAILPOINT_LOG"), os.Getenv("WEIR_FAILPOINT"))

func newFailpoint(path, stop string) func(string) {
	if path == "" {
		return nil
	}
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		panic(err)
	}
	stop, count, _ := strings.Cut(stop, ":")
	left, err := strconv.Atoi(count)
	if err != nil {
		left = 1
	}
	var mu sync.Mutex
	return func(name string) {
		mu.Lock()
		fmt.Fprintln(log, "failpoint", name)
		if name == stop {
			left--
		}
		block := name == stop && left == 0
		if block {
			fmt.Fprintln(log, "blocked", name)
		}
		mu.Unlock()
		if block {
			select {}
		}
	}
}
