// The result of a run: what was measured and what became of the assertions, as one JSON object that the database can hold.
//
// The hard case is a result that is too long. What is needed least goes first: the values that were as they had to be, then long texts,
// then the values that were not, and at last whole assertions, those that passed before those that failed.

package engine

import (
	"encoding/json"
	"slices"
	"strings"
)

const (
	maxResult     = 16 << 10 // bytes
	maxResultText = 500      // characters of a measured text, in a result that is too long
	maxResultList = 10       // entries of a measured list, in one that is too long
)

// result writes what was measured and, if there are any, the assertions.
func result(m Measured, list []AssertionResult) json.RawMessage {
	values := slices.DeleteFunc(slices.Clone(m.values), func(v measurement) bool {
		return v.path == "assertions" || strings.HasPrefix(v.path, "assertions.")
	})
	data := appendResult(values, list)
	list = slices.Clone(list)
	for _, shrink := range []func(){
		func() { forget(list, func(a *AssertionResult) bool { return a.OK }) },
		func() { shorten(values) },
		func() { forget(list, func(*AssertionResult) bool { return true }) },
		func() { values = nil },
	} {
		if len(data) <= maxResult {
			break
		}
		shrink()
		data = appendResult(values, list)
	}
	for len(data) > maxResult { // each turn leaves out one
		least := len(list) - 1
		for i, a := range list {
			if a.OK {
				least = i
			}
		}
		list = slices.Delete(list, least, least+1)
		data = appendResult(values, list)
	}
	return data
}

// appendResult writes a result.
func appendResult(values []measurement, list []AssertionResult) json.RawMessage {
	b := appendObject(nil, values, "")
	if list != nil {
		b = b[:len(b)-1]
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, `"assertions":`...)
		b = append(appendJSON(b, list), '}')
	}
	return storable(b)
}

// forget leaves out what assertions found and expected.
func forget(list []AssertionResult, which func(*AssertionResult) bool) {
	for i := range list {
		if which(&list[i]) {
			list[i].Actual, list[i].Value = nil, nil
		}
	}
}

// shorten cuts long texts and lists.
func shorten(values []measurement) {
	for i, v := range values {
		switch value := v.value.(type) {
		case string:
			values[i].value = Shorten(value, maxResultText)
		case []string:
			list := slices.Clone(value[:min(len(value), maxResultList)])
			for i := range list {
				list[i] = Shorten(list[i], maxResultText)
			}
			values[i].value = list
		}
	}
}
