// Package webhook tells programs what happened: a channel type that posts each message as JSON to an address. It requires
// notification, to which it contributes the type, and healthcheck, whose rules for what this server may connect to it keeps.
//
// A receiver can tell by the signature that a message is from here and new, as Standard Webhooks has it (standardwebhooks.com,
// version 1.0.0): three headers, of which the last is an HMAC-SHA256 of the other two and the body.
//
//	webhook-id: 5b2f…                   the same at every try: who has it already has been told
//	webhook-timestamp: 1767225600       seconds since 1970, of this try
//	webhook-signature: v1,K5oZ…         base64 of HMAC(secret, id + "." + timestamp + "." + body)
//
// The first hard case is what an answer means. Whoever says that the message itself is wrong (400, 413, 422) will say so again, and the
// messages behind it should not wait for that; anything else but 2xx may be over in a minute.
//
// The second is what may be told of a failure. The address, a header and the secret may each be as good as a password, viewers see why a
// channel fails, and a receiver may send back what it was sent. So nothing is quoted, neither an answer nor an error of the network.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/notification"
)

// Webhook is the plugin.
type Webhook struct {
	host      *plugins.Host
	notify    *notification.Notifier
	checks    *healthcheck.Healthcheck
	transport *http.Transport
}

// New builds the plugin.
func New(host *plugins.Host, notify *notification.Notifier, checks *healthcheck.Healthcheck) *Webhook {
	return &Webhook{host: host, notify: notify, checks: checks, transport: newTransport(checks.Policy().DialContext)}
}

// Plugin describes the plugin to the server.
func (p *Webhook) Plugin() plugins.Instance {
	return plugins.Instance{Init: p.init}
}

//go:embed schema.json
var schema []byte

func (p *Webhook) init(context.Context) error {
	t := Type()
	return p.notify.RegisterChannelType(p.host, notification.ChannelType{
		Type: t.Type, Name: t.Name, Description: t.Description, Schema: t.Schema, Open: p.open,
	})
}

// Type describes the channel type to those who have no server to ask.
func Type() notification.ChannelTypeView {
	return notification.ChannelTypeView{
		Type: "webhook", Name: "Webhook", Description: "Posts each message as JSON to an address", Schema: schema,
	}
}

// config is the configuration of a channel.
type config struct {
	URL     string             `json:"url"`
	Format  string             `json:"format"` // message or text
	Token   string             `json:"token"`  // sent as a bearer token (RFC 6750)
	Headers map[string]*string `json:"headers"`
	Secret  string             `json:"secret"` // whsec_ and the key in base64; empty: messages are not signed
}

var fields = []string{"url", "format", "token", "headers", "secret"}

const (
	maxURL     = 2000
	maxHeaders = 20
	maxName    = 100  // characters of the name of a header
	maxValue   = 4000 // characters of a header or a token

	answerPatience = time.Second // for the body of an answer

	secretForm = "whsec_"
)

// endpoint is a configuration that was understood.
type endpoint struct {
	transport *http.Transport
	url       *url.URL
	header    http.Header
	text      bool   // whether it gets a text for people
	key       []byte // nil: messages are not signed
}

func (p *Webhook) open(data json.RawMessage) (notification.Sender, error) {
	data, err := p.checks.ExpandVariables(data)
	if err != nil {
		return nil, err
	}
	if err := exactly(data); err != nil {
		return nil, err
	}
	c := config{Format: "message"}
	if err := plugins.Decode(data, &c); err != nil {
		return nil, err
	}
	e := &endpoint{transport: p.transport, header: http.Header{"Content-Type": {"application/json"}, "User-Agent": {"Checkstack"}}}
	if e.url, err = address(c.URL); err != nil {
		return nil, err
	}
	switch c.Format {
	case "message":
	case "text":
		e.text = true
	default:
		return nil, plugins.Invalid("format", "expected message or text")
	}
	if err := e.headers(c); err != nil {
		return nil, err
	}
	if err := e.authorization(c); err != nil {
		return nil, err
	}
	if c.Secret != "" {
		encoded, ok := strings.CutPrefix(c.Secret, secretForm)
		e.key, err = base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || strings.ContainsAny(encoded, "\r\n") || len(e.key) < 24 || len(e.key) > 64 {
			return nil, plugins.Invalid("secret", "expected %s and 24 to 64 bytes in base64", secretForm)
		}
	}
	return e, nil
}

// exactly refuses what encoding/json lets through: a field whose name differs in case, and one that is null. What is no object is left
// for [plugins.Decode] to refuse.
func exactly(data json.RawMessage) error {
	var given map[string]json.RawMessage
	_ = json.Unmarshal(data, &given)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		known := slices.ContainsFunc(fields, func(f string) bool { return strings.EqualFold(f, name) })
		switch {
		case known && !slices.Contains(fields, name):
			return plugins.Invalid(name, "there is no such field")
		case known && string(given[name]) == "null":
			return plugins.Invalid(name, "expected a value, not null")
		}
	}
	return nil
}

// address reads the address of an endpoint. What is wrong with it is told without it.
func address(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return nil, plugins.Invalid("url", "expected this field, an address such as https://example.org/hook")
	case len(s) > maxURL:
		return nil, plugins.Invalid("url", "expected at most %d bytes, not %d", maxURL, len(s))
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || !isHost(u.Hostname()) || u.Fragment != "":
		return nil, plugins.Invalid("url", "expected an address that begins with http:// or https:// and has a host")
	case strings.ContainsFunc(u.RawQuery, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, plugins.Invalid("url", "expected a query of visible ASCII characters; others are written as %%20")
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, plugins.Invalid("url", "expected a port from 1 to 65535")
		}
	}
	return u, nil
}

