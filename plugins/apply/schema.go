package apply

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
)

// The JSON schema of documents, by which editors complete and check them. schema.json is its frame; the types of checks, and what
// the config of each may be, are those of a server, or those that are built in:
//
//	"check": {…, "allOf": [{"if": {type is http}, "then": {config is "#/$defs/config-http"}}, …]}
//
// Placeholders need nothing of it: they stand in texts, and neither where a number is expected nor where a type knows a few words
// only, because nobody could tell before the check is made whether they fit there.

//go:embed schema.json
var schema []byte

// object is a JSON schema.
type object = map[string]any

// schemaWith returns the schema of documents whose checks are of the types.
func schemaWith(types []healthcheck.TypeView) ([]byte, error) {
	var frame struct {
		Schema      string            `json:"$schema"`
		Title       string            `json:"title"`
		Description string            `json:"description"`
		Type        string            `json:"type"`
		Additional  bool              `json:"additionalProperties"`
		Properties  json.RawMessage   `json:"properties"`
		Defs        map[string]object `json:"$defs"`
	}
	if err := plugins.Decode(schema, &frame); err != nil {
		return nil, fmt.Errorf("read the schema of documents: %w", err)
	}
	names, cases := make([]any, len(types)), make([]any, len(types))
	for i, t := range types {
		var config object
		if err := json.Unmarshal(t.Schema, &config); err != nil {
			return nil, fmt.Errorf("read the schema of check type %s: %w", t.Type, err)
		}
		def := "config-" + t.Type
		frame.Defs[def] = config
		then := object{"properties": object{"config": object{"$ref": "#/$defs/" + def}}}
		if required, _ := config["required"].([]any); len(required) > 0 {
			then["required"] = []any{"config"}
		}
		names[i] = t.Type
		cases[i] = object{"if": object{"required": []any{"type"}, "properties": object{"type": object{"const": t.Type}}}, "then": then}
	}
	if check := frame.Defs["check"]; len(types) > 0 {
		check["properties"].(object)["type"].(object)["enum"] = names
		check["allOf"] = cases
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(frame)
	return text.Bytes(), err
}

// showSchema answers with the schema of documents for this server.
func (p *Applier) showSchema(w http.ResponseWriter, r *http.Request) {
	text, err := schemaWith(p.checks.CheckTypes())
	if err != nil {
		plugins.WriteError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/schema+json")
	w.Write(text) // an error means that the client is gone
}
