// Whose fault it is. Most errors of a run are the target's: a refused connection, a host that does not answer, a certificate that
// has expired. Some are ours, and those must never look like an outage of what is watched:
//
//	no file descriptors, memory, buffers, ports     EMFILE ENFILE ENOMEM ENOBUFS EADDRNOTAVAIL
//	no way out of this machine, or not allowed      ENETUNREACH ENETDOWN EACCES EPERM, a denied network
//	no name server that answers                     see resolver
//
// The hard case is a name that cannot be looked up. A name server that does not exist any more for one domain is the domain's
// outage; one that answers nobody is ours. So when a lookup fails without an answer, the name server is asked for a name that
// can never exist (RFC 6761, section 6.4): if it says so, it is there, and the failure was the target's.

package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

// Fault is an error of ours: nothing can be said of the target.
type Fault struct {
	Reason string // for everybody: "this server has no free file descriptors"
	Err    error  // what was tried, for the log; may be nil
}

// Error is the reason.
func (f *Fault) Error() string { return f.Reason }

// Unwrap is what was tried.
func (f *Fault) Unwrap() error { return f.Err }

var ours = map[syscall.Errno]string{
	syscall.EMFILE:        "this server has no free file descriptors",
	syscall.ENFILE:        "this machine has no free file descriptors",
	syscall.ENOMEM:        "this machine has no free memory",
	syscall.ENOBUFS:       "this machine has no free network buffers",
	syscall.EADDRNOTAVAIL: "this machine has no free port, or not the address, to connect from",
	syscall.ENETUNREACH:   "this machine has no route to the network",
	syscall.ENETDOWN:      "the network of this machine is down",
	syscall.EACCES:        "this machine does not allow the connection",
	syscall.EPERM:         "this machine does not allow the connection",
	syscall.EAGAIN:        "this machine cannot start another process or thread",
}

// AsFault returns the fault that an error of a run is, or nil if it is the target's.
func AsFault(_ context.Context, err error) error {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	if e, ok := errors.AsType[*DeniedError](err); ok {
		return &Fault{Reason: e.Error(), Err: err}
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		if reason, is := ours[e]; is {
			return &Fault{Reason: reason, Err: err}
		}
	}
	return nil
}

// resolver remembers whether the name servers of this machine answer.
type resolver struct {
	ask func(context.Context) error // looks up a name that does not exist; nil for [askSystem]

	mu      sync.Mutex
	last    time.Time     // of the last answer
	asked   time.Time     // when it was last asked for a name that does not exist
	present bool          // whether it answered then
	asking  chan struct{} // closed when it has been asked; nil while nobody asks
}

const (
	answerHolds = time.Second     // how long an answer shows that the name server is there
	askPatience = 2 * time.Second // for the answer that a name does not exist
)

func askSystem(ctx context.Context) error {
	_, err := net.DefaultResolver.LookupHost(ctx, "checkstack.invalid.")
	return err
}

// answered notes that a name was looked up.
func (r *resolver) answered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
}

// reachable reports whether a name server answers. Callers who ask at the same time share one question, which is not cut short
// when the one who began it has no more time.
func (r *resolver) reachable(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if time.Since(r.last) < answerHolds {
			return true
		}
		if time.Since(r.asked) < answerHolds {
			return r.present
		}
		if r.asking == nil {
			r.asking = make(chan struct{})
			go r.question(context.WithoutCancel(ctx))
		}
		asking := r.asking
		r.mu.Unlock()
		select {
		case <-asking:
		case <-ctx.Done():
			r.mu.Lock()
			return true // nobody waits to hear it
		}
		r.mu.Lock()
	}
}

// question asks, and tells those who wait.
func (r *resolver) question(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	ask := r.ask
	if ask == nil {
		ask = askSystem
	}
	err := ask(ctx)
	e, ok := errors.AsType[*net.DNSError](err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.present = err == nil || ok && e.IsNotFound
	r.asked = time.Now()
	close(r.asking)
	r.asking = nil
}

// asDNSFault makes a fault of a lookup that got no answer because nobody answers, and leaves every other error as it is.
func (p *Policy) asDNSFault(ctx context.Context, err error) error {
	e, ok := errors.AsType[*net.DNSError](err)
	if !ok || p == nil || over(ctx, err) {
		return err
	}
	if e.IsNotFound {
		p.resolver.answered()
		return err
	}
	if p.resolver.reachable(ctx) {
		return err
	}
	return &Fault{Reason: "this server cannot reach its name servers", Err: err}
}

// Explain says in a few words what an error means, for everybody: without addresses, names, and what the other side sent. An
// error with a method Plain() string says so itself.
func Explain(err error) string {
	if e, ok := errors.AsType[interface {
		error
		Plain() string
	}](err); ok {
		return e.Plain()
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return "the host name does not exist"
		}
		return "the host name could not be looked up"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return "the TLS certificate has expired or is not valid yet"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the TLS certificate is for another host"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the TLS certificate is signed by an unknown authority"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the TLS certificate is not valid"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the other side does not speak TLS"
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e.Error() // "connection refused"
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && (e.Op == "remote error" || e.Op == "local error") {
		return "the TLS handshake was refused" // crypto/tls reports alerts so
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection was closed before the answer was complete"
	}
	return "there was no valid answer"
}

// PlainError is an error whose text is for everybody, as [Explain] passes it on. Err, which may be nil, is for those who may see runs.
type PlainError struct {
	Text string
	Err  error
}

// Error is the text, and what Err says.
func (e *PlainError) Error() string {
	if e.Err == nil {
		return e.Text
	}
	return e.Text + ": " + e.Err.Error()
}

// Unwrap is Err.
func (e *PlainError) Unwrap() error { return e.Err }

// Plain is the text.
func (e *PlainError) Plain() string { return e.Text }

const maxDetail = 500 // characters of an error that a result keeps

// Shorten makes a text of at most max characters that the database can hold.
func Shorten(s string, max int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
	for i := range s {
		if max == 0 {
			return s[:i]
		}
		max--
	}
	return s
}

// Cut is Shorten for what people read: a text that was longer ends with "…", within the max characters.
func Cut(s string, max int) string {
	head := s[:min(len(s), utf8.UTFMax*max)]
	if shown := Shorten(head, max); len(head) == len(s) && shown == Shorten(s, len(s)) {
		return shown
	}
	return Shorten(head, max-1) + "…"
}
