package notification

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

// database is a database with the tables of the plugin, and the address of it.
func database(t testing.TB) (*sql.DB, string) {
	t.Helper()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	return postgrestest.New(t, postgres.Set{ID: "notification", Files: files})
}

func execute(t testing.TB, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func value[T any](t testing.TB, db plugins.Queryer, query string, args ...any) (v T) {
	t.Helper()
	if err := db.QueryRowContext(context.Background(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// texts returns a column of texts.
func texts(t testing.TB, db plugins.Queryer, query string, args ...any) []string {
	t.Helper()
	all, err := plugins.Rows(context.Background(), db, func(row plugins.Row) (s string, err error) {
		err = row.Scan(&s)
		return s, err
	}, query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return all
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

// sky owns systems and the groups they are in.
type sky struct {
	mu     sync.Mutex
	groups map[string][]string // of each system
	fail   func(ctx context.Context, id string) error
}

var (
	systemTarget = Target{Type: "sky.system", Name: "System"}
	groupTarget  = Target{Type: "sky.group", Name: "Group"}
	systemSpec   = Spec{Type: "sky.system", Target: systemTarget, Name: "Health of a system"}
	groupSpec    = Spec{Type: "sky.group", Target: groupTarget, Name: "Health of a group", Covers: "sky.system"}
	newsSpec     = Spec{Type: "sky.news", Target: systemTarget, Name: "News of a system"}
)

func (s *sky) system(ctx context.Context, id string) (Resource, error) {
	s.mu.Lock()
	groups, ok := s.groups[id]
	fail := s.fail
	s.mu.Unlock()
	if fail != nil {
		if err := fail(ctx, id); err != nil {
			return Resource{}, err
		}
	}
	if !ok {
		return Resource{}, plugins.NotFound("system")
	}
	r := Resource{Type: systemTarget.Type, ID: id, Name: strings.ToUpper(id)}
	for _, g := range groups {
		r.Parents = append(r.Parents, Ancestor{groupTarget.Type, g})
	}
	return r, nil
}

// set replaces the groups that a system is in.
func (s *sky) set(id string, groups ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups == nil {
		s.groups = map[string][]string{}
	}
	s.groups[id] = groups
}

// register contributes what sky has to a notifier, until the lease that is returned is undone.
func (s *sky) register(t testing.TB, n *Notifier) *plugins.Lease {
	t.Helper()
	host := &plugins.Host{ID: "sky", Log: slog.New(slog.DiscardHandler)}
	lease := plugins.Lend(context.Background(), host, func(err error) { t.Error(err) })
	none := func(context.Context, plugins.Page) (plugins.List[Resource], error) {
		return plugins.List[Resource]{}, nil
	}
	group := func(_ context.Context, id string) (Resource, error) {
		return Resource{Type: groupTarget.Type, ID: id, Name: id}, nil
	}
	err := errors.Join(
		n.RegisterTarget(context.Background(), host, systemTarget, Resources{List: none, Find: s.system}),
		n.RegisterTarget(context.Background(), host, groupTarget, Resources{List: none, Find: group}),
		n.RegisterSpec(context.Background(), host, systemSpec),
		n.RegisterSpec(context.Background(), host, groupSpec),
		n.RegisterSpec(context.Background(), host, newsSpec),
	)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// post is a channel type that keeps what came, and answers as a test says.
type post struct {
	mu     sync.Mutex
	came   []string // "channel: title", in the order they came
	ids    []string // of the messages
	answer func(ctx context.Context, to string, m Message) error
}

func (p *post) channelType() ChannelType {
	return ChannelType{Type: "post", Name: "Post", Schema: json.RawMessage(`{"type":"object"}`), Open: func(config json.RawMessage) (Sender, error) {
		l := letter{post: p}
		if err := plugins.Decode(config, &l); err != nil {
			return nil, err
		}
		if l.To == "" {
			return nil, plugins.Invalid("to", "expected somebody")
		}
		return l, nil
	}}
}

// letter is a configuration of a post.
type letter struct {
	post   *post
	To     string `json:"to"`
	Secret string `json:"secret"`
}

func (l letter) Destination() string { return "to " + l.To }

func (l letter) Send(ctx context.Context, m Message) error {
	l.post.mu.Lock()
	l.post.came, l.post.ids = append(l.post.came, l.To+": "+m.Title), append(l.post.ids, m.ID)
	answer := l.post.answer
	l.post.mu.Unlock()
	if answer == nil {
		return nil
	}
	return answer(ctx, l.To, m)
}

func (p *post) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.came)
}

func (p *post) answers(f func(ctx context.Context, to string, m Message) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = f
}

// server is a notifier of a test, with the plugins beside it.
type server struct {
	*Notifier
	t     testing.TB
	db    *sql.DB
	log   *logbook
	lease *plugins.Lease // of the notifier
	sky   *plugins.Lease
	post  *plugins.Lease
}

// logbook keeps what a server logs.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// keys are secrets with a key of this letter, and maybe a previous one.
func keys(t testing.TB, current, previous string) *plugins.Secrets {
	t.Helper()
	s, err := plugins.NewSecrets(strings.Repeat(current, 64), strings.Repeat(previous, 64))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// still makes a server that does nothing by itself: the test says when it looks for work.
func still(t testing.TB, db *sql.DB, s *sky, p *post) *server {
	t.Helper()
	out := &server{t: t, db: db, log: &logbook{}}
	host := &plugins.Host{ID: "notification", DB: db, Log: slog.New(slog.NewTextHandler(out.log, nil)), Secrets: keys(t, "a", "")}
	out.lease = plugins.Lend(context.Background(), host, func(err error) { t.Error(err) })
	out.Notifier = New(host)
	out.delay = func(int) time.Duration { return time.Hour } // a test says when it is over
	out.sky = s.register(t, out.Notifier)
	mail := &plugins.Host{ID: "mail", Log: host.Log}
	out.post = plugins.Lend(context.Background(), mail, func(err error) { t.Error(err) })
	if err := out.RegisterChannelType(mail, p.channelType()); err != nil {
		t.Fatal(err)
	}
	return out
}

// live makes a server that works by itself, with connections of its own, until the test ends or stop is called.
func live(t testing.TB, url string, s *sky, p *post) *server {
	t.Helper()
	d, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	out := still(t, d.DB, s, p)
	out.host.Notices = d
	out.delay = func(int) time.Duration { return time.Millisecond }
	out.idle = time.Hour // what is not announced is not seen
	if err := out.afterPluginsReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.stop)
	return out
}

// stop ends a server as the loader does: first what it contributed to other plugins, last what came first.
func (s *server) stop() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(s.post.Undo(ctx), s.sky.Undo(ctx), s.lease.Stop(ctx), s.lease.Undo(ctx)); err != nil {
		s.t.Error(err)
	}
}

// work hands on and sends what can be, once, and returns what a server would wait for.
func (s *server) work() time.Duration {
	s.t.Helper()
	var sending sync.WaitGroup
	wait, err := s.pass(context.Background(), &sending)
	sending.Wait()
	if err != nil {
		s.t.Error(err)
	}
	return wait
}

// tx runs f in a transaction.
func (s *server) tx(f func(tx *sql.Tx) error) {
	s.t.Helper()
	if err := plugins.Tx(context.Background(), s.db, f); err != nil {
		s.t.Fatal(err)
	}
}

// channel makes a channel of the type post.
func (s *server) channel(name string) (id string) {
	s.t.Helper()
	s.tx(func(tx *sql.Tx) error {
		c, err := s.CreateChannel(context.Background(), tx, ChannelInput{Name: name, Type: "post", Config: json.RawMessage(`{"to":"` + name + `"}`)}, nil)
		id = c.ID
		return err
	})
	return id
}

// subscribe subscribes a channel to a spec; an empty resource is all of them.
func (s *server) subscribe(channel string, spec Spec, resource string, least Severity) (id string) {
	s.t.Helper()
	in := SubscriptionInput{ChannelID: channel, Spec: spec.Type, MinSeverity: least}
	if resource != "" {
		in.Resource = &resource
	}
	s.tx(func(tx *sql.Tx) error {
		made, err := s.Subscribe(context.Background(), tx, in, nil)
		id = made.ID
		return err
	})
	return id
}

// about is a notice about a system, whose key is its title.
func about(system string, severity Severity, title string) Notice {
	return Notice{Key: title, Spec: systemSpec.Type, Target: Ancestor{systemTarget.Type, system}, Severity: severity, Title: title}
}

// say posts notices.
func (s *server) say(notices ...Notice) {
	s.t.Helper()
	s.tx(func(tx *sql.Tx) error { return s.Post(context.Background(), tx, notices) })
}

// hand hands on all that waits.
func (s *server) hand() {
	s.t.Helper()
	for more := 1; more > 0; {
		var err error
		if more, err = s.handOn(context.Background()); err != nil {
			s.t.Fatal(err)
		}
	}
}

// handed lists the deliveries in the order in which they are sent, as "title→channel"; those of one notice by the name of the channel.
func handed(t testing.TB, db *sql.DB) []string {
	t.Helper()
	all := texts(t, db, `select n.title || '→' || c.name from notification.deliveries d join notification.notices n on n.id = d.notice_id
		join notification.channels c on c.id = d.channel_id order by d.id`)
	for start, end := 0, 1; end <= len(all); end++ {
		title, _, _ := strings.Cut(all[start], "→")
		if end == len(all) || !strings.HasPrefix(all[end], title+"→") {
			slices.Sort(all[start:end])
			start = end
		}
	}
	return all
}

// states lists the deliveries with what has become of them, as "title state attempts error".
func states(t testing.TB, db *sql.DB) []string {
	t.Helper()
	return texts(t, db, `select concat_ws(' ', n.title, d.state, d.attempts, d.error) from notification.deliveries d
		join notification.notices n on n.id = d.notice_id order by d.id`)
}
