package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
)

func TestErrorsAreOursOrTheTargets(t *testing.T) {
	wrap := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	for _, test := range []struct {
		err   error
		fault string // "" is the target's
		words string
	}{
		{wrap(syscall.ECONNREFUSED), "", "connection refused"},
		{wrap(syscall.EHOSTUNREACH), "", "no route to host"},
		{wrap(syscall.ECONNRESET), "", "connection reset by peer"},
		{wrap(syscall.EMFILE), "this server has no free file descriptors", "too many open files"},
		{wrap(syscall.ENFILE), "this machine has no free file descriptors", "too many open files in system"},
		{wrap(syscall.ENOBUFS), "this machine has no free network buffers", "no buffer space available"},
		{wrap(syscall.EADDRNOTAVAIL), "this machine has no free port, or not the address, to connect from", "cannot assign requested address"},
		{wrap(syscall.ENETUNREACH), "this machine has no route to the network", "network is unreachable"},
		{wrap(syscall.EACCES), "this machine does not allow the connection", "permission denied"},
		{wrap(&DeniedError{}), "the address is in a network that checks may not connect to (-deny-networks)", "there was no valid answer"},
		{fmt.Errorf("a: %w", &Fault{Reason: "r", Err: io.EOF}), "r", "the connection was closed before the answer was complete"},
		{&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}, "", "the host name does not exist"},
		{&net.DNSError{Err: "server misbehaving", Name: "x", IsTemporary: true}, "", "the host name could not be looked up"},
		{x509.CertificateInvalidError{Reason: x509.Expired}, "", "the TLS certificate has expired or is not valid yet"},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}, "", "the TLS certificate is for another host"},
		{x509.UnknownAuthorityError{}, "", "the TLS certificate is signed by an unknown authority"},
		{&tls.CertificateVerificationError{Err: errors.New("x")}, "", "the TLS certificate is not valid"},
		{tls.RecordHeaderError{Msg: "x"}, "", "the other side does not speak TLS"},
		{&net.OpError{Op: "remote error", Err: errors.New("x")}, "", "the TLS handshake was refused"},
		{io.ErrUnexpectedEOF, "", "the connection was closed before the answer was complete"},
		{&PlainError{Text: "expected 2 rows"}, "", "expected 2 rows"},
		{&PlainError{Text: "expected 2 rows", Err: syscall.ECONNREFUSED}, "", "expected 2 rows"},
		{errors.New("sEcrEt"), "", "there was no valid answer"},
	} {
		fault := AsFault(t.Context(), test.err)
		got := ""
		if fault != nil {
			got = fault.Error()
		}
		if got != test.fault || Explain(test.err) != test.words {
			t.Errorf("%v: got %q and %q, want %q and %q", test.err, got, Explain(test.err), test.fault, test.words)
		}
	}
}

func TestAFailedRunKeepsWhatTheNetworkSaid(t *testing.T) {
	var m Measured
	m.Set("timings.dns", 1)
	out := Failed(t.Context(), &PlainError{"no banner", errors.New("got \x00" + strings.Repeat("x", 600))}, m)
	said, _ := out.Measured.Get("error")
	if out.Status != plugins.Unhealthy || out.Message != "no banner" || out.Fault != nil || said != "no banner: got �"+strings.Repeat("x", 484) {
		t.Errorf("got %+v", out)
	}
	out = Failed(t.Context(), syscall.EMFILE, m)
	if _, said := out.Measured.Get("error"); said || out.Fault == nil || out.Status != "" || !errors.Is(out.Fault, syscall.EMFILE) {
		t.Errorf("got %+v", out)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("timed out after 5s"))
	if out := Failed(ctx, syscall.EMFILE, m); out.Fault != nil || out.Message != "timed out after 5s" || out.Status != plugins.Unhealthy {
		t.Errorf("got %+v", out)
	}
}

// Not beside other tests: for a moment the whole process has no free file descriptors.
func TestAProcessWithoutFileDescriptorsIsNotTheTargetsFault(t *testing.T) {
	address := listener(t).Addr().String()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	next, err := syscall.Dup(0) // the lowest that is free
	if err != nil {
		t.Fatal(err)
	}
	syscall.Close(next)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(next), Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	conn, dialed := (&Policy{}).DialContext(t.Context(), "tcp", address)
	out := Failed(t.Context(), dialed, Measured{})
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if conn != nil || out.Fault == nil || out.Fault.Error() != "this server has no free file descriptors" || !errors.Is(out.Fault, syscall.EMFILE) {
		t.Errorf("got %v, %+v", dialed, out)
	}
}

