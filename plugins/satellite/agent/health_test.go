package agent

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins/satellite/journal"
)

// ask is what the satellite says at a path.
func ask(a *agent, method, path string) (int, string, http.Header) {
	w := httptest.NewRecorder()
	a.handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, w.Body.String(), w.Header()
}

func TestItsOwnHealthIsAskedAsThatOfAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newOracle())
		defer w.stop()
		w.net.cut(true)
		a, stop := w.start(t)
		synctest.Wait()
		is := func(when string, status int, body string) {
			t.Helper()
			code, got, header := ask(a, "GET", "/.checkstack/ready")
			if code != status || got != body {
				t.Errorf("%s:\n got %d %s\nwant %d %s", when, code, got, status, body)
			}
			if (header.Get("Retry-After") == "1") != (status == 503) || header.Get("Cache-Control") != "no-store" ||
				header.Get("Content-Type") != "application/json" || header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: the header is %v", when, header)
			}
		}
		const (
			good       = `{"name":"satellite.journal","critical":true,"ok":true,"durationMs":0}`
			reached    = `{"name":"satellite.server","critical":false,"ok":true,"durationMs":0}`
			assigned   = `{"name":"satellite.assignments","critical":true,"ok":true,"durationMs":0}`
			unreached  = `{"name":"satellite.server","critical":false,"ok":false,"message":"not reached yet","durationMs":0}`
			silent     = `{"name":"satellite.server","critical":false,"ok":false,"message":"not reached for 1m5s","durationMs":0}`
			unassigned = `{"name":"satellite.assignments","critical":true,"ok":false,"message":"not known yet","durationMs":0}`
		)
		is("at first", 503, `{"ready":false,"checks":[`+good+`,`+unreached+`,`+unassigned+`]}`)
		w.net.cut(false)
		time.Sleep(mostDelay)
		is("with a server", 200, `{"ready":true,"checks":[`+good+`,`+reached+`,`+assigned+`]}`)
		w.net.cut(true)
		synctest.Wait()
		last := time.Unix(0, a.client.reached.Load())
		time.Sleep(time.Until(last.Add(65 * time.Second)))
		is("without it", 200, `{"ready":true,"checks":[`+good+`,`+silent+`,`+assigned+`]}`)
		for _, test := range []struct {
			method, path string
			status       int
			body         string
		}{
			{"GET", "/.checkstack/health", 200, `{"status":"ok"}`},
			{"HEAD", "/.checkstack/health", 200, `{"status":"ok"}`}, // which a real server leaves out
			{"POST", "/.checkstack/health", 405, `{"error":"Method Not Allowed","message":"POST /.checkstack/health is not served here"}`},
			{"GET", "/", 404, `{"error":"Not Found","message":"GET / is not served here"}`},
		} {
			if code, body, _ := ask(a, test.method, test.path); code != test.status || body != test.body {
				t.Errorf("%s %s: %d %s", test.method, test.path, code, body)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// full is a disk on which nothing can be written.
type full struct{ journal.Files }

func (full) OpenFile(string, int) (journal.File, error) { return nil, os.ErrPermission }

func TestAJournalThatCannotBeWrittenMakesItUnready(t *testing.T) {
	j, err := journal.Open(t.TempDir(), journal.Options{Size: 1 << 20, Log: (&logBook{}).logger(),
		Wrap: func(f journal.Files) journal.Files { return full{f} }})
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{journal: j, client: newClient(Config{}, nil), scheduler: newScheduler(&fakeTypes{}, (&logBook{}).logger(), 1, nil)}
	j.Append([]byte("1"), []byte("2"))
	want := `{"ready":false,"checks":[{"name":"satellite.journal","critical":true,"ok":false,"message":"cannot be written; 2 results are in memory","durationMs":0},`
	if code, body, _ := ask(a, "GET", "/.checkstack/ready"); code != 503 || body[:len(want)] != want {
		t.Errorf("%d %s", code, body)
	}
	if err := j.Close(); err == nil || err.Error() != "2 runs are lost: begin a file of the journal: permission denied" {
		t.Errorf("closed: %v", err)
	}
}

func TestItServesWhereItIsTold(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a, err := newAgent(Config{Server: "http://127.0.0.1:1", Token: testToken, Dir: t.TempDir(), Size: 1 << 20, Checks: 1, Log: (&logBook{}).logger()},
		http.DefaultTransport, &fakeTypes{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.run(ctx, listener) }()
	res, err := http.Get("http://" + listener.Addr().String() + "/.checkstack/health")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != 200 || string(body) != `{"status":"ok"}` {
		t.Errorf("%d %s, %v", res.StatusCode, body, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + listener.Addr().String() + "/.checkstack/health"); err == nil {
		t.Error("it serves on")
	}
}
