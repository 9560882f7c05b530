package plugins_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"checkstack/plugins"
)

// The keys of the tests, 00 01 … 1f and its mirror, and the second one in all its forms.
const (
	keyUp   = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	keyDown = "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0efeeedecebeae9e8e7e6e5e4e3e2e1e0"

	keyDownBase64 = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA="
	keyDownURL    = "__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA"
)

func secrets(t testing.TB, key, previous string) *plugins.Secrets {
	t.Helper()
	s, err := plugins.NewSecrets(key, previous)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func seal(t testing.TB, s *plugins.Secrets, context, plain string) string {
	t.Helper()
	sealed, err := s.Seal(context, plain)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestWhatWasSealedOpensInItsContextAndInNoOther(t *testing.T) {
	s := secrets(t, keyUp, "")
	for _, plain := range []string{"", "p", "pässword\x00\xff", strings.Repeat("long", 100_000)} {
		sealed := seal(t, s, "x/header/1", plain)
		if again := seal(t, s, "x/header/1", plain); again == sealed {
			t.Error("a value is sealed the same way twice")
		}
		if !strings.HasPrefix(sealed, "v1.630dcd29.") || plain != "" && strings.Contains(sealed, plain) && len(plain) > 1 {
			t.Errorf("sealed as %.60s", sealed)
		}
		if got, err := s.Open("x/header/1", sealed); got != plain || err != nil {
			t.Errorf("opened as %.60q, %v", got, err)
		}
		for _, context := range []string{"", "x/header/2", "x/header/1\x00", "X/header/1", "v1.x/header/1"} {
			if got, err := s.Open(context, sealed); got != "" || !errors.Is(err, plugins.ErrDamaged) {
				t.Errorf("opened in the context %q: %.60q, %v", context, got, err)
			}
		}
	}
}

// These must open as long as there are servers that have stored such values.
const (
	sealedOnce   = "v1.630dcd29.dHdlbHZlIGJ5dGVzwvCNigEoiDAGscHBcUdsTX8621tiFIA" // with keyUp
	sealedBefore = "v1.1865c008.dHdlbHZlIGJ5dGVz8An76q4ZeIjC0U-EXNVgbq5S98jhdt0" // with keyDown
)

func TestTheSealedFormIsTheOneThatIsDocumented(t *testing.T) {
	key, _ := hex.DecodeString(keyUp)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := []byte("twelve bytes")
	known := "v1.630dcd29." + base64.RawURLEncoding.EncodeToString(gcm.Seal(nonce, nonce, []byte("hunter2"), []byte("v1.x/password")))
	if known != sealedOnce {
		t.Errorf("the form has changed: %s", known)
	}
	s := secrets(t, keyDown, keyUp)
	if got, err := s.Open("x/password", sealedOnce); got != "hunter2" || err != nil {
		t.Errorf("opened as %q, %v", got, err)
	}
}

func TestAnythingButWhatWasSealedIsRefused(t *testing.T) {
	s := secrets(t, keyUp, keyDown)
	sealed := seal(t, s, "c", "hunter2")
	for i := range len(sealed) {
		for bit := range 8 {
			b := []byte(sealed)
			b[i] ^= 1 << bit
			got, err := s.Open("c", string(b))
			if got != "" || !errors.Is(err, plugins.ErrDamaged) && !errors.Is(err, plugins.ErrNoKey) {
				t.Fatalf("byte %d, bit %d: %q opened as %q, %v", i, bit, b, got, err)
			}
		}
	}
	for i := range len(sealed) {
		for _, other := range []string{sealed[:i], sealed[i+1:], sealed[:i] + sealed[i+1:], sealed[:i] + "\n" + sealed[i:], sealed[:i] + "A" + sealed[i:], sealed[:i] + "=" + sealed[i:]} {
			if got, err := s.Open("c", other); got != "" || err == nil {
				t.Fatalf("%q opened as %q", other, got)
			}
		}
	}
	for _, other := range []string{"", "hunter2", "v1", "v1.", "v1..", "v1.630dcd29", "v1.630dcd29.", sealed + ".", sealed + "=", sealed + "\n", "v2" + sealed[2:],
		strings.ToUpper(sealed), strings.Replace(sealed, "630dcd29", "630DCD29", 1), strings.Replace(sealed, "630dcd29", "630dcd2", 1)} {
		got, err := s.Open("c", other)
		if got != "" || !errors.Is(err, plugins.ErrDamaged) || errors.Is(err, plugins.ErrNoKey) {
			t.Errorf("%q: %q, %v", other, got, err)
		}
		if s.Stale(other) {
			t.Errorf("%q is to be sealed anew", other)
		}
	}
}

func TestAPreviousKeyOpensAndWhatItSealedIsToBeSealedAnew(t *testing.T) {
	before := secrets(t, keyDown, "")
	sealed := seal(t, before, "c", "hunter2")
	if before.Stale(sealed) {
		t.Error("it is to be sealed anew before there is another key")
	}

	during := secrets(t, keyUp, keyDown)
	if !during.Stale(sealed) {
		t.Error("it is not to be sealed anew")
	}
	plain, err := during.Open("c", sealed)
	if plain != "hunter2" || err != nil {
		t.Fatalf("opened as %q, %v", plain, err)
	}
	anew := seal(t, during, "c", plain)
	if during.Stale(anew) {
		t.Error("it is to be sealed anew once more")
	}

	after := secrets(t, keyUp, "")
	if plain, err := after.Open("c", anew); plain != "hunter2" || err != nil {
		t.Errorf("opened as %q, %v", plain, err)
	}
	const want = "open a secret: it was sealed with a key that this server does not have, 1865c008: expected it as CHECKSTACK_MASTER_KEY or CHECKSTACK_MASTER_KEY_PREVIOUS"
	if plain, err := after.Open("c", sealed); plain != "" || !errors.Is(err, plugins.ErrNoKey) || errors.Is(err, plugins.ErrDamaged) || err.Error() != want {
		t.Errorf("opened as %q, %v", plain, err)
	}
	if !after.Stale(sealed) {
		t.Error("what no key opens any more is not stale")
	}
	// A value whose key ID was changed is not opened with the key that it names.
	if plain, err := during.Open("c", strings.Replace(sealed, "1865c008", "630dcd29", 1)); plain != "" || !errors.Is(err, plugins.ErrDamaged) {
		t.Errorf("opened as %q, %v", plain, err)
	}
}

func TestWithoutAKeyNothingIsSealed(t *testing.T) {
	known := seal(t, secrets(t, keyUp, ""), "c", "hunter2")
	for name, s := range map[string]*plugins.Secrets{"nil": nil, "zero": {}, "none": secrets(t, "", ""), "previous": secrets(t, "", keyUp)} {
		if s.Ready() || s.Stale(known) {
			t.Errorf("%s: ready %t, stale %t", name, s.Ready(), s.Stale(known))
		}
		sealed, err := s.Seal("c", "hunter2")
		e, ok := errors.AsType[*plugins.Error](err)
		if sealed != "" || !ok || e.Status != http.StatusConflict || !strings.Contains(e.Message, "set CHECKSTACK_MASTER_KEY") {
			t.Errorf("%s: %q, %v", name, sealed, err)
		}
		plain, err := s.Open("c", known)
		if name == "previous" {
			if plain != "hunter2" || err != nil {
				t.Errorf("%s: opened as %q, %v", name, plain, err)
			}
		} else if plain != "" || !errors.Is(err, plugins.ErrNoKey) {
			t.Errorf("%s: opened as %q, %v", name, plain, err)
		}
	}
	if !secrets(t, keyUp, "").Ready() {
		t.Error("not ready with a key")
	}
}

func TestAKeyIsReadInHexAndInBase64(t *testing.T) {
	sealed := seal(t, secrets(t, keyDown, ""), "c", "hunter2")
	for _, key := range []string{keyDown, strings.ToUpper(keyDown), keyDownBase64, strings.TrimSuffix(keyDownBase64, "="), keyDownURL, keyDownURL + "="} {
		if got, err := secrets(t, key, "").Open("c", sealed); got != "hunter2" || err != nil {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	const expected = ": expected 32 bytes as 64 hexadecimal digits or in base64, as from openssl rand -hex 32"
	for _, key := range []string{"x", keyUp[1:], keyUp[2:], keyUp + "00", keyUp + "\n", " " + keyUp[1:], "g" + keyUp[1:], keyDownBase64[1:], keyDownBase64 + "=",
		"-" + keyDownBase64[1:], keyDownURL[:42] + "B", "\n" + keyDownURL, keyDownURL + "\n", strings.Repeat("A", 44), strings.Repeat("A", 100)} {
		for variable, try := range map[string]func() (*plugins.Secrets, error){
			"CHECKSTACK_MASTER_KEY":          func() (*plugins.Secrets, error) { return plugins.NewSecrets(key, "") },
			"CHECKSTACK_MASTER_KEY_PREVIOUS": func() (*plugins.Secrets, error) { return plugins.NewSecrets(keyUp, key) },
		} {
			s, err := try()
			if s != nil || err == nil || err.Error() != "the variable "+variable+" is not usable"+expected {
				t.Errorf("%q: %v, %v", key, s, err)
			}
		}
	}
	s, err := plugins.NewSecrets(keyDown, keyDownURL)
	if s != nil || err == nil || err.Error() != "the variable CHECKSTACK_MASTER_KEY_PREVIOUS is not usable: expected another key than the current one" {
		t.Errorf("%v, %v", s, err)
	}
}

func TestNothingThatPrintsSecretsShowsAKey(t *testing.T) {
	var log bytes.Buffer
	for want, s := range map[string]*plugins.Secrets{
		"secrets without a key":                                       nil,
		"secrets with the key 630dcd29":                               secrets(t, keyUp, ""),
		"secrets with the previous key 1865c008":                      secrets(t, "", keyDown),
		"secrets with the key 630dcd29 and the previous key 1865c008": secrets(t, keyUp, keyDown),
	} {
		log.Reset()
		slog.New(slog.NewTextHandler(&log, nil)).Info("here", "secrets", s)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("here", "secrets", s, "inside", struct{ S *plugins.Secrets }{s})
		encoded, err := json.Marshal(s)
		if err != nil || s != nil && string(encoded) != `"`+want+`"` {
			t.Errorf("as JSON: %s, %v", encoded, err)
		}
		host := plugins.Host{Secrets: s}
		printed := []string{log.String(), string(encoded), fmt.Sprintf("%v %+v", host, &host)}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			got := fmt.Sprintf(verb, s)
			if strings.Trim(got, `"`) != want {
				t.Errorf("%s: %s, want %s", verb, got, want)
			}
			printed = append(printed, got)
		}
		if s != nil {
			for _, verb := range []string{"%v", "%+v", "%#v", "%d", "%x", "%X", "%s"} {
				printed = append(printed, fmt.Sprintf(verb, *s), fmt.Sprintf(verb, s), fmt.Sprintf(verb, []*plugins.Secrets{s}))
			}
		}
		text := strings.ToLower(strings.Join(printed, "\n"))
		for _, shown := range []string{"00010203", "0001020304", "0 1 2 3", "fffefdfc", "255 254 253", "//79/", "aaecaw"} {
			if strings.Contains(text, shown) {
				t.Errorf("%s is shown in\n%s", shown, text)
			}
		}
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log says\n%s", &log)
		}
	}
}

func TestSecretsAreSealedAndOpenedAtTheSameTime(t *testing.T) {
	s := secrets(t, keyUp, keyDown)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 100 {
				plain := fmt.Sprint(i, n)
				if got, err := s.Open("c", seal(t, s, "c", plain)); got != plain || err != nil {
					t.Errorf("%q opened as %q, %v", plain, got, err)
				}
			}
		})
	}
	all.Wait()
}

