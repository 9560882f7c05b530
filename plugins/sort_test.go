package plugins_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"checkstack/plugins"
)

func TestSortPutsEveryPluginAfterWhatItRequires(t *testing.T) {
	for _, test := range []struct {
		name     string
		requires map[string][]string
		want     string // the order, or the error
	}{
		{"nothing", nil, ""},
		{"one", map[string][]string{"a": nil}, "a"},
		{"independent: by ID", map[string][]string{"c": nil, "a": nil, "b": nil}, "a b c"},
		{"a chain against the alphabet", map[string][]string{"a": {"b"}, "b": {"c"}, "c": nil}, "c b a"},
		{"a diamond", map[string][]string{"a": {"c", "b"}, "b": {"d"}, "c": {"d"}, "d": nil}, "d b c a"},
		{"a repeated requirement", map[string][]string{"a": {"b", "b"}, "b": nil}, "b a"},
		{"the real ones", map[string][]string{
			"auth": nil, "signals": nil, "queue": nil,
			"notification": {"queue", "signals"},
			"catalog":      {"notification", "signals"},
			"incident":     {"catalog", "notification", "signals"},
		}, "auth queue signals notification catalog incident"},
		{"missing", map[string][]string{"a": nil, "b": {"gone"}}, "plugin b requires gone, which does not exist"},
		{"two missing: the first by ID", map[string][]string{"b": {"z"}, "a": {"y", "x"}}, "plugin a requires x, which does not exist"},
		{"itself", map[string][]string{"a": {"a"}}, "plugins require each other: a → a"},
		{"a pair", map[string][]string{"incident": {"catalog"}, "catalog": {"incident"}},
			"plugins require each other: catalog → incident → catalog"},
		{"entered in its middle", map[string][]string{"a": {"d"}, "b": {"c"}, "c": {"d"}, "d": {"b"}},
			"plugins require each other: b → c → d → b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			order, err := plugins.Sort(test.requires)
			got := strings.Join(order, " ")
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestSortAgreesWithAnOracleOnRandomGraphs(t *testing.T) {
	cyclic, missing := 0, 0
	for seed := range uint64(4000) {
		random := rand.New(rand.NewPCG(seed, 1))
		requires := randomGraph(random)
		order, err := plugins.Sort(requires)
		switch cycle, isCycle := errors.AsType[*plugins.CycleError](err); {
		case isCycle:
			cyclic++
			checkCycle(t, seed, requires, cycle)
			if !hasCycle(requires) {
				t.Fatalf("seed %d: %v, but there is no cycle in %v", seed, err, requires)
			}
		case err != nil:
			missing++
			checkMissing(t, seed, requires, err)
		default:
			checkOrder(t, seed, requires, order)
			if hasCycle(requires) {
				t.Fatalf("seed %d: the order %v hides a cycle in %v", seed, order, requires)
			}
		}
		for range 3 { // whatever the order of the maps and slices
			again, errAgain := plugins.Sort(shuffled(random, requires))
			if !slices.Equal(again, order) || fmt.Sprint(errAgain) != fmt.Sprint(err) {
				t.Fatalf("seed %d: got %v, %v and then %v, %v for %v", seed, order, err, again, errAgain, requires)
			}
		}
	}
	if cyclic < 500 || missing < 200 || cyclic+missing > 3500 {
		t.Errorf("the graphs are one-sided: %d with a cycle and %d with a missing plugin, of 4000", cyclic, missing)
	}
}

// randomGraph makes up to 12 plugins with a density of its own; one graph in ten requires something that does not exist.
func randomGraph(random *rand.Rand) map[string][]string {
	n := 1 + random.IntN(12)
	density := random.Float64() * 2.5 / float64(n)
	requires := map[string][]string{}
	for i := range n {
		id := string(rune('a' + i))
		requires[id] = nil
		for j := range n {
			if random.Float64() < density && (i != j || random.IntN(10) == 0) {
				requires[id] = append(requires[id], string(rune('a'+j)))
			}
		}
	}
	if random.IntN(10) == 0 {
		requires["a"] = append(requires["a"], "zz")
	}
	return requires
}

// shuffled is the same graph in new maps and slices, in another order.
func shuffled(random *rand.Rand, requires map[string][]string) map[string][]string {
	ids := slices.Sorted(maps.Keys(requires))
	random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	copied := map[string][]string{}
	for _, id := range ids {
		needs := slices.Clone(requires[id])
		random.Shuffle(len(needs), func(i, j int) { needs[i], needs[j] = needs[j], needs[i] })
		copied[id] = needs
	}
	return copied
}

// hasCycle is the oracle: it takes away, again and again, every plugin that requires none of those that are left.
func hasCycle(requires map[string][]string) bool {
	left := maps.Clone(requires)
	for {
		before := len(left)
		for id := range requires {
			blocked := slices.ContainsFunc(requires[id], func(need string) bool {
				_, there := left[need]
				return there
			})
			if !blocked {
				delete(left, id)
			}
		}
		if len(left) == before {
			return before > 0
		}
	}
}

func checkOrder(t *testing.T, seed uint64, requires map[string][]string, order []string) {
	t.Helper()
	if !slices.Equal(slices.Sorted(slices.Values(order)), slices.Sorted(maps.Keys(requires))) {
		t.Fatalf("seed %d: the order %v does not hold each of %v once", seed, order, requires)
	}
	for i, id := range order {
		for _, need := range requires[id] {
			if slices.Index(order, need) >= i {
				t.Fatalf("seed %d: %s comes before %s, which it requires, in %v", seed, id, need, order)
			}
		}
	}
}

func checkCycle(t *testing.T, seed uint64, requires map[string][]string, e *plugins.CycleError) {
	t.Helper()
	path := e.Path
	last := len(path) - 1
	if last < 1 || path[0] != path[last] || path[0] != slices.Min(path) {
		t.Fatalf("seed %d: %v does not start at its smallest ID and return to it", seed, path)
	}
	if inner := path[:last]; len(slices.Compact(slices.Sorted(slices.Values(inner)))) != last {
		t.Fatalf("seed %d: %v passes a plugin twice", seed, path)
	}
	for i := range last {
		if !slices.Contains(requires[path[i]], path[i+1]) {
			t.Fatalf("seed %d: %s does not require %s in %v", seed, path[i], path[i+1], requires)
		}
	}
	if want := "plugins require each other: " + strings.Join(path, " → "); e.Error() != want {
		t.Fatalf("seed %d: the error is %q, want %q", seed, e.Error(), want)
	}
}

func checkMissing(t *testing.T, seed uint64, requires map[string][]string, err error) {
	t.Helper()
	for id, needs := range requires {
		for _, need := range needs {
			_, there := requires[need]
			if !there && err.Error() == fmt.Sprintf("plugin %s requires %s, which does not exist", id, need) {
				return
			}
		}
	}
	t.Fatalf("seed %d: %v, which is not so in %v", seed, err, requires)
}

func BenchmarkSortThousandPlugins(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	requires := map[string][]string{}
	for i := range 1000 {
		id := fmt.Sprintf("plugin%d", i)
		requires[id] = nil
		for range min(i, 5) {
			requires[id] = append(requires[id], fmt.Sprintf("plugin%d", random.IntN(i)))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := plugins.Sort(requires); err != nil {
			b.Fatal(err)
		}
	}
}
