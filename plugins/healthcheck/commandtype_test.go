package healthcheck

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/checks"
	"checkstack/plugins/healthcheck/engine"
)

// typeNamed is a check type that is built in, with its fields.
func typeNamed(t *testing.T, name string) (engine.Type, *field) {
	t.Helper()
	for _, kind := range checks.BuiltIn(nil) {
		if kind.Type() == name {
			root, err := fieldsOf(kind)
			if err != nil {
				t.Fatal(err)
			}
			return kind, root
		}
	}
	t.Fatalf("there is no type %s", name)
	return nil, nil
}

func TestAValueIsWhatTheTypeOfItsFieldSays(t *testing.T) {
	for _, test := range []struct{ kind, settings, want string }{
		{"http", `ipVersion=4`, `{"ipVersion":"4"}`},
		{"http", `auth.type=basic auth.username=007 auth.password=12345`, `{"auth":{"password":"12345","type":"basic","username":"007"}}`},
		{"http", `auth={"type":"bearer"} auth.token=true`, `{"auth":{"token":"true","type":"bearer"}}`},
		{"http", `body={"a":1}`, `{"body":"{\"a\":1}"}`},
		{"http", `body="a\tb\u0022"`, `{"body":"a\tb\""}`},
		{"http", `body="a`, `{"body":"\"a"}`},
		{"http", `body="a"b"`, `{"body":"\"a\"b\""}`},
		{"http", `body= expectBody=null`, `{"body":"","expectBody":"null"}`},
		{"http", `headers.X-A=1 headers.x.b=c=d headers.Y="e"`, `{"headers":{"X-A":"1","Y":"e","x.b":"c=d"}}`},
		{"http", `headers={"A":"1"} headers.B=2`, `{"headers":{"A":"1","B":"2"}}`},
		{"http", `expectStatus=404`, `{"expectStatus":[404]}`},
		{"http", `expectStatus=4xx`, `{"expectStatus":["4xx"]}`},
		{"http", `expectStatus="4xx"`, `{"expectStatus":["4xx"]}`},
		{"http", `expectStatus=[404,"2xx"]`, `{"expectStatus":[404,"2xx"]}`},
		{"http", `maxRedirects=3 followRedirects=false`, `{"followRedirects":false,"maxRedirects":3}`},
		{"http", `maxRedirects=1.5`, `{"maxRedirects":1.5}`}, // which the type refuses
		{"http", `maxRedirects=null followRedirects=null tls=null expectStatus=null`, `{"expectStatus":null,"followRedirects":null,"maxRedirects":null,"tls":null}`},
		{"http", `tls=null tls.verify=false tls.serverName=12`, `{"tls":{"serverName":"12","verify":false}}`},
		{"http", `tls={}`, `{"tls":{}}`},
		{"http", `speed=1 nothing.at.all=x`, `{"nothing":{"at":{"all":"x"}},"speed":1}`}, // which the type refuses
		{"dns", `expect=127.0.0.8`, `{"expect":["127.0.0.8"]}`},
		{"dns", `expect=127`, `{"expect":["127"]}`},
		{"dns", `expect=["127.0.0.8","::1"]`, `{"expect":["127.0.0.8","::1"]}`},
		{"dns", `expect=[::1]:53`, `{"expect":["[::1]:53"]}`},
		{"exec", `expectExit=2 nagios=true args=5 env.A=1`, `{"args":["5"],"env":{"A":"1"},"expectExit":[2],"nagios":true}`},
		{"http", `maxRedirects=few`, `config.maxRedirects: expected a whole number, not "few"`},
		{"http", `maxRedirects="3"`, `config.maxRedirects: expected a whole number, not "\"3\""`},
		{"http", `tls.verify=no`, `config.tls.verify: expected true or false, not "no"`},
		{"http", `followRedirects=`, `config.followRedirects: expected true or false, not ""`},
		{"http", `tls=true`, `config.tls: expected an object such as {}, not "true"; -set tls.NAME=value sets a field of it`},
		{"http", `method.x=GET`, `config.method: expected a value, because there are no fields below it`},
		{"exec", `expectExit=two`, `config.expectExit: expected a whole number, not "two"`},
	} {
		_, root := typeNamed(t, test.kind)
		config, err := make(map[string]any), error(nil)
		for s := range strings.FieldsSeq(test.settings) {
			name, value, _ := strings.Cut(s, "=")
			if err = root.set(config, "config", name, value); err != nil {
				break
			}
		}
		data, _ := json.Marshal(config)
		got := string(data)
		if e, ok := errors.AsType[*plugins.Error](err); ok {
			got = e.Field + ": " + e.Message
		}
		if got != test.want {
			t.Errorf("%s %s: got %s, want %s", test.kind, test.settings, got, test.want)
		}
	}
}

func TestATypeSaysWhatItsFieldsAndPathsAre(t *testing.T) {
	for _, kind := range checks.BuiltIn(nil) {
		_, root := typeNamed(t, kind.Type())
		text := describe(kind, root)
		fields, paths, ok := strings.Cut(text, "\n\nWhat is measured, for -assert:\n")
		if !ok || !strings.HasPrefix(text, "Usage: checkstack check [flags] "+kind.Type()+" <"+root.target()+">") || !strings.Contains(fields, "\n  "+root.target()+" ") {
			t.Errorf("%s: got %s", kind.Type(), text)
		}
		for name, f := range root.Properties {
			if !strings.Contains(fields, "\n  "+name) || !strings.Contains(fields, f.Description) {
				t.Errorf("%s: there is no %s in\n%s", kind.Type(), name, fields)
			}
		}
		for _, p := range kind.Paths() {
			if !strings.Contains("\n"+paths, "\n  "+p.Name+" ") || !strings.Contains(paths, p.Doc) {
				t.Errorf("%s: there is no %s in\n%s", kind.Type(), p.Name, paths)
			}
		}
	}
	kind, root := typeNamed(t, "exec")
	const want = `Usage: checkstack check [flags] exec <command> <args>…

Fields, as -set field=value has them:
  command     the target  the program: an absolute path, or a name that is looked for in PATH; 1 to 1000 characters
  args                    its arguments, which may be seen by every user of the machine: secrets belong in env; at most 50 entries
  dir                     an absolute path of the folder that it runs in; that of this server if none is given; at most 1000 characters
  env.NAME                its environment, besides PATH, HOME and LANG of this server; at most 50 entries
  expectExit  [0]         the exit codes that are good; [0] if none are given; 1 to 50 entries
  nagios      false       the command is a plugin of Nagios: 0 is healthy, 1 degraded, everything else unhealthy

What is measured, for -assert:
  exitCode        number  the exit code; nothing if the command was ended by a signal
`
	if got := describe(kind, root); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "\n  latencyMs       number  the latency, in whole milliseconds\n") {
		t.Errorf("got %s", got)
	}
	kind, root = typeNamed(t, "postgres")
	if got := describe(kind, root); !strings.Contains(got, "\n  user             required    who logs in") || !strings.Contains(got, "\n  tls.verify       true        whether") {
		t.Errorf("got %s", got)
	}
}
