// How a check speaks TLS, for every type that can: whom it trusts, what name it expects, and who it says it is.

package engine

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"

	"checkstack/plugins"
)

// TLS is the part of a configuration that says how to speak TLS.
type TLS struct {
	Verify      *bool  `json:"verify,omitempty" doc:"whether the certificate must be valid" default:"true"`
	ServerName  string `json:"serverName,omitempty" doc:"the name to ask for and to expect in the certificate, if not the host" limit:"0-253"`
	CA          string `json:"ca,omitempty" doc:"certificates in PEM to trust instead of those of the system" limit:"0-65536"`
	Certificate string `json:"certificate,omitempty" doc:"the client's certificate in PEM" limit:"0-65536"`
	Key         string `json:"key,omitempty" doc:"the private key of the client's certificate in PEM" limit:"0-65536"`

	config *tls.Config
}

// Compile checks the certificates and makes the configuration. field is where an error is, such as "tls". t may be nil.
func (t *TLS) Compile(field string) error {
	if t == nil {
		return nil
	}
	c := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.Verify != nil && !*t.Verify}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return plugins.Invalid(field+".ca", "expected certificates in PEM")
		}
	}
	if (t.Certificate == "") != (t.Key == "") {
		return plugins.Invalid(field+".key", "expected a certificate and its key, or neither")
	}
	if t.Certificate != "" {
		pair, err := tls.X509KeyPair([]byte(t.Certificate), []byte(t.Key))
		if err != nil {
			return plugins.Invalid(field+".certificate", "expected a certificate in PEM and the private key that fits it")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	t.config = c
	return nil
}

// Config is a copy of the configuration for a connection to host, a name or an address. t may be nil; otherwise it was compiled.
func (t *TLS) Config(host string) *tls.Config {
	c := &tls.Config{}
	if t != nil && t.config != nil {
		c = t.config.Clone()
	}
	if c.ServerName == "" {
		c.ServerName = host
	}
	return c
}

// MeasureTLS sets what a handshake showed: tls.version, tls.cipher, and of the server's certificate certificate.daysLeft,
// certificate.notAfter, certificate.issuer, certificate.subject and certificate.names.
func (m *Measured) MeasureTLS(state tls.ConnectionState) {
	m.Set("tls.version", tls.VersionName(state.Version))
	m.Set("tls.cipher", tls.CipherSuiteName(state.CipherSuite))
	m.MeasureCertificates(state.PeerCertificates)
}

// MeasureCertificates sets what a chain of certificates shows, the server's own first. The days left are those of the
// certificate in it that expires first, in whole days that have not begun: 0 on the last day, negative once it is over.
func (m *Measured) MeasureCertificates(chain []*x509.Certificate) {
	if len(chain) == 0 {
		return
	}
	leaf, until := chain[0], chain[0].NotAfter
	for _, c := range chain {
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	m.Set("certificate.daysLeft", wholeDays(time.Now(), until))
	m.Set("certificate.notAfter", until.UTC().Format(time.RFC3339))
	m.Set("certificate.subject", Shorten(leaf.Subject.String(), maxDetail))
	m.Set("certificate.issuer", Shorten(leaf.Issuer.String(), maxDetail))
	names := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, net.IP(ip).String())
	}
	m.Set("certificate.names", names[:min(len(names), maxParts)])
}

// wholeDays is how many days fit between two times, rounded down. They may be further apart than a [time.Duration] can be: a
// certificate that never expires has 9999 as its last year (RFC 5280, section 4.1.2.5).
func wholeDays(from, to time.Time) int {
	const day = 24 * 60 * 60
	seconds := to.Unix() - from.Unix()
	if to.Nanosecond() < from.Nanosecond() {
		seconds--
	}
	days := seconds / day
	if seconds%day < 0 {
		days--
	}
	return int(days)
}

// TLSPaths are what [Measured.MeasureTLS] sets.
func TLSPaths() []Path {
	return []Path{
		{"tls.version", Text, `the version spoken, such as "TLS 1.3"`},
		{"tls.cipher", Text, "the cipher suite"},
		{"certificate.daysLeft", Number, "whole days until the first certificate of the chain expires"},
		{"certificate.notAfter", Text, "when that is, RFC 3339"},
		{"certificate.subject", Text, "whom the certificate is for"},
		{"certificate.issuer", Text, "who signed it"},
		{"certificate.names", Texts, "the names and addresses it is valid for"},
	}
}
