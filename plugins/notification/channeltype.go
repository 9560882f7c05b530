package notification

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"checkstack/plugins"
)

// Ways to tell people. A channel type is what another plugin contributes, as webhook does; a channel is one configuration of it, which
// is stored. What a type does is foreign code: its panics are errors, and it ends before its plugin does.

// ChannelType is a way to tell people, such as "webhook".
type ChannelType struct {
	Type        string          // 1 to 40 lower case letters, digits and dashes, the first a letter; unique
	Name        string          // for people, such as "Webhook"
	Description string          // for people, one sentence; may be empty
	Schema      json.RawMessage // JSON Schema (2020-12) of a configuration

	// Open understands a configuration, which is an object. It is called whenever one is stored, and before it is used, and does
	// no more than that; its error is told to whoever stores it, with fields as they are in the configuration.
	Open func(config json.RawMessage) (Sender, error)
}

// Sender is a configuration of a channel that a type has understood.
type Sender interface {
	// Destination is what everybody who reads channels may see of where messages go, in at most 200 characters: no secret.
	Destination() string

	// Send has one message delivered until ctx ends. Whoever is told may be so more than once, and knows it by [Message.ID]. After an
	// error it is tried again later, with the messages after it, unless the error is a [Refused]. Viewers see the text of an error.
	Send(ctx context.Context, m Message) error
}

// Message is a notice on its way through a channel. As JSON it is what programs get.
type Message struct {
	ID        string          `json:"id"`   // a UUID, the same at every try
	Spec      string          `json:"spec"` // what it is about, such as "healthcheck.system"
	Severity  Severity        `json:"severity"`
	Title     string          `json:"title"`   // one line
	Message   string          `json:"message"` // may be empty
	Resource  Subject         `json:"resource"`
	Data      json.RawMessage `json:"data"`      // for programs, as the spec has it; may be null
	CreatedAt time.Time       `json:"createdAt"` // UTC
}

// Subject is the resource that a message is about.
type Subject struct {
	Type string `json:"type"` // of the target, such as "catalog.system"
	ID   string `json:"id"`
	Name string `json:"name"` // empty where it is gone
}

// Refused is why a message will never be taken, while others may be: it is not tried again.
type Refused struct{ Reason string }

// Error is the reason.
func (e *Refused) Error() string { return e.Reason }

// RegisterChannelType makes a channel type known until the plugin that owns host is closed. It is an error if another plugin, or the
// same one before, has registered it, or if something is missing.
func (n *Notifier) RegisterChannelType(host *plugins.Host, t ChannelType) error {
	switch {
	case !isTypeName(t.Type):
		return fmt.Errorf("register channel type %q: expected 1 to 40 lower case letters, digits and dashes, the first a letter", t.Type)
	case t.Name == "" || t.Open == nil || !json.Valid(t.Schema):
		return fmt.Errorf("register channel type %s: it needs a name, a schema and a function to open configurations", t.Type)
	}
	live := &liveType{ChannelType: t}
	live.ctx, live.end = context.WithCancelCause(context.Background())
	host.OnClose(live.close) // after it is taken out of the registry
	if err := n.types.add("Channel type", t.Type, host, live, func() error { return nil }); err != nil {
		return fmt.Errorf("register a channel type: %w", err)
	}
	n.wake()
	return nil
}

func isTypeName(s string) bool {
	return s != "" && len(s) <= 40 && s[0] >= 'a' && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// liveType is a channel type with what is under way of it.
type liveType struct {
	ChannelType
	ctx context.Context // ends when the type is taken back
	end context.CancelCauseFunc

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup // added to under mu, and only before it is closed
}

var errTypeGone = errors.New("the plugin of the channel's type was taken out")

// do runs f for the type, and makes an error of a panic. The context of f ends when the type is taken back, and f is waited for then.
func (t *liveType) do(ctx context.Context, f func(context.Context) error) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return errTypeGone
	}
	t.work.Add(1)
	t.mu.Unlock()
	defer t.work.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.ctx, func() { cancel(errTypeGone) })()
	err := plugins.Protect(func() error { return f(ctx) })
	if t.ctx.Err() != nil && err != nil {
		return errTypeGone
	}
	return err
}

// close ends what is under way, and waits for it.
func (t *liveType) close(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.end(errTypeGone)
	done := make(chan struct{})
	go func() {
		t.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("messages of channel type %s are still on their way: %w", t.Type, context.Cause(ctx))
	}
}

// open has a type understand a configuration.
func (t *liveType) open(ctx context.Context, config json.RawMessage) (s Sender, err error) {
	err = t.do(ctx, func(context.Context) (err error) {
		s, err = t.Open(config)
		return err
	})
	return s, err
}

// ChannelTypeView is a channel type as the API shows it.
type ChannelTypeView struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Schema      json.RawMessage `json:"schema"`
}

// ChannelTypes returns the channel types of this server, by type.
func (n *Notifier) ChannelTypes() []ChannelTypeView {
	all := []ChannelTypeView{}
	for _, t := range n.types.all() {
		all = append(all, ChannelTypeView{t.Type, t.Name, t.Description, t.Schema})
	}
	slices.SortFunc(all, func(a, b ChannelTypeView) int { return strings.Compare(a.Type, b.Type) })
	return all
}

// typeNames lists the channel types of this server.
func (n *Notifier) typeNames() []string {
	names := []string{}
	for _, t := range n.ChannelTypes() {
		names = append(names, t.Type)
	}
	return names
}

func (n *Notifier) listChannelTypes(*http.Request, plugins.None) (plugins.List[ChannelTypeView], error) {
	all := n.ChannelTypes()
	return plugins.List[ChannelTypeView]{Items: all, Total: len(all)}, nil
}
