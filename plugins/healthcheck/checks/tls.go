// The check type tls looks at how a server speaks TLS: whether its certificate can be trusted, and for how long it still can.
//
//	connect ── STARTTLS, if the protocol begins without TLS ── handshake ── certificate
//
// The hard case is a certificate that is not valid. A handshake that ends there shows nothing, yet now of all times one wants
// to see whose certificate it is and since when. So the handshake itself accepts every certificate, as nothing is said over the
// connection afterwards; the chain is verified when it is over, by the same rules.
//
// The latency is the time from the start to the end of the handshake, with the name lookup, also when the certificate is not valid.
// Whether a certificate was revoked is not looked at.

package checks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

// TLS is the check type tls.
func TLS(p *engine.Policy) engine.Type {
	paths := append(engine.TLSPaths(),
		engine.Path{Name: "verified", Kind: engine.Bool, Doc: "whether the certificate is valid for the name, now, and signed by an authority that is trusted"},
		engine.Path{Name: "verifyError", Kind: engine.Text, Doc: "why it is not"},
		engine.Path{Name: "phases.connectMs", Kind: engine.Number, Doc: "milliseconds for the name lookup and the connection"},
		engine.Path{Name: "phases.starttlsMs", Kind: engine.Number, Doc: "milliseconds until the server was ready for TLS, with starttls"},
		engine.Path{Name: "phases.tlsMs", Kind: engine.Number, Doc: "milliseconds for the TLS handshake"})
	return engine.New("tls", paths, func() engine.Config { return &tlsCheck{Verify: true, StartTLS: "none", policy: p} })
}

type tlsCheck struct {
	Address     string `json:"address" doc:"host to connect to, and its port if it is not 443 or the usual one of starttls" limit:"1-300" required:"true"`
	StartTLS    string `json:"starttls" doc:"the protocol that is spoken until TLS begins" enum:"none,smtp,imap,pop3,postgres,ldap"`
	ServerName  string `json:"serverName" doc:"the name to ask for and to expect in the certificate, if not the host" limit:"0-253"`
	Verify      bool   `json:"verify" doc:"whether a certificate that is not valid is unhealthy; it is measured in any case"`
	MinDays     int    `json:"minDays" doc:"unhealthy if a certificate of the chain is valid for fewer days than this; by default not looked at" limit:"1-3650"`
	WarnDays    int    `json:"warnDays" doc:"degraded if a certificate of the chain is valid for fewer days than this; by default not looked at" limit:"1-3650"`
	CA          string `json:"ca" doc:"certificates in PEM to trust instead of those of the system" limit:"0-65536"`
	Certificate string `json:"certificate" doc:"the client's certificate in PEM" limit:"0-65536"`
	Key         string `json:"key" doc:"the private key of the client's certificate in PEM" limit:"0-65536"`

	policy        *engine.Policy
	address, host string
	config        *tls.Config
}

// Validate implements [engine.Config].
func (c *tlsCheck) Validate() (err error) {
	port := tlsStarts(c.StartTLS).port
	if c.address, err = engine.Address("address", c.Address, port); err != nil {
		return err
	}
	c.host, _, _ = net.SplitHostPort(c.address) // Address made it
	if c.ServerName != "" && !engine.IsHost(c.ServerName) {
		return plugins.Invalid("serverName", "expected a host name or an address")
	}
	t := &engine.TLS{ServerName: c.ServerName, CA: c.CA, Certificate: c.Certificate, Key: c.Key}
	if err := t.Compile(""); err != nil {
		if e, ok := errors.AsType[*plugins.Error](err); ok {
			e.Field = strings.TrimPrefix(e.Field, ".") // its fields are this one's own
		}
		return err
	}
	c.config = t.Config(c.host)
	return nil
}

// Target implements [engine.Config].
func (c *tlsCheck) Target() string { return c.address }

// Run implements [engine.Config].
func (c *tlsCheck) Run(ctx context.Context) engine.Outcome {
	var m engine.Measured
	start := time.Now()
	state, err := c.handshake(ctx, &m)
	latency := time.Since(start)
	if err != nil {
		return tcpFailed(ctx, err, m)
	}
	err = tlsVerify(state.PeerCertificates, c.config)
	m.Set("verified", err == nil)
	if err != nil {
		m.Set("verifyError", engine.Shorten(err.Error(), 500))
	}
	out := engine.Outcome{Status: plugins.Healthy, Latency: &latency, Measured: m}
	left, _ := m.Get("certificate.daysLeft")
	days, _ := left.(int) // a server always has a certificate
	switch {
	case c.Verify && err != nil:
		out.Status, out.Message = plugins.Unhealthy, engine.Explain(err)
		return out
	case c.MinDays > 0 && days < c.MinDays:
		out.Status = plugins.Unhealthy
	case c.WarnDays > 0 && days < c.WarnDays:
		out.Status = plugins.Degraded
	}
	switch {
	case days < 0:
		out.Message = "the certificate has expired"
	case days == 0:
		out.Message = "the certificate expires in less than a day"
	case days == 1:
		out.Message = "the certificate expires in 1 day"
	default:
		out.Message = fmt.Sprintf("the certificate expires in %d days", days)
	}
	return out
}

func (c *tlsCheck) handshake(ctx context.Context, m *engine.Measured) (tls.ConnectionState, error) {
	conn, err := tcpDial(ctx, c.policy, "tcp", c.address, m)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	protocol := tlsStarts(c.StartTLS)
	if protocol.ask != nil {
		start := time.Now()
		if err := tlsAsk(conn, protocol); err != nil {
			return tls.ConnectionState{}, err
		}
		m.Set("phases.starttlsMs", tcpMs(time.Since(start)))
	}
	config := c.config.Clone()
	config.InsecureSkipVerify = true // it is verified later
	secure, err := tlsHandshake(ctx, conn, config, m)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	io.WriteString(secure, protocol.bye) // so that nobody looks for a lost connection
	secure.Close()
	return secure.ConnectionState(), nil
}

// tlsHandshake begins TLS on a connection, and measures it, also where the certificate is not valid.
func tlsHandshake(ctx context.Context, conn net.Conn, config *tls.Config, m *engine.Measured) (*tls.Conn, error) {
	start := time.Now()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			m.MeasureCertificates(e.UnverifiedCertificates)
		}
		return nil, err
	}
	m.Set("phases.tlsMs", tcpMs(time.Since(start)))
	m.MeasureTLS(secure.ConnectionState())
	return secure, nil
}

// tlsVerify does what crypto/tls does in a handshake.
func tlsVerify(chain []*x509.Certificate, config *tls.Config) error {
	options := x509.VerifyOptions{Roots: config.RootCAs, DNSName: config.ServerName, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(options); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
	}
	return nil
}
