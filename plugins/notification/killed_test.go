package notification_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"checkstack/plugins/internal/servertest"
	"checkstack/sql/postgres/postgrestest"
)

// TestTheMessagesOfAKilledServerAreSentByAnother kills a server while a message is on its way. Another one, which has a new key, sends
// that message again, and then those after it.
func TestTheMessagesOfAKilledServerAreSentByAnother(t *testing.T) {
	t.Parallel()
	db, url := postgrestest.New(t)
	type letter struct{ ID, Title string }
	came, hang := make(chan letter, 10), make(chan struct{})
	r := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var l letter
		if err := json.NewDecoder(r.Body).Decode(&l); err != nil {
			t.Error(err)
		}
		came <- l
		<-hang
	}))
	defer r.Close()
	start := func(key, previous string) *servertest.Server {
		s := servertest.Start(t, servertest.Config{Database: url, Env: map[string]string{"CHECKSTACK_MASTER_KEY": key, "CHECKSTACK_MASTER_KEY_PREVIOUS": previous}})
		s.DB = db
		return s
	}
	first := start(key, "")
	c, shop := madeChannel(t, first, "A", r.URL), thing(t, first, "system", "Shop")
	subscribed(t, first, c.ID, "healthcheck.system", "")
	posted(t, first, shop, "critical", "Down")
	posted(t, first, shop, "recovered", "Up")
	lost := <-came
	before := stored(t, first)
	first.Kill(t)
	close(hang)
	execute(t, first, `update notification.channels set leased_until = now()`) // the minute is over
	second := start("ff"+key[2:], key)
	again, next := <-came, <-came
	if lost.Title != "Down" || again != lost || next.Title != "Up" {
		t.Errorf("%v has come, and then %v and %v", lost, again, next)
	}
	list := settled(t, second, "")
	if len(list.Items) != 2 || list.Items[0].State != "delivered" || list.Items[1].State != "delivered" || list.Items[1].ID != lost.ID {
		t.Errorf("kept is %+v", list)
	}
	sealed := func(row string) string { return row[strings.Index(row, ",v1."):][:len(",v1.00000000.")] }
	if now := stored(t, second); sealed(now) == sealed(before) {
		t.Errorf("with a new key it is stored as %s", now)
	}
}
