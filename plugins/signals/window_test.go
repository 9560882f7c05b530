package signals

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestWindowIsTheEndOfTheLog compares the window with all events that ever were in it.
func TestWindowIsTheEndOfTheLog(t *testing.T) {
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 0))
		w, all, base := newWindow(), []event(nil), random.Int64N(100)
		newest := base
		w.begin(base)
		for range 200 {
			_, changed, _ := w.after(newest, 1)
			switch random.IntN(40) {
			case 0:
				newest += random.Int64N(3)
				w.begin(newest)
				all, base = nil, newest
			default:
				more := make([]event, random.IntN(60))
				for i := range more {
					newest += 1 + random.Int64N(3)
					more[i].position = newest
				}
				w.add(more)
				all = append(all, more...)
				if len(more) == 0 {
					continue
				}
			}
			select {
			case <-changed:
			default:
				t.Fatalf("seed %d: a change is not told", seed)
			}
			check(t, seed, random, w, all, base, newest)
		}
	}
}

func check(t *testing.T, seed uint64, random *rand.Rand, w *window, all []event, base, newest int64) {
	t.Helper()
	if w.end() != newest || w.base < base || len(w.events) > 2*windowSize || len(all) >= windowSize && len(w.events) < windowSize {
		t.Fatalf("seed %d: newest %d of %d, base %d of %d, %d events of %d", seed, w.end(), newest, w.base, base, len(w.events), len(all))
	}
	for range 3 {
		position, most := base+random.Int64N(newest-base+3)-1, random.IntN(200)
		want := slices.DeleteFunc(slices.Clone(all), func(e event) bool { return e.position <= position })
		want = want[:min(most, len(want))]
		got, _, ok := w.after(position, most)
		if ok != (position >= w.base) || ok && !slices.Equal(got, want) {
			t.Fatalf("seed %d: after %d, of %d to %d: %v, %d events, want %d", seed, position, w.base, newest, ok, len(got), len(want))
		}
		if w.has(position) != (ok && position <= newest) {
			t.Fatalf("seed %d: has %d, of %d to %d", seed, position, w.base, newest)
		}
	}
}
