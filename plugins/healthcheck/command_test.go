package healthcheck_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/healthcheck/checks"
	"checkstack/plugins/internal/servertest"
)

// ran is what "checkstack check" printed, and its exit code.
type ran struct {
	code           int
	stdout, stderr string
}

// check runs "checkstack check".
func check(t *testing.T, ctx context.Context, args ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := plugins.Process{Stdout: &stdout, Stderr: &stderr, Getenv: func(name string) string {
		return map[string]string{"TOKEN": "sesame"}[name]
	}}
	code := plugins.Execute(ctx, healthcheck.Commands(), append([]string{"check"}, args...), p)
	return ran{code, stdout.String(), stderr.String()}
}

var took = regexp.MustCompile(`(?m)( in )[0-9.]+[µm]?s:|(phases\.\w+ +)[0-9.]+$|(latencyMs.*, got )[0-9]+$`)

// is compares what was printed, with … in the place of what time took.
func (r ran) is(t *testing.T, want ran) {
	t.Helper()
	r.stdout = took.ReplaceAllStringFunc(r.stdout, func(s string) string {
		if strings.HasSuffix(s, ":") {
			return " in …:"
		}
		return s[:strings.LastIndex(s, " ")] + " …"
	})
	if r != want {
		t.Errorf("got  %d\n%s%swant %d\n%s%s", r.code, r.stdout, r.stderr, want.code, want.stdout, want.stderr)
	}
}

func TestTheCommandPrintsWhatWasMeasuredAndEveryAssertion(t *testing.T) {
	check(t, t.Context(), "-assert", "exitCode eq 0", "-assert", "latencyMs lt 9999", "-assert", "stdout matches ^a+$ degraded", "-assert", "json.$.x exists false",
		"-assert", "stderr empty", "-assert", "stdout contains <b>", "exec", "printf", "a<\tb\x1b").is(t, ran{code: 1, stdout: `unhealthy in …: expected json.$.x exists false, but the body is not JSON (and 2 more)
  stdout                     "a<\tb\x1b"
  phases.totalMs             …
  exitCode                   0
  ok   exitCode eq 0, got 0
  ok   latencyMs lt 9999, got …
  FAIL stdout matches "^a+$", got "a<\tb\u001b"
  FAIL json.$.x exists false, got null (the body is not JSON)
  ok   stderr empty, got null
  FAIL stdout contains "<b>", got "a<\tb\u001b"
`})
	long := strings.Repeat("é", 201)
	check(t, t.Context(), "-assert", "stdout exists", "exec", "printf", long).is(t, ran{stdout: `healthy in …: exit code 0
  stdout                     ` + long[:2*199] + `…
  phases.totalMs             …
  exitCode                   0
  ok   stdout exists, got "` + long[:2*199] + `…"
`})
	whole := long[:2*200]
	if r := check(t, t.Context(), "-assert", "stdout exists", "exec", "printf", whole); !strings.Contains(r.stdout, " "+whole+"\n") || !strings.Contains(r.stdout, `"`+whole+"\"\n") {
		t.Errorf("got %s", r.stdout)
	}
}

