package notification

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"checkstack/plugins"
)

func TestAChannelTypeNeedsANameOfItsOwnAndAllItsParts(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	whole := (&post{}).channelType()
	host := &plugins.Host{ID: "other", Log: s.host.Log}
	lease := plugins.Lend(t.Context(), host, func(err error) { t.Error(err) })
	const name = ": expected 1 to 40 lower case letters, digits and dashes, the first a letter"
	const parts = ": it needs a name, a schema and a function to open configurations"
	for _, test := range []struct {
		change func(*ChannelType)
		want   string
	}{
		{func(c *ChannelType) { c.Type = "" }, `register channel type ""` + name},
		{func(c *ChannelType) { c.Type = "2fast" }, `register channel type "2fast"` + name},
		{func(c *ChannelType) { c.Type = "-x" }, `register channel type "-x"` + name},
		{func(c *ChannelType) { c.Type = "Mail" }, `register channel type "Mail"` + name},
		{func(c *ChannelType) { c.Type = "m\u00fcll" }, `register channel type "müll"` + name},
		{func(c *ChannelType) { c.Type = strings.Repeat("x", 41) }, `register channel type "` + strings.Repeat("x", 41) + `"` + name},
		{func(c *ChannelType) { c.Name = "" }, "register channel type post" + parts},
		{func(c *ChannelType) { c.Open = nil }, "register channel type post" + parts},
		{func(c *ChannelType) { c.Schema = nil }, "register channel type post" + parts},
		{func(c *ChannelType) { c.Schema = json.RawMessage("{") }, "register channel type post" + parts},
		{func(*ChannelType) {}, "register a channel type: Channel type post is already registered by plugin mail, so plugin other cannot register it"},
	} {
		c := whole
		test.change(&c)
		if err := s.RegisterChannelType(host, c); err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
	for _, typ := range []string{"z", "a-1" + strings.Repeat("x", 37)} {
		c := whole
		c.Type = typ
		if err := s.RegisterChannelType(host, c); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
	equal(t, "types", s.typeNames(), []string{"a-1" + strings.Repeat("x", 37), "post", "z"})
	if err := lease.Undo(t.Context()); err != nil {
		t.Error(err)
	}
	equal(t, "types", s.typeNames(), []string{"post"})
}

// A type that is taken back is called no more, whoever still has it.
func TestATypeThatIsTakenBackIsNotCalled(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	live, ok := s.types.find("post")
	if !ok {
		t.Fatal("there is no such type")
	}
	if err := s.post.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sender, err := live.open(t.Context(), json.RawMessage(`{"to":"A"}`)); sender != nil || !errors.Is(err, errTypeGone) {
		t.Errorf("opened %v, %v", sender, err)
	}
	if err := s.RegisterChannelType(&plugins.Host{ID: "mail"}, ChannelType{Type: "post", Name: "Post"}); err == nil {
		t.Error("a type without its parts is registered")
	}
}
