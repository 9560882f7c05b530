// The exit codes that a command may have: [0], or [0, 2].

package checks

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"checkstack/plugins"
)

const execMaxCode = 1<<31 - 1 // of Windows; elsewhere the largest one is 255

// execCodes are exit codes, each once, in order.
type execCodes []int

// UnmarshalJSON reads a list of 1 to 50 exit codes. Of null it makes nothing, which is how defaults stay.
func (c *execCodes) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var codes []int
	if err := json.Unmarshal(data, &codes); err != nil || len(codes) == 0 || len(codes) > 50 {
		return plugins.Invalid("expectExit", "expected a list of 1 to 50 exit codes, such as [0]")
	}
	slices.Sort(codes)
	if codes[0] < 0 || codes[len(codes)-1] > execMaxCode {
		return plugins.Invalid("expectExit", "expected exit codes from 0 to %d", execMaxCode)
	}
	*c = slices.Compact(codes)
	return nil
}

// JSONSchema describes the list.
func (execCodes) JSONSchema() map[string]any {
	return map[string]any{"type": "array", "minItems": 1, "maxItems": 50,
		"items": map[string]any{"type": "integer", "minimum": 0, "maximum": execMaxCode}}
}

// String is the codes with commas between them.
func (c execCodes) String() string {
	texts := make([]string, len(c))
	for i, code := range c {
		texts[i] = strconv.Itoa(code)
	}
	return strings.Join(texts, ", ")
}
