package apply

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/notification"
)

// The JSON schema of documents, by which editors complete and check them. schema.json is its frame; the types of checks and of
// channels, and what the config of each may be, are those of a server, or those that are built in:
//
//	"check": {…, "allOf": [{"if": {type is http}, "then": {config is "#/$defs/config-http"}}, …]}
//
// Placeholders need nothing of it: they stand in texts, and neither where a number is expected nor where a type knows a few words
// only, because nobody could tell before the check is made whether they fit there.

//go:embed schema.json
var schema []byte

// object is a JSON schema.
type object = map[string]any

// schemaWith returns the schema of documents whose checks and channels are of the types.
func schemaWith(types []healthcheck.TypeView, channels []notification.ChannelTypeView) ([]byte, error) {
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
	configs := make(map[string]json.RawMessage)
	for _, t := range types {
		configs[t.Type] = t.Schema
	}
	if err := choose(frame.Defs, "check", "config-", configs); err != nil {
		return nil, err
	}
	clear(configs)
	for _, t := range channels {
		configs[t.Type] = t.Schema
	}
	if err := choose(frame.Defs, "channel", "channel-", configs); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(frame)
	return text.Bytes(), err
}

// choose has the type of an element say what its config may be. The config of a channel may be absent.
func choose(defs map[string]object, element, prefix string, configs map[string]json.RawMessage) error {
	var names, cases []any
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		var config object
		if err := json.Unmarshal(configs[name], &config); err != nil {
			return fmt.Errorf("read the schema of the %s type %s: %w", element, name, err)
		}
		def := prefix + name
		defs[def] = config
		then := object{"properties": object{"config": object{"$ref": "#/$defs/" + def}}}
		if required, _ := config["required"].([]any); len(required) > 0 && element == "check" {
			then["required"] = []any{"config"}
		}
		names = append(names, name)
		cases = append(cases, object{"if": object{"required": []any{"type"}, "properties": object{"type": object{"const": name}}}, "then": then})
	}
	if len(configs) > 0 {
		defs[element]["properties"].(object)["type"].(object)["enum"] = names
		defs[element]["allOf"] = cases
	}
	return nil
}

// showSchema answers with the schema of documents for this server.
func (p *Applier) showSchema(w http.ResponseWriter, r *http.Request) {
	text, err := schemaWith(p.checks.CheckTypes(), p.notify.ChannelTypes())
	if err != nil {
		plugins.WriteError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/schema+json")
	w.Write(text) // an error means that the client is gone
}
