package plugins

import (
	"errors"
	"net"
	"net/url"
	"strings"
)

// Origin checks the flag -server of a command that sends a token to another server, and returns it without a slash at its
// end. plain is what the flag -plain-http says: without it a server on another machine must be https.
func Origin(s string, plain bool) (string, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return "", errors.New("expected -server with the origin of the server, such as https://status.example.org")
	case !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") && !strings.Contains(s, "://"):
		return "", errors.New("expected for -server an origin that begins with https:// or http://, such as https://status.example.org")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.TrimRight(s, "/") != u.Scheme+"://"+u.Host:
		return "", errors.New("expected for -server an origin such as https://status.example.org, without a path")
	case u.Scheme == "http" && !plain && !loopback(u.Hostname()):
		return "", errors.New("expected https for -server, because the token and secrets of checks are sent; -plain-http is for networks that are secret themselves")
	}
	return u.Scheme + "://" + u.Host, nil
}

// loopback reports whether a host is this machine, so that what is sent to it does not leave it.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
