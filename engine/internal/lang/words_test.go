package lang

import (
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/weir-etl/weir/sdk"
)

// The words of blocks are everybody's: whoever loads a pipeline, or reads keys again, writes nothing behind them, or another who does so at
// the same moment would not know an argument.
func TestWordsAreShared(t *testing.T) {
	words := make([]string, 1, 10)
	words[0] = "enabled"
	l := &loader{}
	l.decode("sink.a.b", &hclsyntax.Body{}, hcl.Range{}, []sdk.Arg{{Name: "path"}, {Name: "limit", Block: []sdk.Arg{}}}, words, words)
	if rest := words[:10][1:]; rest[0] != "" {
		t.Errorf("%q stands behind the shared words", rest[0])
	}
}
