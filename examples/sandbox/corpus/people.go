package corpus

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// people are who talks, and where.
type people struct {
	staff   []string
	outside []string
	robots  []string
	rooms   []room
}

type room struct {
	id       string
	members  []string
	external bool
}

var staff = []string{
	"zhangsan", "lisi", "wangwu", "zhaoliu", "sunqi", "tanaka.haruto", "suzuki_yui", "emma.wilson", "chen-jing", "LiuYang",
	"yamamoto", "maria.garcia",
}

// newPeople makes companies of every size: group sizes have a median of 6 and a long tail.
func newPeople(r *rand.Rand, messages int) *people {
	p := &people{staff: staff}
	for range 8 + messages/60 {
		prefix := "wm"
		if r.IntN(4) == 0 {
			prefix = "wo"
		}
		p.outside = append(p.outside, prefix+identifier(r, 30))
	}
	for range 2 {
		p.robots = append(p.robots, "wb"+identifier(r, 30))
	}
	for i := range 5 + messages/100 {
		size := int(min(around(r, 6, 12), 480))
		if i == 0 {
			size = 180
		}
		g := room{id: "wr" + identifier(r, 30), external: r.IntN(10) < 7}
		for len(g.members) < max(size, 3) {
			member := fmt.Sprintf("user%04d", r.IntN(5000))
			switch {
			case len(g.members) < 3:
				member = p.staff[(i+len(g.members)*5)%len(p.staff)]
			case g.external && r.IntN(3) > 0:
				member = p.outside[r.IntN(len(p.outside))]
				if len(g.members) > len(p.outside)/2 {
					member = "wm" + identifier(r, 30)
				}
			}
			if !strings.Contains("\n"+strings.Join(g.members, "\n")+"\n", "\n"+member+"\n") {
				g.members = append(g.members, member)
			}
		}
		p.rooms = append(p.rooms, g)
	}
	return p
}

// identifier returns random characters as WeCom uses them in ids.
func identifier(r *rand.Rand, n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}

// few picks from a list; the first ones are picked most often, as some people talk more than others.
func few[T any](r *rand.Rand, list []T) T { return list[r.IntN(1+r.IntN(len(list)))] }

// around returns a number near median, with a long tail upwards as sizes have it: a log-normal distribution in whole numbers, so
// that every machine draws the same. spread 8 is narrow (nearly all within a factor of 4), 32 wide.
func around(r *rand.Rand, median int64, spread int) int64 {
	eighths := [8]int64{256, 279, 304, 332, 362, 395, 431, 470} // 256 * 2^(n/8)
	n := -2 * spread
	for range 4 {
		n += r.IntN(spread + 1)
	}
	v := median * eighths[n&7] >> 8
	if n >>= 3; n < 0 {
		return v >> -n
	}
	return v << n
}

// conversation decides who speaks to whom.
type conversation struct {
	from     string
	to       []string
	room     string
	external bool
}

// converse draws 62 % group chats and 38 % single ones; 70 % with people outside the company, 3 % by robots.
func (p *people) converse(r *rand.Rand) conversation {
	if r.IntN(100) < 62 {
		g := few(r, p.rooms)
		return g.speak(r, few(r, g.members))
	}
	us := few(r, p.staff)
	switch n := r.IntN(100); {
	case n < 3:
		return conversation{from: few(r, p.robots), to: []string{us}, external: true}
	case n < 38:
		return conversation{from: us, to: []string{few(r, p.outside)}, external: true}
	case n < 73:
		return conversation{from: few(r, p.outside), to: []string{us}, external: true}
	}
	for {
		if other := p.staff[r.IntN(len(p.staff))]; other != us {
			return conversation{from: us, to: []string{other}}
		}
	}
}

// speak is one member speaking to all others.
func (g room) speak(r *rand.Rand, from string) conversation {
	c := conversation{from: from, room: g.id, external: g.external}
	for _, m := range g.members {
		if m != from {
			c.to = append(c.to, m)
		}
	}
	return c
}