func FuzzOpen(f *testing.F) {
	s := secrets(f, keyUp, keyDown)
	const context, plain = "x/password", "hunter2"
	for _, value := range []string{sealedOnce, sealedBefore} {
		f.Add(context, value)
		f.Add("", value)
		f.Add(context, value[:len(value)-1])
		f.Add(context, value+"\r\n")
	}
	for _, value := range []string{"", "v1.", "v1.630dcd29.", "v1.00000000.AAAA", "v1.630dcd29." + strings.Repeat("A", 38), "v2.630dcd29.x", "v1.630dcd29.x.y"} {
		f.Add(context, value)
	}
	f.Fuzz(func(t *testing.T, in, value string) {
		got, err := s.Open(in, value)
		stale := s.Stale(value)
		switch {
		case err == nil && (got != plain || in != context || value != sealedOnce && value != sealedBefore):
			t.Fatalf("%q opened in the context %q as %q", value, in, got)
		case err != nil && (got != "" || errors.Is(err, plugins.ErrNoKey) == errors.Is(err, plugins.ErrDamaged)):
			t.Fatalf("%q: %q, %v", value, got, err)
		case errors.Is(err, plugins.ErrNoKey) && !stale:
			t.Fatalf("%q has another key and is not stale", value)
		}
	})
}
