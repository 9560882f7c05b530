package auth

import (
	"database/sql"
	"net/http/httptest"
	"testing"

	"checkstack/plugins"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

// BenchmarkIdentify is what a token costs each request, with as many requests at once as there are processors, beside
// the least that a round trip to the same database costs.
func BenchmarkIdentify(b *testing.B) {
	db, _ := postgrestest.New(b, postgres.Set{ID: "auth", Files: New(&plugins.Host{}).Plugin().Migrations})
	a := New(&plugins.Host{ID: "auth", DB: db})
	secret := newToken()
	err := plugins.Tx(b.Context(), db, func(tx *sql.Tx) error {
		_, err := insert(b.Context(), tx, plugins.NewID(), secret, "bench", plugins.Viewer, nil)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("token", func(b *testing.B) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+secret)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if p, err := a.identify(r); err != nil || p == nil {
					b.Error(p, err)
				}
			}
		})
	})
	b.Run("select 1", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := db.ExecContext(b.Context(), "select 1"); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
