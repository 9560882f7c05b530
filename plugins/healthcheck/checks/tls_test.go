package checks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// tlsPKI is an authority, one below it, and what they signed.
type tlsPKI struct {
	root, below                tls.Certificate
	rootPEM                    string
	leaf                       tls.Certificate // for 127.0.0.1, ::1 and good.example, signed by the one below, which is sent with it
	alone                      tls.Certificate // the same without the authority below
	expired, early, other, own tls.Certificate
	soon                       tls.Certificate // 10 days
}

func tlsMake(t *testing.T) *tlsPKI {
	t.Helper()
	const year = 365 * 24 * time.Hour
	p := &tlsPKI{}
	p.root = tlsSign(t, "root", nil, -year, 10*year)
	p.rootPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.root.Certificate[0]}))
	p.below = tlsSign(t, "below", &p.root, -year, 10*year)
	p.alone = tlsSign(t, "leaf", &p.below, -time.Hour, 100*24*time.Hour+time.Hour, "127.0.0.1", "::1", "good.example")
	p.leaf = p.alone
	p.leaf.Certificate = append(p.leaf.Certificate[:1:1], p.below.Certificate[0])
	p.expired = tlsSign(t, "leaf", &p.root, -year, -36*time.Hour, "127.0.0.1")
	p.early = tlsSign(t, "leaf", &p.root, year, 2*year, "127.0.0.1")
	p.other = tlsSign(t, "leaf", &p.root, -time.Hour, year, "secret.example")
	p.own = tlsSign(t, "own", nil, -time.Hour, year, "127.0.0.1")
	p.soon = tlsSign(t, "leaf", &p.root, -time.Hour, 10*24*time.Hour+time.Hour, "127.0.0.1")
	return p
}

// tlsSign makes a certificate that is valid from and until so long from now. One without a signer signs itself, and one
// without names is an authority.
func tlsSign(t *testing.T, subject string, signer *tls.Certificate, from, until time.Duration, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: subject}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	if len(names) == 0 {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	parent, signing := c, key
	if signer != nil {
		parent, signing = signer.Leaf, signer.PrivateKey.(*ecdsa.PrivateKey)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signing)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// tlsServe speaks TLS with every connection, and then lets do speak.
func tlsServe(t *testing.T, with tls.Certificate, do func(net.Conn)) string {
	return tcpServe(t, tlsThen(with, do))
}

func tlsThen(with tls.Certificate, do func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{with}})
		if secure.Handshake() == nil {
			do(secure)
		}
	}
}

func tlsQuote(s string) string {
	data, _ := json.Marshal(s)
	return string(data)
}

func TestATLSCheckMeasuresACertificateWhetherItIsValidOrNot(t *testing.T) {
	pki := tlsMake(t)
	const unknown = "the TLS certificate is signed by an unknown authority"
	const past = "the TLS certificate has expired or is not valid yet"
	for _, test := range []struct {
		name    string
		with    tls.Certificate
		more    string
		status  plugins.Status
		message string
		days    int
		valid   bool
		why     string // is in verifyError
	}{
		{"chain", pki.leaf, "", plugins.Healthy, "the certificate expires in 100 days", 100, true, ""},
		{"a name of it", pki.leaf, `,"serverName":"GOOD.example"`, plugins.Healthy, "the certificate expires in 100 days", 100, true, ""},
		{"without the one between", pki.alone, "", plugins.Unhealthy, unknown, 100, false, "unknown authority"},
		{"expired", pki.expired, "", plugins.Unhealthy, past, -2, false, "has expired"},
		{"expired, accepted", pki.expired, `,"verify":false`, plugins.Healthy, "the certificate has expired", -2, false, "has expired"},
		{"expired, accepted for some days", pki.expired, `,"verify":false,"minDays":1`, plugins.Unhealthy, "the certificate has expired", -2, false, "has expired"},
		{"not valid yet", pki.early, "", plugins.Unhealthy, past, 729, false, "not yet valid"},
		{"wrong host", pki.other, "", plugins.Unhealthy, "the TLS certificate is for another host", 364, false, "127.0.0.1"},
		{"wrong name", pki.leaf, `,"serverName":"bad.example"`, plugins.Unhealthy, "the TLS certificate is for another host", 100, false, "bad.example"},
		{"self-signed", pki.own, "", plugins.Unhealthy, unknown, 364, false, "unknown authority"},
		{"self-signed, accepted", pki.own, `,"verify":false`, plugins.Healthy, "the certificate expires in 364 days", 364, false, "unknown authority"},
		{"enough days", pki.soon, `,"warnDays":10,"minDays":10`, plugins.Healthy, "the certificate expires in 10 days", 10, true, ""},
		{"few days", pki.soon, `,"warnDays":11,"minDays":10`, plugins.Degraded, "the certificate expires in 10 days", 10, true, ""},
		{"too few days", pki.soon, `,"warnDays":30,"minDays":11`, plugins.Unhealthy, "the certificate expires in 10 days", 10, true, ""},
	} {
		address := tlsServe(t, test.with, tcpSilent)
		out := tcpRun(t, TLS(nil), time.Minute, `{"address":"`+address+`","ca":`+tlsQuote(pki.rootPEM)+test.more+`}`)
		if out.Status != test.status || out.Message != test.message || out.Fault != nil || out.Latency == nil {
			t.Errorf("%s: got %s %q, fault %v, latency %v; want %s %q", test.name, out.Status, out.Message, out.Fault, out.Latency, test.status, test.message)
		}
		days, _ := out.Measured.Get("certificate.daysLeft")
		valid, _ := out.Measured.Get("verified")
		if days != test.days || valid != test.valid || !strings.Contains(tcpText(out, "verifyError"), test.why) || test.valid != (tcpText(out, "verifyError") == "") {
			t.Errorf("%s: measured %s", test.name, out.Measured.Object())
		}
		if tcpText(out, "certificate.subject") != "CN="+test.with.Leaf.Subject.CommonName || tcpText(out, "tls.version") != "TLS 1.3" {
			t.Errorf("%s: measured %s", test.name, out.Measured.Object())
		}
		tcpPrivate(t, test.name, out)
	}
}

