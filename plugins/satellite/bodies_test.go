package satellite_test

// What is not a body, and what does not come whole.

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"checkstack/plugins/internal/servertest"
)

// compressed sends a body with a content coding.
func compressed(t testing.TB, s *servertest.Server, token, coding string, body []byte) servertest.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+base+"/runs", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", coding)
	return s.Send(t, req)
}

func zip(t testing.TB, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(body)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func bodies(t *testing.T, s *servertest.Server) {
	p := newPlace(t, s, "Bodies")
	body, err := json.Marshal(batch{runs: p.runs(5000)})
	if err != nil {
		t.Fatal(err)
	}
	compressed(t, s, p.Token, "gzip", zip(t, body)).Is(t, 200, answer(5000, 0))
	compressed(t, s, p.Token, "GZIP", zip(t, body)).Is(t, 200, answer(0, 5000))
	compressed(t, s, p.Token, "identity", body).Is(t, 200, answer(0, 5000))
	p.has(t, s, 5000, 5000)

	const tooLarge = `{"error":"Body too large","message":"the body may have at most 8388608 bytes"}`
	spaces := func(n int) []byte { return append([]byte(`{"runs":[]}`), bytes.Repeat([]byte(" "), n-11)...) }
	send(t, s, p.Token, string(spaces(8<<20))).Is(t, 200, answer(0, 0))
	send(t, s, p.Token, string(spaces(8<<20+1))).Is(t, 413, tooLarge)
	compressed(t, s, p.Token, "gzip", zip(t, spaces(8<<20))).Is(t, 200, answer(0, 0))
	compressed(t, s, p.Token, "gzip", zip(t, spaces(8<<20+1))).Is(t, 413, tooLarge)
	bomb := zip(t, bytes.Repeat([]byte(" "), 32<<20)) // 32 kB
	compressed(t, s, p.Token, "gzip", bomb).Is(t, 413, tooLarge)
	var parts []byte // each small
	for range 9 {
		parts = append(parts, zip(t, spaces(1<<20))...)
	}
	compressed(t, s, p.Token, "gzip", parts).Is(t, 413, tooLarge)

	many := `{"runs":[` + strings.Repeat("0,", 4_000_000) + `0]}` // would be a gigabyte of runs
	send(t, s, p.Token, many).IsInvalid(t, "runs", "expected at most 5000 runs")
	many = `{"runs":[` + strings.Repeat("{},", 2_000_000) + `{}]}`
	compressed(t, s, p.Token, "gzip", zip(t, []byte(many))).IsInvalid(t, "runs", "expected at most 5000 runs")
	send(t, s, p.Token, batch{runs: p.runs(5001)}).IsInvalid(t, "runs", "expected at most 5000 runs")

	whole := zip(t, body)
	compressed(t, s, p.Token, "gzip", whole[:len(whole)/2]).IsInvalid(t, "", "the body could not be read to its end: it ends too early")
	compressed(t, s, p.Token, "gzip", nil).IsInvalid(t, "", "the body could not be read to its end: it ends too early")
	compressed(t, s, p.Token, "gzip", body).IsInvalid(t, "", "the body could not be read to its end: it is not what gzip writes")
	broken := bytes.Clone(whole)
	broken[len(broken)-6] ^= 1 // the checksum
	compressed(t, s, p.Token, "gzip", broken).IsInvalid(t, "", "the body could not be read to its end: it is not what gzip writes")
	res := compressed(t, s, p.Token, "br", body)
	res.Is(t, 415, `{"error":"Unsupported Media Type","message":"the body may be compressed with gzip, and with nothing else"}`)
	if got := res.Header.Get("Accept-Encoding"); got != "gzip" {
		t.Errorf("Accept-Encoding is %q", got)
	}
	p.has(t, s, 5000, 5000)
}

// begin sends the beginning of a body over a connection of its own, and returns how it is answered, status and body.
func begin(t *testing.T, s *servertest.Server, token, coding string, all, sent []byte) (conn *net.TCPConn, answer func() string) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "POST %s/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Encoding: %s\r\n"+
		"Content-Length: %d\r\n\r\n%s", base, token, coding, len(all), sent)
	return c.(*net.TCPConn), func() string {
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || !res.Close {
			t.Errorf("the answer ends with %v, and the connection with it: %v", err, res.Close)
		}
		return fmt.Sprint(res.StatusCode, " ", string(body))
	}
}

func stalled(t *testing.T, s *servertest.Server) {
	p := newPlace(t, s, "Stalled")
	body, err := json.Marshal(batch{number: 1, runs: p.runs(100)})
	if err != nil {
		t.Fatal(err)
	}
	zipped := zip(t, body)
	const incomplete = `503 {"error":"Incomplete body","message":"the connection failed before the body had arrived; try again"}`
	for _, test := range []struct {
		coding    string
		all, sent []byte
	}{
		{"identity", body, body[:1]},
		{"identity", body, body[:len(body)-1]}, // of JSON that ends too early
		{"gzip", zipped, zipped[:5]},           // of the header
		{"gzip", zipped, zipped[:len(zipped)/2]},
		{"gzip", zipped, zipped[:len(zipped)-4]},
		{"gzip", append(bytes.Clone(zipped), 1), zipped},
	} {
		conn, answer := begin(t, s, p.Token, test.coding, test.all, test.sent)
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := answer(); got != incomplete {
			t.Errorf("%d of %d bytes, %s: %s", len(test.sent), len(test.all), test.coding, got)
		}
	}
	p.has(t, s, 0, 0)
	conn, _ := begin(t, s, p.Token, "gzip", zipped, zipped[:9]) // what follows does not come
	compressed(t, s, p.Token, "gzip", zipped).Is(t, 200, answer(100, 0))
	conn.Write(zipped[9:]) // now it does
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != answer(0, 100) {
		t.Errorf("the late body is answered with %s, %v", got, err)
	}
	p.has(t, s, 100, 100)
}
