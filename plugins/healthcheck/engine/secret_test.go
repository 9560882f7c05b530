package engine

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// glass seals so that everybody can look through it.
type glass struct{}

func (glass) Seal(context, plain string) (string, error) {
	return "v1." + base64.RawURLEncoding.EncodeToString([]byte(context+"|"+plain)), nil
}

func (glass) Open(context, sealed string) (string, error) {
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(sealed, "v1."))
	plain, ok := strings.CutPrefix(string(data), context+"|")
	if err != nil || !ok || !strings.HasPrefix(sealed, "v1.") {
		return "", errors.New("it was sealed for something else")
	}
	return plain, nil
}

func TestNamesTellSecrets(t *testing.T) {
	for _, name := range []string{"password", "Password", "db_password", "passwd", "pass", "pwd", "token", "API-Token", "apiKey", "api_key", "X-Api-Key", "accessKey", "key", "Key",
		"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "secret", "clientSecret", "privateKey", "passphrase", "credentials", "X-Hub-Signature", "dsn"} {
		if !IsSecret(name) {
			t.Errorf("%s is no secret", name)
		}
	}
	for _, name := range []string{"", "url", "user", "username", "keyword", "publicName", "author", "authority", "certificate", "host", "cookies2", "compass", "sealed"} {
		if IsSecret(name) {
			t.Errorf("%s is a secret", name)
		}
	}
}

func TestSecretsAreFoundByTheirNamesAtAnyDepth(t *testing.T) {
	const stored = `{"url":"u","headers":{"X.Y":"a","Authorization":"b","x-api-key":{"sealed":"v1.c"}},"tls":{"key":"d","ca":"e"},` +
		`"credentials":{"user":"f","list":["g",{"h":"i"}],"n":1},"token":"","password":"${ENV:P}","secret":"x${ENV:P}","labels":{"sealed":"j"},"a/b~c":{"pwd":"k"}}`
	var got []string
	out, err := MapSecrets(json.RawMessage(stored), func(s Secret) (any, error) {
		sealed := ""
		if s.Sealed {
			sealed = " sealed"
		}
		got = append(got, s.Path+" "+s.Pointer+" "+s.Value+sealed)
		return nil, nil
	})
	want := []string{"headers.Authorization /headers/Authorization b", "headers.x-api-key /headers/x-api-key v1.c sealed", "tls.key /tls/key d", "credentials.user /credentials/user f",
		"credentials.list[0] /credentials/list/0 g", "credentials.list[1].h /credentials/list/1/h i", "secret /secret x${ENV:P}", "a/b~c.pwd /a~1b~0c/pwd k"}
	if err != nil || string(out) != stored || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q\n%v, %s", got, want, err, out)
	}
}

func TestSecretsAreSealedOpenedMaskedAndKept(t *testing.T) {
	const plain = `{"url": "u", "headers":{"Cookie.a":"x","Authorization":"b"}, "token":"","password":"${ENV:P}","credentials":{"sealed":"c","e.f":"1","e":{"f":"2"}},"secret":"d"}`
	stored, err := SealSecrets(json.RawMessage(plain), "id", glass{})
	seal := func(pointer, plain string) string {
		s, _ := glass{}.Seal("id"+pointer, plain)
		return `{"sealed":"` + s + `"}`
	}
	want := `{"url": "u", "headers":{"Cookie.a":"x","Authorization":` + seal("/headers/Authorization", "b") + `}, "token":"","password":"${ENV:P}","credentials":{"sealed":` +
		seal("/credentials/sealed", "c") + `,"e.f":` + seal("/credentials/e.f", "1") + `,"e":{"f":` + seal("/credentials/e/f", "2") + `}},"secret":` + seal("/secret", "d") + `}`
	if err != nil || string(stored) != want {
		t.Fatalf("sealed: got %s, %v\nwant %s", stored, err, want)
	}
	if opened, err := OpenSecrets(stored, "id", glass{}); err != nil || string(opened) != plain {
		t.Errorf("opened: got %s, %v", opened, err)
	}
	shown, err := MaskSecrets(stored)
	const masked = `{"url": "u", "headers":{"Cookie.a":"x","Authorization":"********"}, "token":"","password":"${ENV:P}","credentials":{"sealed":"********","e.f":"********","e":{"f":"********"}},"secret":"********"}`
	if err != nil || string(shown) != masked {
		t.Errorf("shown: got %s, %v", shown, err)
	}
	if kept, err := KeepSecrets(shown, stored, "id", glass{}); err != nil || string(kept) != plain {
		t.Errorf("kept: got %s, %v", kept, err)
	}
	changed := `{"url":"u","secret":"new","headers":{"Authorization":"********","X":"********"}}`
	if kept, err := KeepSecrets(json.RawMessage(changed), stored, "id", glass{}); err != nil || string(kept) != `{"url":"u","secret":"new","headers":{"Authorization":"b","X":"********"}}` {
		t.Errorf("changed: got %s, %v", kept, err)
	}
}

