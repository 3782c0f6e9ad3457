package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestHolesAreWhatNeverCame(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var s seqs
		seen := map[uint64]bool{}
		for range 60 {
			n := 1 + rng.Uint64N(80)
			seen[n] = true
			s.add(n)
		}
		var missing []uint64
		for n := s.First; n <= s.Last; n++ {
			if !seen[n] {
				missing = append(missing, n)
			}
		}
		var got []uint64
		for _, h := range s.Holes {
			for n := h.From; n <= h.To; n++ {
				got = append(got, n)
			}
		}
		if !slices.Equal(got, missing) || s.Records != uint64(len(seen)) || s.missing() != uint64(len(missing)) {
			t.Fatalf("holes %v, %d records, %d missing; want %v, %d, %d", got, s.Records, s.missing(), missing, len(seen), len(missing))
		}
	}
}

func TestHolesAreBounded(t *testing.T) {
	var s seqs
	for n := range uint64(5 * maxHoles) {
		s.add(1 + 3*n) // two of three numbers never come
	}
	if want := uint64(2 * (5*maxHoles - 1)); len(s.Holes) > maxHoles || s.missing() != want {
		t.Errorf("%d ranges, %d missing; want at most %d, and %d", len(s.Holes), s.missing(), maxHoles, want)
	}
}
