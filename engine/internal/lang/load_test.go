package lang_test

import (
	"strings"
	"testing"

	"github.com/weir-etl/weir/engine/internal/lang"
)

// must returns the pipeline or ends the test with the diagnostics.
func must(t *testing.T, p *lang.Pipeline, diags lang.Diagnostics) *lang.Pipeline {
	t.Helper()
	if diags.HasErrors() {
		var b strings.Builder
		diags.Write(&b)
		t.Fatalf("unexpected diagnostics:\n%s", b.String())
	}
	return p
}

func TestValidate(t *testing.T) {
	p, diags := lang.Load([]string{"testdata/main.hcl"}, lang.Options{Plugins: plugins(), Static: true, Getenv: empty})
	p = must(t, p, diags)
	for _, s := range p.Steps {
		t.Log(s.Address, s.Inputs, s.After, string(s.Args))
	}
}

func empty(string) (string, bool) { return "", false }
