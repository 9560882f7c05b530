package satellite_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

// deaf is a TCP proxy to a database. While it is armed it lets the next commit of a transaction that moved a journal
// through, and loses the answer together with the connection.
type deaf struct {
	net.Listener
	network, database string
	armed             atomic.Bool
	lost              atomic.Int64
}

func newDeaf(t *testing.T, database string) (d *deaf, dsn string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	d = &deaf{Listener: ln}
	if u, err := url.Parse(database); err == nil && u.Host != "" {
		d.network, d.database = "tcp", cmp.Or(u.Host, "localhost:5432")
		u.Host = ln.Addr().String()
		q := u.Query()
		q.Set("sslmode", "disable")
		u.RawQuery = q.Encode()
		dsn = u.String()
	} else {
		dir := regexp.MustCompile(`host='([^']*)'`).FindStringSubmatch(database)
		if dir == nil {
			t.Fatalf("neither a URL nor a Unix socket: %s", database)
		}
		d.network, d.database = "unix", filepath.Join(dir[1], ".s.PGSQL.5432")
		dsn = fmt.Sprintf("%s host=127.0.0.1 port=%d sslmode=disable", database, ln.Addr().(*net.TCPAddr).Port)
	}
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			go d.carry(client)
		}
	}()
	return d, dsn
}

// carry passes one connection on, message by message from the client.
func (d *deaf) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial(d.network, d.database)
	if err != nil {
		return
	}
	defer server.Close()
	var mute atomic.Bool
	go func() {
		defer client.Close()
		buffer := make([]byte, 32<<10)
		for {
			n, err := server.Read(buffer)
			if err != nil {
				return
			}
			if mute.Load() { // what comes now is the answer to the commit: it was done
				d.lost.Add(1)
				return
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	first, moved := true, false
	for {
		head := make([]byte, 5)
		if first { // the message that begins a connection has no type
			head = head[:4]
		}
		if _, err := io.ReadFull(client, head); err != nil {
			return
		}
		body := make([]byte, int(binary.BigEndian.Uint32(head[len(head)-4:]))-4)
		if _, err := io.ReadFull(client, body); err != nil {
			return
		}
		if !first {
			text := bytes.ToLower(body)
			moved = moved && !bytes.HasPrefix(text, []byte("begin")) || bytes.Contains(text, []byte("insert into satellite.journals"))
			if moved && bytes.HasPrefix(text, []byte("commit")) && d.armed.CompareAndSwap(true, false) {
				mute.Store(true)
			}
		}
		first = false
		if _, err := server.Write(append(head, body...)); err != nil {
			return
		}
	}
}

// TestACommitWhoseAnswerIsLostCountsOnce sends batches with runs so old that nothing but their number tells a repeat.
func TestACommitWhoseAnswerIsLostCountsOnce(t *testing.T) {
	db, database := postgrestest.New(t)
	d, dsn := newDeaf(t, database)
	s := servertest.Start(t, servertest.Config{Database: dsn})
	s.DB = db
	p := newPlace(t, s, "Lost answers")
	for number := int64(1); number <= 5; number++ {
		b := batch{number: number, runs: append(p.runs(3), runsAt(time.Now().UTC().AddDate(0, 0, -20), 7, p.system, p.configuration)...)}
		d.armed.Store(true)
		res := send(t, s, p.Token, b)
		if d.armed.Load() || d.lost.Load() != number {
			t.Fatalf("the answer to the commit of batch %d was not lost", number)
		}
		if res.Status == 200 {
			t.Errorf("batch %d is answered with %s, though nobody knows what became of it", number, res.Body)
		}
		if res.Status != 503 || res.Header.Get("Retry-After") == "" {
			t.Errorf("batch %d is answered with %d %s", number, res.Status, res.Body)
		}
		send(t, s, p.Token, b).Is(t, 200, answer(0, 10))
		send(t, s, p.Token, b).Is(t, 200, answer(0, 10))
		p.has(t, s, 3*int(number), 10*int(number))
	}
	if !strings.Contains(s.Log(), `"status":503`) {
		t.Errorf("the log does not say it:\n%s", s.Log())
	}
	s.Kill(t) // it has logged the errors that this test made
}
