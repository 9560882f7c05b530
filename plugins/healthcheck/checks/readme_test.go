package checks

// What the README says of each type is what its configuration and its paths say of themselves: a table of fields and one of
// what is measured in the section with the name of the type.

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"checkstack/plugins/healthcheck/engine"
)

// schemaNode is what is read of a JSON Schema.
type schemaNode struct {
	Type, Description    string
	Properties           map[string]schemaNode
	Required             []string
	Enum                 []string
	Default              json.RawMessage
	Minimum, Maximum     *int64
	MinLength, MaxLength int64
	MinItems, MaxItems   int64
	MaxProperties        int64
}

// limits says in words what a value may be.
func (n schemaNode) limits() string {
	switch {
	case len(n.Enum) > 0:
		return "one of " + strings.Join(slices.DeleteFunc(slices.Clone(n.Enum), func(word string) bool { return word == "" }), ", ")
	case n.Minimum != nil:
		return fmt.Sprintf("%d to %d", *n.Minimum, *n.Maximum)
	case n.MinLength > 0:
		return fmt.Sprintf("%d to %d characters", n.MinLength, n.MaxLength)
	case n.MaxLength > 0:
		return fmt.Sprintf("at most %d characters", n.MaxLength)
	case n.MinItems > 0:
		return fmt.Sprintf("%d to %d entries", n.MinItems, n.MaxItems)
	case n.MaxItems+n.MaxProperties > 0:
		return fmt.Sprintf("at most %d entries", n.MaxItems+n.MaxProperties)
	}
	return ""
}

// rows describes the fields of an object, in the order of their names.
func (n schemaNode) rows(prefix string) (rows string) {
	names := make([]string, 0, len(n.Properties))
	for name := range n.Properties {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { // those that are required first
		if x, y := slices.Contains(n.Required, a), slices.Contains(n.Required, b); x != y {
			return map[bool]int{true: -1, false: 1}[x]
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		field := n.Properties[name]
		def := ""
		switch {
		case slices.Contains(n.Required, name):
			def = "required"
		case len(field.Default) > 0:
			def = "`" + string(field.Default) + "`"
		}
		words := field.Description
		if limits := field.limits(); limits != "" {
			words += "; " + limits
		}
		rows += fmt.Sprintf("| `%s` | %s | %s |\n", prefix+name, def, words)
		if field.Properties != nil && name != "tls" {
			rows += field.rows(prefix + name + ".")
		}
	}
	return rows
}

func pathRows(paths []engine.Path) (rows string) {
	for _, p := range paths {
		rows += fmt.Sprintf("| `%s` | %s | %s |\n", p.Name, p.Kind, p.Doc)
	}
	return rows
}

func TestTheREADMEDescribesEveryFieldAndPath(t *testing.T) {
	const fields, measured = "| field | default | |\n|---|---|---|\n", "| measured | kind | |\n|---|---|---|\n"
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	has := func(heading string, tables ...string) string {
		_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		for _, table := range tables {
			if !found || !strings.Contains(section+"\n", "\n\n"+table+"\n") {
				t.Errorf("README.md has no section %s with\n%s", heading, table)
			}
		}
		return section
	}
	var tls schemaNode
	for _, kind := range BuiltIn(nil) {
		var schema schemaNode
		if err := json.Unmarshal(kind.Schema(), &schema); err != nil {
			t.Fatal(err)
		}
		if field, ok := schema.Properties["tls"]; ok {
			tls = field
		}
		own := slices.DeleteFunc(slices.Clone(kind.Paths()), func(p engine.Path) bool { return slices.Contains(engine.TLSPaths(), p) })
		section := has(kind.Type(), fields+schema.rows(""), measured+pathRows(own))
		if len(own) < len(kind.Paths()) && !strings.Contains(section, "[TLS](#speaking-tls)") {
			t.Errorf("README.md does not say that %s measures TLS", kind.Type())
		}
		if !strings.Contains(section, "\ncheckstack check ") {
			t.Errorf("README.md has no example of %s", kind.Type())
		}
	}
	has("Speaking TLS", fields+tls.rows("tls."), measured+pathRows(engine.TLSPaths()))
}
