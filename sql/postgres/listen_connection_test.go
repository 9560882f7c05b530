package postgres_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

func TestConnectionIsThereOnlyWhileSomebodyListens(t *testing.T) {
	t.Parallel()
	admin, url := postgrestest.New(t)
	db := openNamed(t, url, "lazy")
	const all = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lazy'"
	for range 3 {
		if got := show(t, admin, all); got != "1" {
			t.Fatal("connections while nobody listens:", got)
		}
		h, stop := listen(db, "a")
		_, stopAlso := listen(db, "a")
		_, stopOther := listen(db, "b")
		if got := show(t, admin, all); got != "2" {
			t.Fatal("connections while some listen:", got)
		}
		stopAlso()
		stopOther()
		announce(t, admin, "a", "still here")
		h.expect(t, "still here")
		stop()
		eventually(t, "the connection is closed", func() bool { return show(t, admin, all) == "1" })
	}
}

func TestCloseEndsAllWhoListenAndLeavesNothing(t *testing.T) {
	admin, url := postgrestest.New(t)
	db := openNamed(t, url, "closed")
	inside := make(chan struct{})
	release, let := held()
	defer let()
	var returned atomic.Bool
	stop := db.Listen("c", func(string) {
		close(inside)
		<-release
		returned.Store(true)
	})
	for i := range 10 {
		listen(db, fmt.Sprint("channel ", i))
	}
	announce(t, admin, "c", "come in")
	<-inside
	stopping := make(chan struct{})
	go func() {
		defer close(stopping)
		stop()
	}()
	done := make(chan error, 1)
	go func() { done <- db.Close(context.Background()) }()
	announce(t, admin, "c", "nobody is there any more")
	select {
	case err := <-done:
		t.Fatal("Close does not wait for a call that is under way:", err)
	default:
	}
	let()
	if err := <-done; err != nil || !returned.Load() {
		t.Fatal(err, returned.Load())
	}
	<-stopping
	var stacks bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{"(*notices)", "(*listener)"} {
		if strings.Contains(stacks.String(), left) {
			t.Errorf("a goroutine of %s is left:\n%s", left, &stacks)
		}
	}
	db.Listen("c", func(string) { t.Error("called after Close") })()
	eventually(t, "the connections are closed", func() bool {
		return show(t, admin, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'closed'") == "0"
	})
}

func TestCloseThatWaitsInVainIsAnError(t *testing.T) {
	t.Parallel()
	admin, url := postgrestest.New(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	inside := make(chan struct{})
	release, let := held()
	defer let()
	stop := db.Listen("c", func(string) {
		close(inside)
		<-release
	})
	announce(t, admin, "c", "come in")
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Close(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "those who listen") {
		t.Error(err)
	}
	let()
	stop()
}

func TestListeningWorksThroughTLS(t *testing.T) {
	t.Parallel()
	private := openCluster(t, copiedCluster(t))
	host, port, _ := net.SplitHostPort(secured(t, private.URL()))
	db := openNamed(t, private.URL()+" host="+host+" port="+port+" sslmode=require", "secret")
	h, _ := listen(db, "c")
	for i := range 20 {
		payload := strings.Repeat("x", 7000) + strconv.Itoa(i)
		announce(t, private.DB, "c", payload)
		h.expect(t, payload)
		other, stop := listen(db, fmt.Sprint("other ", i))
		announce(t, private.DB, fmt.Sprint("other ", i), "x")
		other.expect(t, "x")
		stop()
	}
	if text := listeners(t, private.DB, "secret"); text != "1" {
		t.Error("connections that listen:", text)
	}
}

// secured is an address at which the server of a private cluster can be reached with TLS.
func secured(t *testing.T, dsn string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	plain := relay(t, dsn, nil)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				request := make([]byte, 8) // SSLRequest
				if _, err := io.ReadFull(client, request); err != nil || !slices.Equal(request[4:], []byte{4, 210, 22, 47}) {
					return
				}
				if _, err := client.Write([]byte("S")); err != nil {
					return
				}
				server, err := net.Dial("tcp", plain)
				if err != nil {
					return
				}
				defer server.Close()
				secure := tls.Server(client, config)
				go func() {
					io.Copy(server, secure)
					server.Close()
				}()
				io.Copy(secure, server)
			}()
		}
	}()
	return l.Addr().String()
}
