package plugins

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Sort orders plugin IDs so that each comes after the ones it requires: depth first, over sorted IDs, so that the same
// requirements give the same order whatever the order they were found in. Two plugins that do not require each other,
// even through others, keep no promise about their places but that one.
//
// A requirement that is not itself a key is an error that names both. A cycle is a [CycleError], which prints the whole
// path, from its smallest ID back to it: "incident → notification → incident".
func Sort(requires map[string][]string) ([]string, error) {
	const visiting, done = 1, 2
	var (
		order []string
		path  []string
		state = make(map[string]int, len(requires))
		visit func(id string) error
	)
	visit = func(id string) error {
		switch state[id] {
		case done:
			return nil
		case visiting:
			return &CycleError{Path: closed(path[slices.Index(path, id):])}
		}
		state[id] = visiting
		path = append(path, id)
		for _, need := range slices.Sorted(slices.Values(requires[id])) {
			if _, ok := requires[need]; !ok {
				return fmt.Errorf("plugin %s requires %s, which does not exist", id, need)
			}
			if err := visit(need); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		state[id] = done
		order = append(order, id)
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(requires)) {
		if err := visit(id); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// CycleError says that plugins require each other.
type CycleError struct {
	Path []string // each requires the next one; the smallest ID comes first, and again at the end
}

func (e *CycleError) Error() string {
	return "plugins require each other: " + strings.Join(e.Path, " → ")
}

// closed returns a cycle as a path that starts at its smallest ID, so that the error does not depend on where the search
// entered the cycle, and returns to it.
func closed(ids []string) []string {
	least := slices.Index(ids, slices.Min(ids))
	return slices.Concat(ids[least:], ids[:least+1])
}
