package engine

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

// identity is a certificate and its key in PEM.
type identity struct {
	certificate, key string
	parsed           *x509.Certificate
	pair             tls.Certificate
}

// identify makes a certificate that signs itself.
func identify(t *testing.T, name string, until time.Time) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	id := identity{
		certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		key:         string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
	}
	if id.parsed, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if id.pair, err = tls.X509KeyPair([]byte(id.certificate), []byte(id.key)); err != nil {
		t.Fatal(err)
	}
	return id
}

// handshake connects as c says to a server that has an identity, and asks clients for one of theirs if it knows any.
func handshake(t *testing.T, c *tls.Config, server identity, clients ...identity) (state tls.ConnectionState, err error) {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{server.pair}, MaxVersion: tls.VersionTLS12} // whose handshake ends with the server's word
	if clients != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		for _, client := range clients {
			config.ClientCAs.AddCert(client.parsed)
		}
	}
	l := listener(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = tls.Server(conn, config).HandshakeContext(t.Context())
	}()
	conn, err := (&Policy{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { conn.Close(); <-done }()
	client := tls.Client(conn, c)
	err = client.HandshakeContext(t.Context())
	return client.ConnectionState(), err
}

func TestAHandshakeTrustsWhomTheConfigurationSays(t *testing.T) {
	server, other := identify(t, "server.test", time.Now().Add(time.Hour)), identify(t, "other.test", time.Now().Add(time.Hour))
	expired := identify(t, "server.test", time.Now().Add(-time.Minute))
	for _, test := range []struct {
		name    string
		tls     *TLS
		host    string
		server  identity
		clients []identity
		words   string // why it failed
	}{
		{"trusted", &TLS{CA: server.certificate}, "server.test", server, nil, ""},
		{"one of two", &TLS{CA: other.certificate + server.certificate}, "server.test", server, nil, ""},
		{"verified on demand", &TLS{CA: server.certificate, Verify: new(true)}, "server.test", server, nil, ""},
		{"an address", &TLS{CA: server.certificate}, "192.0.2.1", server, nil, ""},
		{"another name", &TLS{CA: server.certificate, ServerName: "server.test"}, "127.0.0.1", server, nil, ""},
		{"not verified", &TLS{Verify: new(false)}, "example.org", expired, nil, ""},
		{"nothing said", nil, "server.test", server, nil, "the TLS certificate is signed by an unknown authority"},
		{"nobody trusted", &TLS{}, "server.test", server, nil, "the TLS certificate is signed by an unknown authority"},
		{"another trusted", &TLS{CA: other.certificate}, "server.test", server, nil, "the TLS certificate is signed by an unknown authority"},
		{"another host", &TLS{CA: server.certificate}, "example.org", server, nil, "the TLS certificate is for another host"},
		{"expired", &TLS{CA: expired.certificate}, "server.test", expired, nil, "the TLS certificate has expired or is not valid yet"},
		{"a known client", &TLS{CA: server.certificate, Certificate: other.certificate, Key: other.key}, "server.test", server, []identity{other}, ""},
		{"an unknown client", &TLS{CA: server.certificate, Certificate: server.certificate, Key: server.key}, "server.test", server, []identity{other}, "the TLS handshake was refused"},
		{"a client without certificate", &TLS{CA: server.certificate}, "server.test", server, []identity{other}, "the TLS handshake was refused"},
	} {
		if err := test.tls.Compile("tls"); err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		state, err := handshake(t, test.tls.Config(test.host), test.server, test.clients...)
		words := ""
		if err != nil {
			words = Explain(err)
		}
		if words != test.words {
			t.Errorf("%s: got %q: %v", test.name, words, err)
		}
		var m Measured
		if m.MeasureTLS(state); err == nil {
			version, _ := m.Get("tls.version")
			names, _ := m.Get("certificate.names")
			subject, _ := m.Get("certificate.subject")
			if version != "TLS 1.2" || !reflect.DeepEqual(names, []string{"server.test", "192.0.2.1", "2001:db8::1"}) || subject != "CN=server.test" {
				t.Errorf("%s: measured %s", test.name, m.Object())
			}
		}
	}
}

func TestTLSThatCannotBeSpokenIsRefusedByField(t *testing.T) {
	a, b := identify(t, "a.test", time.Now().Add(time.Hour)), identify(t, "b.test", time.Now().Add(time.Hour))
	const pair = "tls.certificate: expected a certificate in PEM and the private key that fits it"
	for _, test := range []struct {
		tls     TLS
		refused string
	}{
		{TLS{CA: "x"}, "tls.ca: expected certificates in PEM"},
		{TLS{CA: a.key}, "tls.ca: expected certificates in PEM"},
		{TLS{Certificate: a.certificate}, "tls.key: expected a certificate and its key, or neither"},
		{TLS{Key: a.key}, "tls.key: expected a certificate and its key, or neither"},
		{TLS{Certificate: a.certificate, Key: b.key}, pair},
		{TLS{Certificate: "x", Key: a.key}, pair},
		{TLS{Certificate: a.certificate, Key: "x"}, pair},
	} {
		if err := test.tls.Compile("tls"); refusal(t, err) != test.refused {
			t.Errorf("got %v, want %s", err, test.refused)
		}
	}
}

func TestTheConfigurationOfAConnectionIsItsOwn(t *testing.T) {
	c := &TLS{}
	if err := c.Compile("tls"); err != nil {
		t.Fatal(err)
	}
	one, two := c.Config("a"), c.Config("b")
	if one.ServerName != "a" || two.ServerName != "b" || one == two {
		t.Errorf("got %q and %q", one.ServerName, two.ServerName)
	}
}

func TestDaysLeftAreWholeDays(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		left time.Duration
		want int
	}{
		{0, 0}, {1, 0}, {day - 1, 0}, {day, 1}, {day + 1, 1}, {2*day - 1, 1}, {30 * day, 30}, {30*day - 1, 29}, {-1, -1}, {-day, -1}, {-day - 1, -2}, {-day + 1, -1}, {100_000*day - 1, 99_999},
	} {
		from := time.Date(2026, 1, 31, 23, 59, 59, 500, time.UTC)
		if got := wholeDays(from, from.Add(test.left)); got != test.want {
			t.Errorf("%s: got %d, want %d", test.left, got, test.want)
		}
	}
	if got := wholeDays(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)); got != 2912442 {
		t.Errorf("until the end of time: got %d", got)
	}
}

func TestACertificateLastsAsLongAsItsChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where no time passes
		leaf := identify(t, "leaf.test", time.Now().Add(48*time.Hour).Truncate(time.Second))
		issuer := identify(t, "issuer.test", time.Now().Add(24*time.Hour).Truncate(time.Second))
		for _, test := range []struct {
			chain []*x509.Certificate
			want  string
		}{
			{nil, `{}`},
			{[]*x509.Certificate{leaf.parsed}, `{"certificate":{"daysLeft":2,"notAfter":"2000-01-03T00:00:00Z","subject":"CN=leaf.test","issuer":"CN=leaf.test","names":["leaf.test","192.0.2.1","2001:db8::1"]}}`},
			{[]*x509.Certificate{leaf.parsed, issuer.parsed}, `{"certificate":{"daysLeft":1,"notAfter":"2000-01-02T00:00:00Z","subject":"CN=leaf.test","issuer":"CN=leaf.test","names":["leaf.test","192.0.2.1","2001:db8::1"]}}`},
		} {
			var m Measured
			m.MeasureCertificates(test.chain)
			if got := string(m.Object()); got != test.want {
				t.Errorf("got %s", got)
			}
		}
	})
}

func TestEveryTLSPathIsMeasured(t *testing.T) {
	server := identify(t, "server.test", time.Now().Add(time.Hour))
	c := &TLS{CA: server.certificate}
	if err := c.Compile("tls"); err != nil {
		t.Fatal(err)
	}
	state, err := handshake(t, c.Config("server.test"), server)
	if err != nil {
		t.Fatal(err)
	}
	var m Measured
	m.MeasureTLS(state)
	for _, p := range TLSPaths() {
		value, ok := m.Get(p.Name)
		kind := map[reflect.Type]Kind{reflect.TypeFor[string](): Text, reflect.TypeFor[int](): Number, reflect.TypeFor[[]string](): Texts}[reflect.TypeOf(value)]
		if !ok || kind != p.Kind {
			t.Errorf("%s is %v, not a %s", p.Name, value, p.Kind)
		}
	}
}