func TestATLSCheckWithoutAHandshakeIsUnhealthyAndHasNoLatency(t *testing.T) {
	pki := tlsMake(t)
	hello := func(c net.Conn) { c.Read(make([]byte, 4096)) }
	old := func(c net.Conn) {
		tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pki.leaf}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake()
	}
	for _, test := range []struct {
		name    string
		do      func(net.Conn)
		message string
	}{
		{"closed", func(net.Conn) {}, ""},
		{"not TLS", func(c net.Conn) { hello(c); io.WriteString(c, "HTTP/1.1 400 secret\r\n\r\n"); tcpSilent(c) }, "the other side does not speak TLS"},
		{"truncated", func(c net.Conn) { hello(c); c.Write([]byte{22, 3, 3, 0, 100, 2, 0}) }, "the connection was closed before the answer was complete"},
		{"alert", func(c net.Conn) { hello(c); c.Write([]byte{21, 3, 3, 0, 2, 2, 40}); tcpSilent(c) }, "the TLS handshake was refused"},
		{"old", old, ""},
		{"endless", func(c net.Conn) {
			hello(c)
			c.Write([]byte{22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff}) // the head of a message of 16 MiB
			tcpEndless("\x00")(c)
		}, ""},
	} {
		out := tcpRun(t, TLS(nil), time.Minute, `{"address":"`+tcpServe(t, test.do)+`"}`)
		if out.Status != plugins.Unhealthy || out.Latency != nil || out.Fault != nil || out.Message == "" || test.message != "" && out.Message != test.message {
			t.Errorf("%s: got %s %q, latency %v, fault %v; want %q", test.name, out.Status, out.Message, out.Latency, out.Fault, test.message)
		}
		tcpPrivate(t, test.name, out)
	}
}

func TestTheTimeOfARunEndsATLSCheckWhateverItWaitsFor(t *testing.T) {
	pki := tlsMake(t)
	slow := func(c net.Conn) { c.Read(make([]byte, 1)); c.Write([]byte{22, 3, 3}); tcpSilent(c) }
	deaf := tlsServe(t, pki.leaf, tcpSilent) // waits for a hello, as the check waits for a greeting
	for _, config := range []string{
		`{"address":"` + tcpServe(t, tcpSilent) + `"}`,
		`{"address":"` + tcpServe(t, slow) + `"}`,
		`{"address":"` + deaf + `","starttls":"smtp"}`,
		`{"address":"` + tcpServe(t, tcpSay("220 x\r\n")) + `","starttls":"smtp"}`,
		`{"address":"` + tcpServe(t, tcpSay("* OK\r\n", "* CAPA")) + `","starttls":"imap"}`,
		`{"address":"` + tcpServe(t, tcpSilent) + `","starttls":"postgres"}`,
	} {
		out := tcpRun(t, TLS(nil), 100*time.Millisecond, config)
		if out.Status != plugins.Unhealthy || out.Message != "timed out after 100ms" || out.Latency != nil || out.Fault != nil {
			t.Errorf("%s: got %s %q, %v, fault %v", config, out.Status, out.Message, out.Latency, out.Fault)
		}
	}
}

func TestATLSCheckShowsItsCertificateToAServerThatAsksForIt(t *testing.T) {
	pki := tlsMake(t)
	client := tlsSign(t, "client", &pki.root, -time.Hour, time.Hour, "client.example")
	der, err := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 1)
	address := tcpServe(t, func(c net.Conn) {
		secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pki.leaf}, ClientAuth: tls.RequireAnyClientCert})
		if err := secure.Handshake(); err != nil {
			seen <- err.Error()
			return
		}
		seen <- secure.ConnectionState().PeerCertificates[0].Subject.CommonName
	})
	out := tcpRun(t, TLS(nil), time.Minute, fmt.Sprintf(`{"address":%q,"ca":%s,"certificate":%s,"key":%s}`, address, tlsQuote(pki.rootPEM),
		tlsQuote(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: client.Certificate[0]}))),
		tlsQuote(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))))
	if got := <-seen; got != "client" || out.Status != plugins.Healthy {
		t.Errorf("the server saw %q; got %s %q", got, out.Status, out.Message)
	}
}

func TestAConfigurationOfATLSCheckIsChecked(t *testing.T) {
	for config, field := range map[string]string{
		`{}`:                                    "address",
		`{"address":"h","starttls":"ftp"}`:      "starttls",
		`{"address":"h","minDays":0}`:           "minDays",
		`{"address":"h","ca":"x"}`:              "ca",
		`{"address":"h","key":"x"}`:             "key",
		`{"address":"h","serverName":"a b"}`:    "serverName",
		`{"address":"h","Verify":false}`:        "Verify",
		`{"address":"h","certificate":"-----"}`: "key",
	} {
		tcpInvalid(t, TLS(nil), config, field)
	}
	for starttls, target := range map[string]string{"none": "h:443", "smtp": "h:25", "imap": "h:143", "pop3": "h:110", "postgres": "h:5432", "ldap": "h:389"} {
		check, err := TLS(nil).Compile(json.RawMessage(`{"address":"h","starttls":"` + starttls + `"}`))
		if err != nil || check.Target() != target {
			t.Errorf("%s: target %s, %v", starttls, check.Target(), err)
		}
	}
}
