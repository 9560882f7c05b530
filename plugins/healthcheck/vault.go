// The secrets of configurations: passwords, tokens, headers that log somebody in. They are stored sealed, shown to nobody, and
// opened only for a run. What is a secret is told by the name of its field, so no check type has to care; see
// [engine.IsSecret].
//
//	from an editor   "password": "hunter2"                 is sealed and stored
//	                 "password": "********"                keeps the one that is stored
//	                 "password": "${ENV:SHOP_PASSWORD}"    is no secret itself, and stays as it is
//	to a viewer      "password": "********"
//	stored           "password": {"sealed": "v1.…"}
//
// The hard case is a key that is changed. A secret that was sealed with the previous key opens still, and is sealed anew when
// the server boots, so that the previous key can be taken away after that.

package healthcheck

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"fmt"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck/engine"
)

var (
	//go:embed sql/sealed.sql
	sealedSQL string
	//go:embed sql/reseal.sql
	resealSQL string
)

// vault seals and opens the secrets of configurations.
type vault struct{ secrets *plugins.Secrets }

// seal returns a config with its secrets sealed, for the configuration with an ID.
func (v *vault) seal(id string, config json.RawMessage) (json.RawMessage, error) {
	return engine.SealSecrets(config, id, v.sealer())
}

// open returns a config with its secrets open. A nil vault opens nothing.
func (v *vault) open(id string, config json.RawMessage) (json.RawMessage, error) {
	if v == nil {
		return config, nil
	}
	return engine.OpenSecrets(config, id, v.sealer())
}

func (v *vault) sealer() engine.Sealer { return v.secrets }

// reseal seals with the present key what was sealed with the previous one. It returns how many configurations hold secrets
// that cannot be opened: their checks cannot be made.
func (v *vault) reseal(ctx context.Context, db *sql.DB) (lost int, err error) {
	type sealed struct {
		id     string
		config json.RawMessage
	}
	all, err := plugins.Rows(ctx, db, func(row plugins.Row) (s sealed, err error) {
		err = row.Scan(&s.id, (*[]byte)(&s.config))
		return s, err
	}, sealedSQL)
	if err != nil {
		return 0, fmt.Errorf("read the configurations with secrets: %w", err)
	}
	for _, s := range all {
		stale := false
		plain, err := engine.OpenSecrets(s.config, s.id, noting{v.secrets, &stale})
		if err != nil {
			lost++
			continue
		}
		if !stale {
			continue
		}
		anew, err := v.seal(s.id, plain)
		if err != nil {
			return lost, err
		}
		if _, err := db.ExecContext(ctx, resealSQL, s.id, string(s.config), string(anew)); err != nil {
			return lost, fmt.Errorf("seal the secrets of a configuration anew: %w", err)
		}
	}
	return lost, nil
}

// noting is a sealer that notes whether something was sealed with another key than the present one.
type noting struct {
	*plugins.Secrets
	stale *bool
}

func (n noting) Open(context, sealed string) (string, error) {
	if n.Stale(sealed) {
		*n.stale = true
	}
	return n.Secrets.Open(context, sealed)
}