func TestTheExitCodeSaysHowTheTargetIs(t *testing.T) {
	for _, test := range []struct {
		args   []string
		code   int
		stdout string // its beginning
	}{
		{[]string{"exec", "true"}, 0, "healthy in …: exit code 0\n"},
		{[]string{"exec", "false"}, 1, "unhealthy in …: expected exit code 0, got 1\n"},
		{[]string{"-set", "expectExit=1", "exec", "false"}, 0, "healthy in …: exit code 1\n"},
		{[]string{"-set", "nagios=true", "exec", "sh", "-c", "exit 1"}, 1, "degraded in …: "},
		{[]string{"-assert", "exitCode eq 1 degraded", "exec", "true"}, 1, "degraded in …: expected exitCode eq 1, got 0\n"},
		{[]string{"-timeout", "100ms", "exec", "sleep", "60"}, 1, "unhealthy: timed out after 100ms\n"},
		{[]string{"exec", "/nowhere/nothing"}, 2, "not checked: "},
		{[]string{"-deny-networks", "127.0.0.0/8", "tcp", "127.0.0.1:1"}, 2, "not checked: the address is in a network that checks may not connect to (-deny-networks)\n"},
	} {
		r := check(t, t.Context(), test.args...)
		if got := took.ReplaceAllString(r.stdout, " in …:"); r.code != test.code || !strings.HasPrefix(got, test.stdout) || r.stderr != "" {
			t.Errorf("%q: got %+v", test.args, r)
		}
		r = check(t, t.Context(), append([]string{"-json"}, test.args...)...)
		var run healthcheck.RunResult
		if err := json.Unmarshal([]byte(r.stdout), &run); err != nil || r.code != test.code || r.stderr != "" || run.ExecutedAt.IsZero() || !strings.HasSuffix(r.stdout, "}\n") {
			t.Errorf("%q as JSON: got %+v, %v", test.args, r, err)
		}
		if word, _, _ := strings.Cut(test.stdout, " "); test.code == 2 && (run.Status != "unknown" || !strings.HasPrefix("not checked: "+run.Error+"\n", test.stdout)) ||
			test.code != 2 && (string(run.Status) != strings.TrimSuffix(word, ":") || run.Error != "") {
			t.Errorf("%q as JSON: got %s", test.args, r.stdout)
		}
	}
	r := check(t, t.Context(), "-json", "-assert", "exitCode in [1,2]", "exec", "true")
	if !strings.Contains(r.stdout, `"assertions":[{"path":"exitCode","op":"in","value":[1,2],"ok":false,"actual":0}]`) || r.code != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestARunThatIsInterruptedSaysNothingOfTheTarget(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connected := func(then func()) { // and then says nothing
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		then()
		io.Copy(io.Discard, c)
	}
	args := []string{"-timeout=2m", "-set", "banner=true", "tcp", l.Addr().String()}
	want := ran{code: 2, stderr: "checkstack check: interrupted\n"}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	go connected(interrupt)
	check(t, ctx, args...).is(t, want)

	cmd := servertest.Command(t, nil, append([]string{"check"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go connected(func() { cmd.Process.Signal(os.Interrupt) })
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 || stdout.Len() > 0 || !strings.HasSuffix(stderr.String(), want.stderr) {
		t.Errorf("got %v, %s%s", err, &stdout, &stderr)
	}
}

func TestTheTypeSaysWhatASettingMeans(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		w.WriteHeader(404)
		fmt.Fprintf(w, "%s %s %s %s %s %s", r.Method, user, password, r.Header.Get("X-A"), r.Header.Get("X.B"), body)
	}))
	defer s.Close()
	r := check(t, t.Context(), "-set", "ipVersion=4", "-set", "auth.type=basic", "-set", "auth.username=me", "-set", "auth.password=12345", "-set", "method=POST",
		"-set", "headers.X-A=1", "-set", "headers.X.B=${ENV:TOKEN}", "-env-allow", "TOKEN", "-set", `body={"a":1}`, "-set", "expectStatus=404",
		"-set", `expectBody=POST me 12345 1 sesame {"a":1}`, "http", s.URL)
	if r.code != 0 || !strings.HasSuffix(strings.SplitN(r.stdout, "\n", 2)[0], ": status 404") {
		t.Errorf("got %+v", r)
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{
		{"-set", "expect=127.0.0.8", "dns", "localhost"}, {"-set", "expect=127.0.0.8", "-set", `expect=["127.0.0.9"]`, "dns", "localhost"}, {"-set", "user=1", "-set", "password=12345", "postgres", "a"},
		{"-set", "expectExit=[1,2]", "exec", "true", "-set"},
	} {
		check(t, interrupted, args...).is(t, ran{code: 2, stderr: "checkstack check: interrupted\n"})
	}
}

func TestWhatWasNotUnderstoodIsSaid(t *testing.T) {
	const types = "http, tcp, tls, dns, ping, postgres, mysql, redis, ssh, grpc, websocket, exec"
	const place = "expected one target; flags go before the type, as in checkstack check -assert … http https://…"
	const after = "; after the value there may be degraded or unhealthy"
	const ops = "eq ne lt le gt ge in contains matches exists empty"
	for _, test := range []struct {
		args   []string
		stderr string // after "checkstack check: "
	}{
		{nil, "expected a type and a target, as in: checkstack check http https://example.org\nTypes: " + types},
		{[]string{"gopher", "x"}, "expected a type, one of " + types + `, not "gopher"`},
		{[]string{"https", "//x"}, "expected a type, one of " + types + `, not "https"; the scheme belongs to the URL: checkstack check http https://…`},
		{[]string{"wss"}, "expected a type, one of " + types + `, not "wss"; the scheme belongs to the URL: checkstack check websocket wss://…`},
		{[]string{"http://x"}, "expected a type, one of " + types + `, not "http://x"; the type comes before the URL: checkstack check http http://…`},
		{[]string{"http", "http://x", "-assert", "status eq 200"}, place},
		{[]string{"http", "-assert", "status eq 200", "http://x"}, place},
		{[]string{"http", "-json"}, place},
		{[]string{"exec", "-json", "true"}, place},
		{[]string{"tcp", "a:1", "b:2"}, place},
		{[]string{"http", "example.org"}, "config.url: expected an absolute URL such as https://example.org/health"},
		{[]string{"http", ""}, "config.url: expected a number of characters from 1 to 2000, not 0"},
		{[]string{"-set", "url=http://y", "http", "http://x"}, `config.url: expected it once, but both -set and the target, "http://x", say what it is`},
		{[]string{"-set", "args=x", "exec", "true", "y"}, "config.args: expected it once, but both -set and what follows the target say what it is"},
		{[]string{"-set", "maxRedirects=few", "http", "http://x"}, `config.maxRedirects: expected a whole number, not "few"`},
		{[]string{"-set", "maxRedirects=51", "http", "http://x"}, "config.maxRedirects: expected a whole number from 0 to 50, not 51"},
		{[]string{"-set", "port=1", "ssh", "x"}, "config.port: there is no such field; the only field is address"},
		{[]string{"-set", "tls.x=1", "redis", "x"}, "config.tls.x: there is no such field; the fields are verify, serverName, ca, certificate, key"},
		{[]string{"-set", "headers.X=${ENV:HOME}", "http", "http://x"}, "the variable HOME is not one that configurations may refer to (-env-allow)"},
		{[]string{"-assert", "stats eq 1", "redis", "x"}, "assertions[0].path: expected one of version, role, connectedReplicas, masterLink, tls.version, tls.cipher, certificate.daysLeft, " +
			`certificate.notAfter, certificate.subject, certificate.issuer, certificate.names, latencyMs, not "stats"`},
		{[]string{"-assert", "role eq master", "-assert", "latencyMs lt 1ms", "redis", "x"}, `assertions[1].value: expected a number, not "1ms"` + after},
		{[]string{"-assert", "status eq 500 warning", "http", "http://x"}, `assertions[0].value: expected a number, not "500 warning"` + after},
		{[]string{"-assert", "status in 200,204", "http", "http://x"}, `assertions[0].value: expected a list of 1 to 100 values such as [200,204], not "200,204"` + after},
		{[]string{"-assert", "status in []", "http", "http://x"}, "assertions[0].value: expected a list of 1 to 100 values, not of 0"},
	} {
		check(t, t.Context(), test.args...).is(t, ran{code: 2, stderr: "checkstack check: " + test.stderr + "\n"})
	}
	for _, test := range []struct{ flag, value, want string }{
		{"assert", "status is 200", "expected one of " + ops + ` after status, not "is"`},
		{"assert", "status", "expected a path, one of " + ops + ", and a value, such as status in [200,204]"},
		{"set", "a", "expected field=value"},
		{"set", "=a", "expected field=value"},
	} {
		want := fmt.Sprintf("checkstack: invalid value %q for flag -%s: %s; see checkstack check -h\n", test.value, test.flag, test.want)
		check(t, t.Context(), "-"+test.flag, test.value, "http", "http://x").is(t, ran{code: 2, stderr: want})
	}
}

func TestTheCommandSaysWhatTypesThereAreAndWhatTheyHave(t *testing.T) {
	var names []string
	for _, kind := range checks.BuiltIn(nil) {
		names = append(names, kind.Type())
		asked := check(t, t.Context(), kind.Type(), "-h")
		if asked.code != 0 || asked.stderr != "" || !strings.Contains(asked.stdout, "Fields, as -set field=value has them:\n") {
			t.Errorf("%s -h: got %+v", kind.Type(), asked)
		}
		check(t, t.Context(), kind.Type()).is(t, ran{code: 2, stderr: "checkstack check: expected a target\n\n" + asked.stdout})
	}
	if r := check(t, t.Context(), "-h"); r.code != 0 || !strings.HasPrefix(r.stdout, "Usage: checkstack check [flags] "+strings.Join(names, "|")+" <target>\n") {
		t.Errorf("got %+v", r)
	}
}

// TestNothingIsAssertedOfARefusedConnection, whether its host is an address or a name that was looked up.
func TestNothingIsAssertedOfARefusedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost"} {
		r := check(t, t.Context(), "-set", "ipVersion=4", "-assert", "status eq 200", "http", "http://"+host+":"+port)
		if r.code != 1 || !strings.HasPrefix(r.stdout, "unhealthy: connection refused\n") || strings.Contains(r.stdout, "status eq 200") {
			t.Errorf("%s: got %+v", host, r)
		}
	}
}
