// Placeholders: what a configuration takes from the system that it checks, and from the machine that it runs on.
//
//	${system.name}  ${system.id}  ${system.metadata.KEY}  ${ENV:NAME}
//
// They stand in texts, at any depth of a configuration and in the values of assertions, but not in the names of fields. $${ is a
// ${ that stands for itself.
//
// The hard case is a value that looks like more than a text. It is put in once, as a text: quotes in it do not end the text that it
// is put into, and a placeholder in it, which whoever may edit the system could have written to read a variable, stays as it is.

package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"checkstack/plugins"
)

// Expand puts values in the place of placeholders: those of a system from values, by their names such as "system.name", and
// variables as the policy allows. A placeholder that does not exist or has no value is an error that names the field and it. A variable
// that may not be read or is not set is a [Fault]: it says nothing of the target.
func Expand(config json.RawMessage, values map[string]string, policy *Policy) (json.RawMessage, error) {
	if !mayHavePlaceholders(config) {
		return config, nil
	}
	return expand("", config, expander(values, policy))
}

// ExpandVariables is Expand for what is no check, and has nothing of a system: everything wrong is a [plugins.Invalid].
func ExpandVariables(config json.RawMessage, policy *Policy) (json.RawMessage, error) {
	return expand("", config, func(field, name string) (string, error) {
		variable, is := strings.CutPrefix(name, "ENV:")
		if !is || !isVariable(variable) {
			return "", plugins.Invalid(field, "expected ${ENV:NAME}, not ${%s}", Shorten(name, maxShown))
		}
		value, err := policy.env(variable)
		if err != nil {
			return "", plugins.Invalid(field, "%v", err)
		}
		return value, nil
	})
}

// expander returns the function that [expand] needs for a run.
func expander(values map[string]string, policy *Policy) func(field, name string) (string, error) {
	return func(field, name string) (string, error) {
		return fromSystemOr(field, name, values, func(variable string) (string, error) {
			value, err := policy.env(variable)
			if err != nil {
				return "", &Fault{Reason: err.Error()}
			}
			return value, nil
		})
	}
}

// fromSystemOr returns the value that a placeholder stands for. It checks the name of a variable before it asks for it.
func fromSystemOr(field, name string, values map[string]string, env func(variable string) (string, error)) (string, error) {
	if variable, is := strings.CutPrefix(name, "ENV:"); is && isVariable(variable) {
		return env(variable)
	}
	value, ok := values[name]
	key, metadata := strings.CutPrefix(name, "system.metadata.")
	switch {
	case name != "system.name" && name != "system.id" && (!metadata || key == ""):
		return "", plugins.Invalid(field, "expected ${system.name}, ${system.id}, ${system.metadata.KEY} or ${ENV:NAME}, not ${%s}", Shorten(name, maxShown))
	case ok:
		return value, nil
	case values == nil:
		return "", plugins.Invalid(field, "expected no placeholder such as ${%s} in a check that is not a template", Shorten(name, maxShown))
	}
	return "", plugins.Invalid(field, "expected a system that has a value for ${%s}", Shorten(name, maxShown))
}

// expand asks value for what each placeholder stands for. in is the field that config is, or empty, and field the one in which
// the placeholder is: "config.headers.Authorization".
func expand(in string, config json.RawMessage, value func(field, name string) (string, error)) (json.RawMessage, error) {
	if !mayHavePlaceholders(config) {
		return config, nil
	}
	size := 0
	return rewrite(config, false, func(l leaf) (any, error) {
		if !strings.Contains(l.value, "${") {
			return nil, nil
		}
		field := join(in, l.at.String())
		var b strings.Builder
		for rest := l.value; ; {
			before, name, after, err := cutPlaceholder(rest)
			b.WriteString(before)
			size += len(before)
			if err != nil {
				return nil, plugins.Invalid(field, "%v", err)
			}
			if name == "" {
				return b.String(), nil
			}
			s, err := value(field, name)
			if err != nil {
				return nil, err
			}
			b.WriteString(s)
			if size += len(s); size > maxExpanded {
				return nil, plugins.Invalid(field, "expected at most %d bytes with the values of placeholders", maxExpanded)
			}
			rest = after
		}
	})
}

// mayHavePlaceholders reports whether there can be ${ in a text of a JSON value, also in one that is written with escapes.
func mayHavePlaceholders(config json.RawMessage) bool {
	return bytes.Contains(config, []byte("${")) || bytes.Contains(config, []byte(`\u00`))
}

const maxExpanded = plugins.MaxBody // bytes of all texts that have placeholders

var errPlaceholder = errors.New("expected a placeholder such as ${system.name}, or $${ for ${ itself")

// cutPlaceholder returns what is before the first placeholder, its name, which is empty if there is none, and what is after it.
func cutPlaceholder(s string) (before, name, after string, err error) {
	for at := 0; ; {
		i := strings.Index(s[at:], "${")
		if i < 0 {
			return unescape(s), "", "", nil
		}
		i += at
		if i > 0 && s[i-1] == '$' {
			at = i + len("${")
			continue
		}
		name, after, ok := strings.Cut(s[i+len("${"):], "}")
		if !ok || name == "" {
			return "", "", "", errPlaceholder
		}
		return unescape(s[:i]), name, after, nil
	}
}

func unescape(s string) string { return strings.ReplaceAll(s, "$${", "${") }

// isPlaceholders reports whether a text is made of placeholders and nothing else, so that it holds nothing of its own.
func isPlaceholders(s string) bool {
	for s != "" {
		before, name, after, err := cutPlaceholder(s)
		if err != nil || before != "" || name == "" {
			return false
		}
		s = after
	}
	return true
}

// Placeholders lists the names of the placeholders in a configuration, each once, in the order in which they come.
func Placeholders(config json.RawMessage) []string {
	var names []string
	_, _ = expand("", config, func(_, name string) (string, error) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return "", nil
	})
	return names
}

// Sample stands for the value of a placeholder while a configuration is checked that has no system yet. It can be part of a URL and
// of a host name.
func Sample(name string) string {
	lower := strings.ToLower(name)
	switch {
	case name == "system.id":
		return "00000000-0000-4000-8000-000000000000"
	case strings.HasSuffix(lower, "port"):
		return "443"
	case strings.HasSuffix(lower, "url"):
		return "https://sample.invalid/"
	}
	return "sample"
}

// samples are the other ways to stand for a placeholder. A template is refused only if it makes no sense with any.
var samples = []string{"1", "sample", "sample.invalid:443", "https://sample.invalid/", "192.0.2.1", "true"}

// join writes where a place in a field is.
func join(field, place string) string {
	if field == "" || place == "" || place[0] == '[' {
		return field + place
	}
	return field + "." + place
}
