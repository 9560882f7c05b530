// Secrets of configurations: stored sealed, shown masked, and kept where a caller sends the mask back.
//
//	given    {"url": "…", "headers": {"Authorization": "Bearer 123"}}
//	stored   {"url": "…", "headers": {"Authorization": {"sealed": "v1…"}}}     SealSecrets, and OpenSecrets back
//	shown    {"url": "…", "headers": {"Authorization": "********"}}            MaskSecrets
//	updated  {"url": "…", "headers": {"Authorization": "********"}}            KeepSecrets, which makes it what was given
//
// What is secret is told by names, so that a check type has nothing to do. A text that is empty is none, and neither is one of nothing
// but placeholders: whoever may see the configuration has to see where its secret comes from.
//
// The hard case is a map in which a secret is itself called sealed. Its plain form {"sealed": "x"} looks like the stored form of another,
// so what is plain and what is stored are never guessed: each function says which one it takes.

package engine

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"checkstack/plugins"
)

// Mask stands for a secret that is not shown.
const Mask = "********"

// Sealer seals texts. What was sealed for one context cannot be opened in another.
type Sealer interface {
	Seal(context, plain string) (sealed string, err error) // never returns an empty text, or one that begins with ${
	Open(context, sealed string) (plain string, err error)
}

// Secret is a secret of a configuration.
type Secret struct {
	Path    string // for people: "headers.Authorization"
	Pointer string // the same without ambiguity (RFC 6901): "/headers/Authorization"
	Value   string // plain or sealed
	Sealed  bool
}

// MapSecrets gives every secret of a stored configuration to f, which returns what is put in its place, or nil to leave it: those
// that are sealed and those that are not yet. All else stays as it is, byte for byte.
func MapSecrets(stored json.RawMessage, f func(Secret) (any, error)) (json.RawMessage, error) {
	return mapSecrets(stored, true, f)
}

// mapSecrets does so of a configuration that is stored, or else of one that is plain.
func mapSecrets(config json.RawMessage, stored bool, f func(Secret) (any, error)) (json.RawMessage, error) {
	return rewrite(config, stored, func(l leaf) (any, error) {
		if l.value == "" || l.at == nil || !l.at.secret || isPlaceholders(l.value) {
			return nil, nil
		}
		return f(Secret{l.at.String(), l.at.pointer(), l.value, l.sealed})
	})
}

// SealSecrets seals the secrets of a plain configuration, for its id and their place in it.
func SealSecrets(plain json.RawMessage, id string, s Sealer) (json.RawMessage, error) {
	return mapSecrets(plain, false, func(secret Secret) (any, error) {
		sealed, err := s.Seal(id+secret.Pointer, secret.Value)
		if err != nil {
			return nil, fmt.Errorf("seal %s: %w", secret.Path, err)
		}
		return map[string]string{"sealed": sealed}, nil
	})
}

// OpenSecrets makes a stored configuration plain.
func OpenSecrets(stored json.RawMessage, id string, s Sealer) (json.RawMessage, error) {
	return mapSecrets(stored, true, func(secret Secret) (any, error) { return open(secret, id, s) })
}

func open(secret Secret, id string, s Sealer) (any, error) {
	if !secret.Sealed {
		return secret.Value, nil
	}
	plain, err := s.Open(id+secret.Pointer, secret.Value)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", secret.Path, err)
	}
	return plain, nil
}

// MaskSecrets makes a stored configuration one that can be shown.
func MaskSecrets(stored json.RawMessage) (json.RawMessage, error) {
	return mapSecrets(stored, true, func(Secret) (any, error) { return Mask, nil })
}

// KeepSecrets makes plain what a caller gives for a configuration that is stored already: where it has the mask, it means the secret
// that is stored there. It is an error that names the field if none is, or if the secret would go elsewhere than it did: who may
// change where a check goes could otherwise have it sent to himself.
func KeepSecrets(given, stored json.RawMessage, id string, s Sealer) (json.RawMessage, error) {
	var kept map[string]Secret
	elsewhere := len(stored) > 0 && destination(given) != destination(stored)
	return mapSecrets(given, false, func(secret Secret) (any, error) {
		if secret.Value != Mask {
			return nil, nil
		}
		if kept == nil {
			var err error
			if kept, err = secretsOf(stored); err != nil {
				return nil, err
			}
		}
		old, ok := kept[secret.Pointer]
		if !ok {
			return nil, plugins.Invalid(secret.Path, "expected the secret itself; none is stored that %s could stand for", Mask)
		}
		if elsewhere {
			return nil, plugins.Invalid(secret.Path, "expected the secret itself, not %s, because the check goes elsewhere now", Mask)
		}
		return open(old, id, s)
	})
}

// destination is where a configuration sends its secrets, by the names that fields have for that: of a URL the scheme and the host,
// of other fields all that they say.
func destination(config json.RawMessage) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(config, &fields) != nil {
		return ""
	}
	var all strings.Builder
	for _, name := range []string{"url", "address", "host", "proxy", "resolver", "command", "args"} {
		where := string(fields[name])
		var text string
		if json.Unmarshal(fields[name], &text) == nil {
			where = text
			if u, err := url.Parse(text); err == nil && u.Host != "" {
				where = u.Scheme + "://" + u.Host
			}
		}
		fmt.Fprintf(&all, "%s %q\n", name, where)
	}
	return all.String()
}

// secretsOf finds the secrets of a stored configuration by their pointers.
func secretsOf(stored json.RawMessage) (map[string]Secret, error) {
	secrets := make(map[string]Secret)
	if len(stored) == 0 {
		return secrets, nil
	}
	_, err := MapSecrets(stored, func(s Secret) (any, error) {
		secrets[s.Pointer] = s
		return nil, nil
	})
	return secrets, err
}

var separators = strings.NewReplacer("-", "", "_", "")

// IsSecret reports whether a field or a header of a configuration holds a secret, by its name: password, token, apiKey,
// Authorization. So a check type, also one of another plugin, has nothing to do for its secrets but to call them so.
// What is secret is stored sealed and never shown. Case, dashes and underscores do not matter.
func IsSecret(name string) bool {
	plain := strings.ToLower(separators.Replace(name))
	switch plain {
	case "key", "cookie", "setcookie", "pass", "pwd", "dsn":
		return true
	}
	for _, word := range []string{"password", "passwd", "passphrase", "secret", "token", "authorization",
		"apikey", "accesskey", "privatekey", "credential", "signature"} {
		if strings.Contains(plain, word) {
			return true
		}
	}
	return false
}
