package plugins

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
)

// Secrets seals what has to be stored and must not be read where it is stored, such as the password of a mail server: whoever
// has a dump of the database has the sealed form and not the key. It is AES-256-GCM with a random nonce of 96 bits, which
// is safe for 2³² values a key (NIST SP 800-38D, 8.3), and looks like this, where the second part tells one key from another:
//
//	v1.<8 hexadecimal digits of the key's SHA-256>.<base64url of nonce, ciphertext and tag>
//
// Whoever can write to the database could still move a sealed value to where it is sent to them: the password of one
// check into the header of another. So each is sealed for a context, which names the place: begin it with the plugin
// and what it is, and end it with whose it is, "healthcheck/header/<id of the configuration>". It opens in no other context.
//
// There may be a previous key. It opens what it sealed, and a plugin seals that anew when it boots:
//
//	if host.Secrets.Stale(sealed) {
//		plain, err := host.Secrets.Open(context, sealed)
//		…
//		sealed, err = host.Secrets.Seal(context, plain)
//
// A nil *Secrets is one without keys. Its methods may be called at the same time, and nothing that prints one shows a key.
type Secrets struct {
	current, previous *sealer // nil: there is none
}

// sealer is one key.
type sealer struct {
	id   string
	aead cipher.AEAD
}

// ErrNoKey is why a value does not open that was sealed with a key that is not here.
var ErrNoKey = errors.New("it was sealed with a key that this server does not have")

// ErrDamaged is why a value does not open that is not as it was sealed, or was sealed in another context.
var ErrDamaged = errors.New("it is damaged, or was sealed for another place")

const (
	sealedForm = "v1"

	masterKey         = "CHECKSTACK_MASTER_KEY"
	previousMasterKey = "CHECKSTACK_MASTER_KEY_PREVIOUS"
)

// NewSecrets returns secrets that are sealed with a key, and opened with that one or the previous one. Each is empty, or 32
// bytes as 64 hexadecimal digits or in base64; they must differ. An error names the variable of the environment that is
// wrong, and shows nothing of what it says.
func NewSecrets(key, previous string) (*Secrets, error) {
	var s Secrets
	var err error
	if s.current, err = newSealer(key); err != nil {
		return nil, fmt.Errorf("the variable %s is not usable: %w", masterKey, err)
	}
	if s.previous, err = newSealer(previous); err != nil {
		return nil, fmt.Errorf("the variable %s is not usable: %w", previousMasterKey, err)
	}
	if s.current != nil && s.previous != nil && s.current.id == s.previous.id {
		return nil, fmt.Errorf("the variable %s is not usable: expected another key than the current one", previousMasterKey)
	}
	return &s, nil
}

// newSealer returns nil for an empty key.
func newSealer(text string) (*sealer, error) {
	if text == "" {
		return nil, nil
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(key)
	return &sealer{hex.EncodeToString(sum[:4]), aead}, nil
}

const keySize = 32

// parseKey reads a key. Its error says nothing of the text, which may be most of a key.
func parseKey(text string) ([]byte, error) {
	expected := fmt.Errorf("expected %d bytes as %d hexadecimal digits or in base64, as from openssl rand -hex %d", keySize, 2*keySize, keySize)
	decode := base64.RawStdEncoding.Strict().DecodeString
	digits := strings.TrimSuffix(text, "=")
	switch {
	case len(text) == hex.EncodedLen(keySize):
		decode, digits = hex.DecodeString, text
	case len(digits) != base64.RawStdEncoding.EncodedLen(keySize):
		return nil, expected
	case strings.ContainsAny(digits, "-_"):
		decode = base64.RawURLEncoding.Strict().DecodeString
	}
	key, err := decode(digits)
	if err != nil || len(key) != keySize { // fewer where there are line breaks, which base64 skips
		return nil, expected
	}
	return key, nil
}

// Ready reports whether there is a key to seal with.
func (s *Secrets) Ready() bool { return s != nil && s.current != nil }

// Seal returns the sealed form of a text, another one each time. Without a key it returns an [Error] with the status 409.
func (s *Secrets) Seal(context, plain string) (string, error) {
	if !s.Ready() {
		return "", &Error{Status: http.StatusConflict, Title: "No master key",
			Message: "a secret cannot be kept without a key to seal it with; set " + masterKey + " and restart the server"}
	}
	box := s.current.aead.Seal(nil, nil, []byte(plain), additional(context))
	return sealedForm + "." + s.current.id + "." + base64.RawURLEncoding.EncodeToString(box), nil
}

// Open returns the text that was sealed in a context. Its error is [ErrNoKey] or [ErrDamaged], and shows nothing of it.
func (s *Secrets) Open(context, sealed string) (string, error) {
	id, body, ok := parts(sealed)
	if !ok {
		return "", fmt.Errorf("open a secret: %w", ErrDamaged)
	}
	key := s.key(id)
	if key == nil {
		return "", fmt.Errorf("open a secret: %w, %s: expected it as %s or %s", ErrNoKey, id, masterKey, previousMasterKey)
	}
	box, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || strings.ContainsAny(body, "\r\n") { // which it would skip
		return "", fmt.Errorf("open a secret: %w", ErrDamaged)
	}
	plain, err := key.aead.Open(nil, nil, box, additional(context))
	if err != nil {
		return "", fmt.Errorf("open a secret: %w", ErrDamaged)
	}
	return string(plain), nil
}

// Stale reports whether a value was sealed with another key than the current one, so that it is to be opened and sealed anew.
// Without a current key, and for what is no sealed value, that is not so.
func (s *Secrets) Stale(sealed string) bool {
	id, _, ok := parts(sealed)
	return ok && s.Ready() && id != s.current.id
}

// key returns the key with an ID, or nil.
func (s *Secrets) key(id string) *sealer {
	if s == nil {
		return nil
	}
	for _, k := range []*sealer{s.current, s.previous} {
		if k != nil && k.id == id {
			return k
		}
	}
	return nil
}

// parts takes a sealed value apart.
func parts(sealed string) (id, body string, ok bool) {
	rest, ok := strings.CutPrefix(sealed, sealedForm+".")
	if !ok {
		return "", "", false
	}
	id, body, ok = strings.Cut(rest, ".")
	return id, body, ok && len(id) == 8 && strings.Trim(id, "0123456789abcdef") == ""
}

// additional is the additional data of a context. It has the form in it, so that a later form cannot be taken for this one.
func additional(context string) []byte { return []byte(sealedForm + "." + context) }

// String says which keys there are, and nothing of them but their IDs.
func (s *Secrets) String() string {
	switch {
	case s == nil || s.current == nil && s.previous == nil:
		return "secrets without a key"
	case s.previous == nil:
		return "secrets with the key " + s.current.id
	case s.current == nil:
		return "secrets with the previous key " + s.previous.id
	}
	return "secrets with the key " + s.current.id + " and the previous key " + s.previous.id
}

// GoString is String.
func (s *Secrets) GoString() string { return s.String() }

// MarshalJSON is String, as JSON.
func (s *Secrets) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// LogValue is String.
func (s *Secrets) LogValue() slog.Value { return slog.StringValue(s.String()) }
