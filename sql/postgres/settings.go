package postgres

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/lib/pq"
)

const (
	superuser    = "checkstack" // of a private cluster
	databaseName = "checkstack" // in a private cluster
)

// sessionSettings are set for every connection, unless the connection string sets them.
var sessionSettings = map[string]string{
	"timezone":                            "UTC",
	"statement_timeout":                   "30s",
	"idle_in_transaction_session_timeout": "60s",
}

// parse reads a connection string, a URL or key=value pairs, and the environment variables that libpq knows. Its errors show
// nothing of the string, which may have a password anywhere if it is not written as it should be.
func parse(s string) (pq.Config, error) {
	cfg, err := pq.NewConfig(s)
	if err != nil {
		return cfg, explainParse(s, err)
	}
	if cfg.ApplicationName == "" {
		cfg.ApplicationName = "checkstack"
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if cfg.SSLMode == "" {
		cfg.SSLMode = pq.SSLModePrefer
	}
	return withSessionSettings(cfg), nil
}

func explainParse(s string, err error) error {
	if _, ok := errors.AsType[*url.Error](err); ok {
		return errors.New("DATABASE_URL is not a valid URL: what is special in a URL, such as / or @ in a password, must be percent-encoded")
	}
	// "pq: wrong value for "port": strconv.ParseUint: …" may repeat a piece of a password from there on.
	if text, _, _ := strings.Cut(err.Error(), ": strconv."); strings.HasPrefix(text, "pq: ") {
		return fmt.Errorf("DATABASE_URL: %s", strings.TrimPrefix(text, "pq: "))
	}
	return errors.New("DATABASE_URL is neither a URL such as postgres://user:password@host:5432/database nor key=value pairs " +
		"such as host=/run/postgresql dbname=checkstack")
}

// withSessionSettings adds the settings that the connection string does not have, as parameters or in its options.
func withSessionSettings(cfg pq.Config) pq.Config {
	cfg = cfg.Clone()
	for name, value := range sessionSettings {
		stated := strings.Contains(strings.ToLower(cfg.Options), name)
		for given := range cfg.Runtime {
			stated = stated || strings.EqualFold(given, name)
		}
		if !stated {
			cfg.Runtime[name] = value
		}
	}
	return cfg
}

// config is how the cluster's own processes reach it. It is written out, so that no environment variable has a say in it.
func (c *cluster) config() pq.Config {
	return withSessionSettings(pq.Config{
		Host:            c.socketDir(),
		Port:            portNumber,
		User:            superuser,
		Database:        databaseName,
		Password:        "none", // not asked for; but without one, ~/.pgpass would be read for every connection
		SSLMode:         pq.SSLModeDisable,
		ApplicationName: "checkstack",
		ConnectTimeout:  5 * time.Second,
		ClientEncoding:  "UTF8",
		Datestyle:       "ISO, MDY",
	})
}

// url is how another process reaches the cluster.
func (c *cluster) url() string {
	quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(c.socketDir())
	return fmt.Sprintf("host='%s' port=%d user=%s dbname=%s sslmode=disable", quoted, portNumber, superuser, databaseName)
}
