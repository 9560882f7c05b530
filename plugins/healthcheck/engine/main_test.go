package engine

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"checkstack/plugins"
)

// refusal returns "field: message" of an error for invalid input, and "" for none.
func refusal(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*plugins.Error](err)
	if !ok || e.Status != 400 || e.Title != "Invalid input" {
		t.Fatalf("not an error about input: %#v", err)
	}
	return e.Field + ": " + e.Message
}

// asJSON writes a value for comparisons.
func asJSON(t *testing.T, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// probe is a type whose runs end as a test says.
type probe struct {
	Address string            `json:"address" doc:"where to" limit:"1-300" required:"true"`
	Port    int               `json:"port" limit:"1-65535"`
	Token   string            `json:"token"`
	Headers map[string]string `json:"headers"`
	run     func(context.Context, *probe) Outcome
}

var probePaths = []Path{
	{"status", Number, "a number"}, {"banner", Text, "a text"}, {"open", Bool, "true or false"}, {"names", Texts, "a list"},
	{"header.*", Text, "a header"}, {"json.*", Any, "of the body"}, {"body", Text, "the body"}, {"rows.*", Number, "a family"}, {"reply", Any, "anything"},
}

func (p *probe) Validate() error                 { _, err := Address("address", p.Address, 80); return err }
func (p *probe) Target() string                  { s, _ := Address("address", p.Address, 80); return s }
func (p *probe) Run(ctx context.Context) Outcome { return p.run(ctx, p) }

// probeType is a type with the paths above whose runs end as f says.
func probeType(f func(context.Context, *probe) Outcome) Type {
	return New("probe", probePaths, func() Config { return &probe{Port: 80, run: f} })
}

// env is a policy that lets configurations read some variables.
func env(values map[string]string) *Policy {
	p := &Policy{Getenv: func(name string) string { return values[name] }}
	for name := range values {
		p.AllowEnv = append(p.AllowEnv, name)
	}
	return p
}