func TestASecretDoesNotGoElsewhereUnseen(t *testing.T) {
	const kept = `"token":"********"`
	for _, test := range []struct {
		stored, given string
		same          bool
	}{
		{`"url":"https://a.example/x"`, `"url":"https://a.example/y?z"`, true},
		{`"url":"https://a.example/x"`, `"url":"https://b.example/x"`, false},
		{`"url":"https://a.example/x"`, `"url":"http://a.example/x"`, false},
		{`"url":"https://a.example/x"`, `"url":"https://a.example:8443/x"`, false},
		{`"url":"https://a.example/x"`, `"url":"https://a.example/x","proxy":"http://b.example"`, false},
		{`"address":"a:1"`, `"address":"a:1","timeout":3`, true},
		{`"address":"a:1"`, `"address":"b:1"`, false},
		{`"command":"a","args":["b"]`, `"command":"a","args":["c"]`, false},
	} {
		stored, err := SealSecrets(json.RawMessage("{"+test.stored+`,"token":"t"}`), "id", glass{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := KeepSecrets(json.RawMessage("{"+test.given+","+kept+"}"), stored, "id", glass{})
		switch {
		case test.same && (err != nil || string(got) != "{"+test.given+`,"token":"t"}`):
			t.Errorf("%s, then %s: got %s, %v", test.stored, test.given, got, err)
		case !test.same && refusal(t, err) != "token: expected the secret itself, not ********, because the check goes elsewhere now":
			t.Errorf("%s, then %s: got %v", test.stored, test.given, err)
		}
	}
}

func TestAMaskThatStandsForNothingIsRefused(t *testing.T) {
	stored, err := SealSecrets(json.RawMessage(`{"headers":{"Authorization":"b"},"token":"","password":"${ENV:P}"}`), "id", glass{})
	if err != nil {
		t.Fatal(err)
	}
	const none = ": expected the secret itself; none is stored that ******** could stand for"
	for given, field := range map[string]string{
		`{"headers":{"Cookie":"********"}}`: "headers.Cookie", `{"headers":{"authorization":"********"}}`: "headers.authorization",
		`{"token":"********"}`: "token", `{"password":"********"}`: "password", `{"tls":{"key":"********"}}`: "tls.key",
	} {
		if _, err := KeepSecrets(json.RawMessage(given), stored, "id", glass{}); refusal(t, err) != field+none {
			t.Errorf("%s: got %v", given, err)
		}
		if _, err := KeepSecrets(json.RawMessage(given), nil, "id", glass{}); refusal(t, err) != field+none {
			t.Errorf("%s of a new one: got %v", given, err)
		}
	}
}

func TestASecretOpensOnlyWhereItWasSealed(t *testing.T) {
	stored, err := SealSecrets(json.RawMessage(`{"token":"a"}`), "id", glass{})
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.Replace(string(stored), "token", "secret", 1)
	for id, config := range map[string]string{"other": string(stored), "id": moved} {
		if got, err := OpenSecrets(json.RawMessage(config), id, glass{}); err == nil || !strings.HasSuffix(err.Error(), ": it was sealed for something else") {
			t.Errorf("%s: got %s, %v", config, got, err)
		}
	}
}

// FuzzSecrets: sealing and opening give back the same value, and so does a mask that is sent back.
func FuzzSecrets(f *testing.F) {
	for _, seed := range []string{``, `{"token":"a"}`, `{"token":{"sealed":"a","b":["c",{"sealed":"x"}]},"x":{"sealed":"y"}}`, `{"a":[{"password":"${x}"}],"key":"********"}`, `{"token":"\ud800"}`, `{"key":{"sealed":{"sealed":"a"}}}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, config string) {
		stored, err := SealSecrets(json.RawMessage(config), "id", glass{})
		if err != nil {
			if json.Valid([]byte(config)) {
				t.Fatal(err)
			}
			return
		}
		opened, err := OpenSecrets(stored, "id", glass{})
		if config == "" {
			config = "{}" // nothing is configured
		}
		if err != nil || !sameJSON(t, opened, []byte(config)) {
			t.Fatalf("%s: opened %s, %v", config, opened, err)
		}
		shown, err := MaskSecrets(stored)
		if err != nil || !json.Valid(shown) {
			t.Fatalf("%s: shown %s, %v", config, shown, err)
		}
		if strings.Contains(config, "\"********\"") || !uniqueFields(t, json.RawMessage(config)) {
			return
		}
		kept, err := KeepSecrets(shown, stored, "id", glass{})
		if err != nil || !sameJSON(t, kept, []byte(config)) {
			t.Fatalf("%s: kept %s, %v", config, kept, err)
		}
	})
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	x, err1 := decodeJSON(a)
	y, err2 := decodeJSON(b)
	return err1 == nil && err2 == nil && reflect.DeepEqual(x, y)
}

// uniqueFields reports whether every text of a value has a place of its own.
func uniqueFields(t *testing.T, data json.RawMessage) bool {
	t.Helper()
	seen, unique := map[string]bool{}, true
	_, err := rewrite(data, false, func(l leaf) (any, error) {
		unique = unique && !seen[l.at.pointer()]
		seen[l.at.pointer()] = true
		return nil, nil
	})
	return err == nil && unique
}

func TestAConfigurationThatIsAbsentIsOneWithoutFields(t *testing.T) {
	for name, f := range map[string]func(json.RawMessage) (json.RawMessage, error){
		"kept":   func(c json.RawMessage) (json.RawMessage, error) { return KeepSecrets(c, nil, "id", glass{}) },
		"sealed": func(c json.RawMessage) (json.RawMessage, error) { return SealSecrets(c, "id", glass{}) },
		"masked": MaskSecrets,
	} {
		if got, err := f(nil); err != nil || string(got) != "{}" {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
}
