package e2e

import (
	"os"
	"strings"
	"time"
)

// tell says how far the company was when its test failed.
func (c *company) tell() {
	c.t.Helper()
	now, end := c.clock(), c.truth().Holds
	if now.Before(end) {
		c.t.Logf("the company's clock shows %s, %s before its end", now.Format(time.RFC3339), end.Sub(now).Round(time.Second))
	} else {
		c.t.Logf("the company's clock shows %s, %s after its end", now.Format(time.RFC3339), now.Sub(end).Round(time.Second))
	}
	c.explain()
}

// explain says of a failed test what somebody who looks into it asks first: is it lost, or owed? Had the engine trouble?
func (c *site) explain() {
	c.t.Helper()
	if c.explained {
		return
	}
	c.explained = true
	for _, args := range [][]string{{"status"}, {"owed", "list", "--limit", "100"}, {"dead", "list"}} {
		out, err := c.try(args...)
		if err != nil {
			out += err.Error()
		}
		c.t.Logf("weir %s\n%s", strings.Join(args, " "), out)
	}
	c.t.Logf("the last warnings of the log\n%s", warnings(c.log(), 40))
	c.t.Logf("everything is kept in %s", c.root)
}

// warnings are the last lines of a log that are more than information.
func warnings(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	var list []string
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "[WARN]") || strings.Contains(line, "[ERROR]") || strings.Contains(line, "panic") {
			list = append(list, line)
		}
	}
	return strings.Join(list[max(0, len(list)-n):], "")
}
