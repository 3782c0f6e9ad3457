package lang

import (
	"math/bits"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

func (c *compiler) binary(x *hclsyntax.BinaryOpExpr) *node {
	left, right := c.node(x.LHS), c.node(x.RHS)
	if left == nil || right == nil {
		return nil
	}
	switch x.Op {
	case hclsyntax.OpLogicalAnd:
		return logical(left, right, 0)
	case hclsyntax.OpLogicalOr:
		return logical(left, right, 1)
	case hclsyntax.OpEqual:
		return strict(left, right, aBool, func(a, b val) (val, verdict) { return equal(a, b, true) })
	case hclsyntax.OpNotEqual:
		return strict(left, right, aBool, func(a, b val) (val, verdict) { return equal(a, b, false) })
	case hclsyntax.OpLessThan:
		return comparison(left, right, func(a, b int64) bool { return a < b })
	case hclsyntax.OpLessThanOrEqual:
		return comparison(left, right, func(a, b int64) bool { return a <= b })
	case hclsyntax.OpGreaterThan:
		return comparison(left, right, func(a, b int64) bool { return a > b })
	case hclsyntax.OpGreaterThanOrEqual:
		return comparison(left, right, func(a, b int64) bool { return a >= b })
	case hclsyntax.OpAdd:
		return arithmetic(left, right, add)
	case hclsyntax.OpSubtract:
		return arithmetic(left, right, func(a, b int64) (int64, bool) { return add(a, -b) })
	case hclsyntax.OpMultiply:
		return arithmetic(left, right, multiply)
	}
	return nil
}

// strict is an operator that needs both operands.
func strict(left, right *node, is kind, f func(a, b val) (val, verdict)) *node {
	return &node{is: is, eval: func(s *scope) (val, verdict) {
		a, v := left.eval(s)
		if v == fails {
			return a, v
		}
		b, w := right.eval(s)
		if v = max(v, w); v != ok {
			return b, v
		}
		return f(a, b)
	}}
}

// equal is ==, and != where it gives false. Nulls are equal whatever they are of; else only values of one type are.
func equal(a, b val, yes bool) (val, verdict) {
	switch {
	case a.kind == aNull || b.kind == aNull:
		return boolVal((a.kind == b.kind) == yes), ok
	case !a.scalar() || !b.scalar():
		return val{}, notMine
	}
	return boolVal((a.kind == b.kind && a.n == b.n && a.s == b.s) == yes), ok
}

// comparison is <, <=, > or >=.
func comparison(left, right *node, f func(a, b int64) bool) *node {
	return numeric(left, right, aBool, func(a, b int64) (val, verdict) { return boolVal(f(a, b)), ok })
}

// arithmetic is +, - or * where the result is exact.
func arithmetic(left, right *node, f func(a, b int64) (int64, bool)) *node {
	return numeric(left, right, aNumber, func(a, b int64) (val, verdict) {
		if n, exact := f(a, b); exact {
			return val{kind: aNumber, n: n}, ok
		}
		return val{}, notMine
	})
}

func numeric(left, right *node, is kind, f func(a, b int64) (val, verdict)) *node {
	return strict(left, right, is, func(a, b val) (val, verdict) {
		switch {
		case a.kind == aNull || b.kind == aNull:
			return val{}, fails
		case a.kind != aNumber || b.kind != aNumber: // cty converts texts
			return val{}, notMine
		}
		return f(a.n, b.n)
	})
}

func add(a, b int64) (int64, bool) {
	n := a + b
	return n, (n > a) == (b > 0) && -1<<62 < n && n < 1<<62
}

// multiply leaves zero to cty, which has two of them.
func multiply(a, b int64) (int64, bool) {
	high, low := bits.Mul64(uint64(max(a, -a)), uint64(max(b, -b)))
	return a * b, high == 0 && 0 < low && low < 1<<62
}

func (c *compiler) unary(x *hclsyntax.UnaryOpExpr) *node {
	n := c.node(x.Val)
	switch {
	case n == nil:
		return nil
	case x.Op == hclsyntax.OpLogicalNot:
		return one(n, aBool, func(v val) (val, verdict) {
			if v.kind != aBool {
				return val{}, notMine
			}
			return boolVal(v.n == 0), ok
		})
	case x.Op == hclsyntax.OpNegate:
		return one(n, aNumber, func(v val) (val, verdict) {
			if v.kind != aNumber || v.n == 0 { // cty has a minus zero
				return val{}, notMine
			}
			return val{kind: aNumber, n: -v.n}, ok
		})
	}
	return nil
}

// one is an operator with one operand, for which null is an error.
func one(n *node, is kind, f func(v val) (val, verdict)) *node {
	return &node{is: is, eval: func(s *scope) (val, verdict) {
		v, verdict := n.eval(s)
		switch {
		case verdict != ok:
			return v, verdict
		case v.kind == aNull:
			return v, fails
		}
		return f(v)
	}}
}

// logical is && and ||; decides is the value, 0 or 1, that decides alone. hcl evaluates both sides. One that decides makes an error of
// the other good, if that one would have been a boolean; null counts as false to && and is an error to ||, which is left to it.
func logical(left, right *node, decides int64) *node {
	operand := func(n *node, s *scope) (val, verdict) {
		v, verdict := n.eval(s)
		if verdict == ok && v.kind != aBool || verdict == fails && n.is != aBool {
			return v, notMine
		}
		return v, verdict
	}
	return &node{is: aBool, eval: func(s *scope) (val, verdict) {
		a, v := operand(left, s)
		if v == notMine || v == ok && a.n == decides && right.is == aBool {
			return a, v
		}
		b, w := operand(right, s)
		switch {
		case w == notMine:
			return b, w
		case v == ok && a.n == decides:
			return a, ok
		case w == ok && b.n == decides:
			return b, ok
		}
		return b, max(v, w)
	}}
}

// conditional is a ? b : c. Both results get one type, so both are needed unless that is known.
func (c *compiler) conditional(x *hclsyntax.ConditionalExpr) *node {
	cond, yes, no := c.node(x.Condition), c.node(x.TrueResult), c.node(x.FalseResult)
	if cond == nil || yes == nil || no == nil {
		return nil
	}
	both := kind(aNull)
	if yes.is == no.is && (yes.is == aBool || yes.is == aNumber || yes.is == aText) {
		both = yes.is
	}
	return &node{is: both, eval: func(s *scope) (val, verdict) {
		holds, verdict := cond.eval(s)
		switch {
		case verdict != ok:
			return holds, verdict
		case holds.kind == aNull:
			return holds, fails
		case holds.kind != aBool:
			return holds, notMine
		}
		chosen, other := yes, no
		if holds.n == 0 {
			chosen, other = no, yes
		}
		a, v := chosen.eval(s)
		if v != ok || both != aNull {
			return a, v
		}
		switch b, w := other.eval(s); {
		case w == ok:
			return likeOther(a, b)
		case w == fails && other.loose:
			return a, ok
		default:
			return a, notMine
		}
	}}
}

// likeOther gives a the type that both results of a conditional can have.
func likeOther(a, b val) (val, verdict) {
	t, u := a.typ(), b.typ()
	simple := func(k kind) bool { return k == aBool || k == aNumber || k == aText }
	switch {
	case u == aNull || t == u && simple(t):
		return a, ok
	case t == aNull && simple(u):
		return val{of: u}, ok
	case t == aNull:
		return val{of: aJSON}, ok
	case simple(t) && u == aText || simple(u) && t == aText:
		if a.kind == aNull {
			return val{of: aText}, ok
		}
		s, verdict := asText(a)
		return val{kind: aText, s: s}, verdict
	}
	return val{}, notMine
}

func (c *compiler) template(x *hclsyntax.TemplateExpr) *node {
	parts, all := c.nodes(x.Parts)
	if !all {
		return nil
	}
	return &node{is: aText, eval: func(s *scope) (val, verdict) {
		var texts [8]string
		list, worst := texts[:0], ok
		for _, p := range parts {
			v, verdict := p.eval(s)
			if verdict == ok {
				var t string
				t, verdict = asText(v)
				list = append(list, t)
			}
			if verdict == fails {
				return val{}, fails
			}
			worst = max(worst, verdict)
		}
		if worst != ok {
			return val{}, worst
		}
		return textVal(strings.Join(list, ""))
	}}
}
