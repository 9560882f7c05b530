// What a run was given in secret does not come back in what it found. A target may repeat what it was sent: a page that shows the
// headers of its request, an error that quotes a password. Those who may see runs may not see that, so it is replaced where it
// stands in the message, in what was measured, and in what assertions found.
//
// The hard case is a secret that is no secret. A password of two letters would be found everywhere and make nonsense of all, and
// tell what it is by that; so nothing shorter than 6 characters is looked for.

package engine

import (
	"encoding/json"
	"slices"
	"strings"
)

const minHidden = 6 // characters of a secret that is looked for

// secretsIn adds the secrets of a plain configuration to those that are known.
func secretsIn(config json.RawMessage, known []string) []string {
	_, _ = mapSecrets(config, false, func(s Secret) (any, error) {
		known = append(known, s.Value)
		return nil, nil
	})
	return known
}

// hider replaces secrets by the mask. A nil *hider has none.
type hider struct {
	secrets  []string
	replacer *strings.Replacer
}

// newHider makes a hider, or nil if there is nothing to hide.
func newHider(secrets []string) *hider {
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // what is part of another comes after it
	var pairs []string
	for _, s := range slices.Compact(secrets) {
		if len(s) < minHidden {
			continue
		}
		pairs = append(pairs, s, Mask)
		if quoted := string(appendJSON(nil, s)); quoted[1:len(quoted)-1] != s { // as it stands in JSON
			pairs = append(pairs, quoted[1:len(quoted)-1], Mask)
		}
	}
	if len(pairs) == 0 {
		return nil
	}
	return &hider{secrets, strings.NewReplacer(pairs...)}
}

// text hides what is secret in a text.
func (h *hider) text(s string) string {
	if h == nil {
		return s
	}
	s = h.replacer.Replace(s)
	cut := strings.TrimSuffix(s, "…")
	for _, secret := range h.secrets { // a text may have been cut within one
		for n := len(secret) - 1; n >= minHidden; n-- {
			if rest, ok := strings.CutSuffix(cut, secret[:n]); ok {
				return rest + Mask
			}
		}
	}
	return s
}

// value hides what is secret in a measured value, or in one of JSON.
func (h *hider) value(v any) any {
	switch v := v.(type) {
	case string:
		return h.text(v)
	case json.RawMessage:
		return json.RawMessage(h.text(string(v)))
	case []string:
		texts := make([]string, len(v))
		for i, s := range v {
			texts[i] = h.text(s)
		}
		return texts
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = h.value(e)
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for name, e := range v {
			object[h.text(name)] = h.value(e)
		}
		return object
	}
	return v
}

// hide hides what is secret in a report and in what was measured.
func (h *hider) hide(r *Report, m *Measured) {
	if h == nil {
		return
	}
	r.Message = h.text(r.Message)
	for i := range m.values {
		m.values[i].value = h.value(m.values[i].value)
	}
	for i := range r.Assertions {
		r.Assertions[i].Actual, r.Assertions[i].Error = h.value(r.Assertions[i].Actual), h.text(r.Assertions[i].Error)
	}
}