var (
	errNoAnswer = &net.DNSError{Err: "i/o timeout", Name: "example.org", IsTimeout: true}
	errNoName   = &net.DNSError{Err: "no such host", Name: "example.org", IsNotFound: true}
)

func TestALookupWithoutAnAnswerIsOursIfNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			name  string
			said  error // what the name server says of a name that does not exist
			err   error // of the lookup
			fault bool
		}{
			{"no server", errNoAnswer, errNoAnswer, true},
			{"another error", errors.New("x"), errNoAnswer, true},
			{"a server", errNoName, errNoAnswer, false},
			{"a server that knows every name", nil, errNoAnswer, false},
			{"a name that does not exist", errNoAnswer, errNoName, false},
			{"no lookup", errNoAnswer, syscall.ECONNREFUSED, false},
		} {
			p := &Policy{resolver: resolver{ask: func(context.Context) error { return test.said }}}
			err := p.asDNSFault(t.Context(), test.err)
			f, ok := errors.AsType[*Fault](err)
			if ok != test.fault || !errors.Is(err, test.err) || ok && f.Reason != "this server cannot reach its name servers" {
				t.Errorf("%s: got %v", test.name, err)
			}
		}
		var none *Policy
		if err := none.asDNSFault(t.Context(), errNoAnswer); err != errNoAnswer {
			t.Errorf("without a policy: got %v", err)
		}
	})
}

func TestRunsShareOneQuestionToTheNameServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		r := &resolver{ask: func(ctx context.Context) error {
			asked.Add(1)
			if d, ok := ctx.Deadline(); !ok || time.Until(d) != askPatience {
				t.Errorf("it has until %v", d)
			}
			<-ctx.Done()
			return errNoAnswer
		}}
		begin := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if r.reachable(t.Context()) {
					t.Error("it is reachable")
				}
			})
		}
		synctest.Wait()
		r.answered() // nobody waits for the question but those who asked it
		wg.Go(func() {
			if !r.reachable(t.Context()) {
				t.Error("it is not reachable though it just answered")
			}
		})
		synctest.Wait()
		if time.Since(begin) != 0 {
			t.Errorf("that took %s", time.Since(begin))
		}
		wg.Wait()
		if asked.Load() != 1 || time.Since(begin) != 2*time.Second {
			t.Errorf("%d questions in %s", asked.Load(), time.Since(begin))
		}
	})
}

func TestWhatANameServerSaysHoldsForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, said := 0, error(errNoAnswer)
		r := &resolver{ask: func(context.Context) error { asked++; return said }}
		is := func(want bool, questions int) {
			t.Helper()
			if got := r.reachable(t.Context()); got != want || asked != questions {
				t.Errorf("got %v after %d questions", got, asked)
			}
		}
		is(false, 1)
		said = errNoName
		is(false, 1)
		time.Sleep(answerHolds - 1)
		is(false, 1)
		time.Sleep(time.Nanosecond)
		is(true, 2)
		said = errNoAnswer
		is(true, 2)
		time.Sleep(answerHolds)
		is(false, 3)
		r.answered()
		is(true, 3)
		time.Sleep(answerHolds)
		is(false, 4)
	})
}

func TestARunThatEndsDoesNotWaitForTheNameServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &resolver{ask: func(ctx context.Context) error { <-ctx.Done(); return errNoAnswer }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if !r.reachable(ctx) || time.Since(begin) != time.Second {
			t.Errorf("after %s", time.Since(begin))
		}
		if r.reachable(t.Context()) || time.Since(begin) != 2*time.Second { // the question went on
			t.Errorf("after %s", time.Since(begin))
		}
	})
}

func TestATextIsShortenedToWhatTheDatabaseHolds(t *testing.T) {
	for _, test := range []struct {
		given string
		max   int
		want  string
	}{{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"äöüß", 3, "äöü"}, {"a\x00\xff", 3, "a��"}, {"a", 0, ""}, {"😀😀", 1, "😀"}} {
		if got := Shorten(test.given, test.max); got != test.want {
			t.Errorf("%q: got %q", test.given, got)
		}
	}
}

func TestWhatPeopleReadEndsWithAnEllipsisWhereItWasCut(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", ""}, {"abc", "abc"}, {"äöü", "äöü"}, {"abcd", "ab…"}, {"😀😀😀", "😀😀😀"}, {"😀😀😀😀", "😀😀…"}, {"a\x00\xff", "a��"}, {strings.Repeat("a", 1000), "aa…"},
	} {
		if got := Cut(test.text, 3); got != test.want {
			t.Errorf("%.10q: got %q, want %q", test.text, got, test.want)
		}
	}
}
