package lang

import (
	"fmt"
	"reflect"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Limits of a file's text. The parser recurses into every bracket and operator, and a stack that runs out ends the process without
// a word about the file.
const (
	maxFile      = 1 << 20 // bytes
	maxNesting   = 100     // brackets, blocks and templates in each other
	maxOperators = 1000    // in one expression; steps into a list count as such
)

// tooMuch says what of a text is beyond the limits, and where; "" if nothing is. It looks at words alone.
func tooMuch(text []byte, name string) (at hcl.Range, problem string) {
	at = hcl.Range{Filename: name, Start: hcl.InitialPos, End: hcl.InitialPos}
	if len(text) > maxFile {
		return at, fmt.Sprintf("the file has %d bytes, more than %d", len(text), maxFile)
	}
	tokens, _ := hclsyntax.LexConfig(text, name, hcl.InitialPos) // what is wrong with them the parser says
	operators := []int{0}                                        // in the expression at each depth
	var block []bool                                             // a line's end ends an expression here
	for _, t := range tokens {
		depth := len(operators) - 1
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl,
			hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
			operators[depth]++
			operators, block = append(operators, 0), append(block, t.Type == hclsyntax.TokenOBrace)
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
			if depth > 0 {
				operators, block = operators[:depth], block[:depth-1]
			}
		case hclsyntax.TokenNewline:
			if depth == 0 || block[depth-1] {
				operators[depth] = 0
			}
		case hclsyntax.TokenComma:
			operators[depth] = 0
		case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenPlus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent,
			hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenQuestion, hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan,
			hclsyntax.TokenLessThanEq, hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenDot:
			operators[depth]++
		}
		switch {
		case len(operators) > maxNesting:
			return t.Range, fmt.Sprintf("this is nested more than %d levels deep", maxNesting)
		case operators[len(operators)-1] > maxOperators:
			return t.Range, fmt.Sprintf("an expression has more than %d operators", maxOperators)
		}
	}
	return at, ""
}

// maxRounds is how many rounds the for expressions of one evaluation may take together: three in each other over a thousand elements,
// or two over a list that a stranger made long, would not end.
const maxRounds = 100_000

// round is the body of a for expression, which counts. It is a pair of parentheses, so that whoever walks the tree finds the body in it.
type round struct{ *hclsyntax.ParenthesesExpr }

// rounds is the variable, under a name that nobody can write, that holds what is left of maxRounds.
const rounds = "rounds left"

var roundsType = cty.Capsule(rounds, reflect.TypeFor[int]())

// tooManyRounds unwinds an evaluation. hcl itself goes on with the next element after an error, and keeps all errors.
type tooManyRounds struct{}

func (r round) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	for c := ctx; c != nil; c = c.Parent() {
		if v, ok := c.Variables[rounds]; ok {
			left := v.EncapsulatedValue().(*int)
			if *left--; *left < 0 {
				panic(tooManyRounds{})
			}
			break
		}
	}
	return r.Expression.Value(ctx)
}

// countRounds makes the for expressions below a node count, and reports whether there are any.
func countRounds(n hclsyntax.Node) (loops bool) {
	hclsyntax.VisitAll(n, func(n hclsyntax.Node) hcl.Diagnostics {
		f, ok := n.(*hclsyntax.ForExpr)
		if !ok {
			return nil
		}
		loops = true
		each := &f.ValExpr
		if f.CondExpr != nil { // it comes first, and may be all that a round does
			each = &f.CondExpr
		}
		if _, counts := (*each).(round); !counts {
			*each = round{&hclsyntax.ParenthesesExpr{Expression: *each, SrcRange: (*each).Range()}}
		}
		return nil
	})
	return loops
}

// evaluate is expr.Value(ctx) within maxRounds.
func evaluate(expr hclsyntax.Expression, ctx *hcl.EvalContext) (val cty.Value, diags hcl.Diagnostics) {
	defer func() {
		switch r := recover(); r.(type) {
		case nil:
		case tooManyRounds:
			at := expr.Range()
			val, diags = cty.DynamicVal, hcl.Diagnostics{{Severity: hcl.DiagError, Subject: &at,
				Summary: fmt.Sprintf("the for expressions take more than %d rounds", maxRounds), Detail: "write shorter lists, or fewer for expressions in each other"}}
		default:
			panic(r)
		}
	}()
	left := maxRounds
	child := ctx.NewChild()
	child.Variables = map[string]cty.Value{rounds: cty.CapsuleVal(roundsType, &left)}
	return expr.Value(child)
}