// isHost reports whether a text is an IP address, or has what a name has, in any script: it is shown as the destination.
func isHost(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		if s = addr.Zone(); s == "" {
			return true
		}
	}
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("-._", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	})
}

// ownHeaders are those that a configuration cannot set.
var ownHeaders = []string{"Connection", "Content-Length", "Content-Type", "Host", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Webhook-Id", "Webhook-Signature", "Webhook-Timestamp"}

// headers sets the headers of a configuration.
func (e *endpoint) headers(c config) error {
	if len(c.Headers) > maxHeaders {
		return plugins.Invalid("headers", "expected at most %d, not %d", maxHeaders, len(c.Headers))
	}
	seen := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		value, canonical := c.Headers[name], textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !isToken(name):
			return plugins.Invalid("headers", "expected names of 1 to %d letters, digits and dashes", maxName)
		case slices.Contains(ownHeaders, canonical):
			return plugins.Invalid("headers."+name, "expected no header that the channel sets itself")
		case seen[canonical]:
			return plugins.Invalid("headers."+name, "expected each header once; case does not distinguish them")
		case value == nil || !isValue(*value):
			return plugins.Invalid("headers."+name, "expected a text of at most %d visible ASCII characters", maxValue)
		}
		seen[canonical] = true
		e.header.Set(name, *value)
	}
	return nil
}

// authorization sets the header that says who the channel is: a token, a header of the configuration, or the user of the address.
func (e *endpoint) authorization(c config) error {
	_, configured := e.header["Authorization"]
	user := e.url.User
	switch {
	case c.Token != "" && configured:
		return plugins.Invalid("token", "expected a token or the header Authorization, and not both")
	case !isValue(c.Token):
		return plugins.Invalid("token", "expected a text of at most %d visible ASCII characters", maxValue)
	case user != nil && (c.Token != "" || configured):
		return plugins.Invalid("url", "expected no user beside a token or the header Authorization")
	case c.Token != "":
		e.header.Set("Authorization", "Bearer "+c.Token)
	case user != nil:
		password, _ := user.Password()
		(&http.Request{Header: e.header}).SetBasicAuth(user.Username(), password)
	}
	return nil
}

// isToken reports whether a text is the name of a header (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// isValue reports whether a text can be the value of a header: visible ASCII, spaces and tabs.
func isValue(s string) bool {
	return len(s) <= maxValue && strings.TrimSpace(s) == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') })
}

// Destination is the scheme and the host: the path may be as good as a password.
func (e *endpoint) Destination() string { return e.url.Scheme + "://" + e.url.Host }

// Send posts a message. Its errors say nothing of the address but the host.
func (e *endpoint) Send(ctx context.Context, m notification.Message) error {
	body, err := e.body(m)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the address is not one that can be posted to")
	}
	r.Header = e.header.Clone()
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Webhook-Id", m.ID)
	r.Header.Set("Webhook-Timestamp", stamp)
	if e.key != nil {
		r.Header.Set("Webhook-Signature", "v1,"+sign(e.key, m.ID, stamp, body))
	}
	res, err := e.transport.RoundTrip(r) // no client, which looks at redirects and quotes them
	if err != nil {
		e.transport.CloseIdleConnections() // also one that is still being made, which would go on for the next message
		return fmt.Errorf("post to %s: %w", e.url.Hostname(), reason(ctx, err))
	}
	defer res.Body.Close()
	// Nothing of the body is needed, but a receiver may stop what it does when the connection ends before its answer.
	defer time.AfterFunc(answerPatience, func() { res.Body.Close() }).Stop()
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer)
	return verdict(res.StatusCode)
}

// reason says in a few words why there was no answer, as checks do: without addresses, and without what the receiver sent, which may
// be what it was sent.
func reason(ctx context.Context, err error) error {
	out := healthcheck.Failed(ctx, err, healthcheck.Measured{})
	if out.Fault != nil {
		return out.Fault
	}
	return errors.New(out.Message)
}

// verdict says what an answer means.
func verdict(status int) error {
	said := strings.TrimSpace(fmt.Sprintf("the receiver answered %d %s", status, http.StatusText(status)))
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return errors.New(said + ", and redirects are not followed")
	case status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge || status == http.StatusUnprocessableEntity:
		return &notification.Refused{Reason: said}
	}
	return errors.New(said)
}

// sign returns the signature of a message.
func sign(key []byte, id, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// marks stand before what people read.
var marks = map[notification.Severity]string{
	notification.Critical: "🔴", notification.Warning: "🟠", notification.Info: "🔵", notification.Recovered: "🟢",
}

// body is what is posted.
func (e *endpoint) body(m notification.Message) ([]byte, error) {
	if !e.text {
		return json.Marshal(m)
	}
	text := marks[m.Severity] + " "
	if m.Resource.Name != "" {
		text += m.Resource.Name + ": "
	}
	text += m.Title
	if m.Message != "" {
		text += "\n" + m.Message
	}
	return json.Marshal(map[string]string{"text": text})
}
