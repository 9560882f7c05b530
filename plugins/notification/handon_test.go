package notification

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

// story is what happens to a server, line by line:
//
//	A sky.system shop warning     the channel A subscribes to a spec for a resource, * being all, from a severity on
//	critical shop disk            a notice about a system in a thread; the first one has the title 1
//	disable A, enable A, unsubscribe A, move shop g2, gone shop
//	hand                          what waits is handed on
type story struct {
	*server
	sky      *sky
	channels map[string]string
	notices  int
}

func newStory(t *testing.T, db *sql.DB) *story {
	execute(t, db, `truncate notification.notices, notification.channels, notification.subscriptions cascade`)
	s := &sky{}
	s.set("shop", "g1", "g2")
	s.set("blog", "g2")
	s.set("lone")
	return &story{still(t, db, s, &post{}), s, map[string]string{}, 0}
}

func (s *story) channelNamed(name string) string {
	if s.channels[name] == "" {
		s.channels[name] = s.channel(name)
	}
	return s.channels[name]
}

func (s *story) tell(lines string) {
	s.t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		w := strings.Fields(line)
		switch w[0] {
		case "hand":
			s.hand()
		case "disable", "enable":
			execute(s.t, s.db, `update notification.channels set enabled = $2 where id = $1`, s.channelNamed(w[1]), w[0] == "enable")
		case "unsubscribe":
			execute(s.t, s.db, `delete from notification.subscriptions where channel_id = $1`, s.channelNamed(w[1]))
		case "move":
			s.sky.set(w[1], w[2:]...)
		case "gone":
			s.sky.mu.Lock()
			delete(s.sky.groups, w[1])
			s.sky.mu.Unlock()
		case "critical", "warning", "info", "recovered":
			s.notices++
			n := about(w[1], Severity(w[0]), fmt.Sprint(s.notices))
			n.Thread = w[2]
			s.say(n)
		default:
			s.subscribe(s.channelNamed(w[0]), Spec{Type: w[1]}, strings.TrimPrefix(w[2], "*"), Severity(w[3]))
		}
	}
}

func TestANoticeGoesToTheChannelsThatSubscribedToIt(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	for _, test := range []struct{ name, lines, want string }{
		{"nobody subscribed", "critical shop disk", ""},
		{"to one resource", "A sky.system shop info\n critical shop disk\n critical blog disk", "1→A"},
		{"to all resources", "A sky.system * info\n critical shop disk\n critical lone disk", "1→A 2→A"},
		{"to a group: its systems, and no others", "A sky.group g2 info\n critical shop disk\n critical blog disk\n critical lone disk", "1→A 2→A"},
		{"to all groups: what is in any", "A sky.group * info\n critical shop disk\n critical lone disk\n critical blog disk", "1→A 3→A"},
		{"to both groups of a system: once", "A sky.group g1 info\n A sky.group g2 info\n critical shop disk", "1→A"},
		{"in every way there is: once", "A sky.group g1 info\n A sky.group * info\n A sky.system shop info\n A sky.system * info\n critical shop disk", "1→A"},
		{"many channels", "A sky.system shop info\n B sky.group g1 info\n C sky.group g2 info\n D sky.system blog info\n critical shop disk", "1→A 1→B 1→C"},
		{"to another spec", "A sky.news shop info\n A sky.news * info\n critical shop disk", ""},
		{"to the ID of a group as that of a system", "A sky.system g1 info\n A sky.group shop info\n critical shop disk", ""},
		{"a disabled channel", "A sky.system shop info\n disable A\n critical shop disk\n hand\n enable A\n critical shop cpu", "2→A"},
		{"from a severity on", `A sky.system shop info
			B sky.system shop warning
			C sky.system shop critical
			info shop disk
			warning shop disk
			critical shop disk`, "1→A 2→A 2→B 3→A 3→B 3→C"},
		{"the lowest severity of those that fit", "A sky.system shop critical\n A sky.group g1 warning\n info shop disk\n warning shop disk", "2→A"},
		{"a resource that is gone is in no group", "A sky.system shop info\n B sky.group g1 info\n C sky.group * info\n D sky.system * info\n critical shop disk\n gone shop", "1→A 1→D"},
		{"the groups of the moment it is handed on", "A sky.group g1 info\n critical lone disk\n move lone g1\n hand\n move lone\n critical lone disk", "1→A"},
		{"a subscription that comes later", "critical shop disk\n hand\n A sky.system shop info\n warning shop disk", "2→A"},
		{"a subscription that is ended before", "A sky.system shop info\n critical shop disk\n unsubscribe A", ""},

		{"the end goes to who was told of the trouble", `A sky.system shop critical
			B sky.system shop warning
			C sky.system * info
			warning shop disk
			critical shop disk
			recovered shop disk`, "1→B 1→C 2→A 2→B 2→C 3→A 3→B 3→C"},
		{"and not to who was told of nothing", "A sky.system shop critical\n warning shop disk\n recovered shop disk\n critical shop disk\n recovered shop disk", "3→A 4→A"},
		{"what is worth knowing is no trouble", "A sky.system shop info\n info shop disk\n recovered shop disk", "1→A"},
		{"each thread has an end of its own", `A sky.system shop info
			critical shop disk
			recovered shop cpu
			critical shop cpu
			recovered shop disk
			recovered shop cpu`, "1→A 3→A 4→A 5→A"},
		{"and each resource", "A sky.system * info\n critical shop disk\n recovered blog disk\n recovered shop disk", "1→A 3→A"},
		{"an end comes once", "A sky.system shop info\n critical shop disk\n recovered shop disk\n recovered shop disk\n hand\n recovered shop disk", "1→A 2→A"},
		{"several times over in one batch, in order", `A sky.system shop warning
			B sky.group g1 critical
			critical shop disk
			recovered shop disk
			warning shop disk
			recovered shop disk
			critical shop disk
			recovered shop disk
			critical shop disk`, "1→A 1→B 2→A 2→B 3→A 4→A 5→A 5→B 6→A 6→B 7→A 7→B"},
		{"and one by one", `A sky.system shop warning
			B sky.group g1 critical
			critical shop disk
			hand
			recovered shop disk
			hand
			warning shop disk
			hand
			recovered shop disk
			hand
			critical shop disk`, "1→A 1→B 2→A 2→B 3→A 4→A 5→A 5→B"},
		{"who subscribes in between hears no end", "A sky.system shop info\n critical shop disk\n hand\n B sky.system shop info\n recovered shop disk\n critical shop disk", "1→A 2→A 3→A 3→B"},
		{"who unsubscribes in between hears the end, and no more", "A sky.system shop info\n critical shop disk\n hand\n unsubscribe A\n recovered shop disk\n critical shop disk\n recovered shop disk", "1→A 2→A"},
		{"a system that has left the group works again", "A sky.group g1 info\n critical shop disk\n hand\n move shop g2\n recovered shop disk\n critical shop disk", "1→A 2→A"},
		{"and one that is gone", "A sky.group g1 info\n critical shop disk\n hand\n gone shop\n recovered shop disk", "1→A 2→A"},
		{"a channel that is disabled in between hears no end", "A sky.system shop info\n critical shop disk\n hand\n disable A\n recovered shop disk\n hand\n enable A\n recovered shop disk", "1→A"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t, db)
			s.tell(test.lines + "\nhand")
			equal(t, "handed on", strings.Join(handed(t, db), " "), test.want)
			if n := value[int](t, db, `select count(*) from notification.notices where handed_at is null`); n != 0 {
				t.Errorf("%d notices still wait", n)
			}
		})
	}
}

// The end of a trouble is told to those who were told of it, also if the message itself was refused, given up, or is still on its way.
func TestTheEndIsForWhoeverTheTroubleWasFor(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	for _, state := range []string{"pending", "delivered", "refused", "expired"} {
		s := newStory(t, db)
		s.tell("A sky.system shop info\n critical shop disk\n hand")
		execute(t, db, `update notification.deliveries set state = $1, ended_at = case when $1 <> 'pending' then now() end`, state)
		s.tell("recovered shop disk\n hand")
		equal(t, state, handed(t, db), "[1→A 2→A]")
	}
}

func TestANoticeKeepsHowItsResourceWasCalled(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := newStory(t, db)
	s.tell("A sky.system * info\n critical shop disk\n critical blog disk\n gone blog\n hand\n gone shop")
	equal(t, "names", texts(t, db, `select coalesce(resource_name, '-') from notification.notices order by id`), "[SHOP -]")
}

func TestNobodyIsAskedForResourcesWhileNobodySubscribed(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := newStory(t, db)
	s.sky.fail = func(context.Context, string) error { return errors.New("asked") }
	s.tell("critical shop disk\n hand")
	equal(t, "waiting", value[int](t, db, `select count(*) from notification.notices where handed_at is null`), 0)
}

func TestManyNoticesAreHandedOnInTheirOrder(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := newStory(t, db)
	s.tell("A sky.system * info\n B sky.group g2 warning")
	var notices []Notice
	var want []string
	for i := range 450 { // more than two batches
		n := about([]string{"shop", "blog", "lone"}[i%3], []Severity{Critical, Recovered}[i/3%2], fmt.Sprint(i))
		notices, want = append(notices, n), append(want, n.Title+"→A")
		if i%3 != 2 {
			want = append(want, n.Title+"→B")
		}
	}
	s.say(notices...)
	s.hand()
	equal(t, "handed on", handed(t, db), want)
}

func TestNoticesOfBeforeThereWereChannelsAreForNobody(t *testing.T) {
	t.Parallel()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	old := fstest.MapFS{}
	for _, name := range []string{"0001_registries.sql", "0002_notices.sql"} {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		old[name] = &fstest.MapFile{Data: text}
	}
	db, _ := postgrestest.New(t, postgres.Set{ID: "notification", Files: old})
	execute(t, db, `insert into notification.notices (event, spec, target, resource, severity, title, message, data)
		values ('sky.system/0', 'sky.system', 'sky.system', 'shop', 'critical', '0', '', 'null')`)
	if err := postgres.Migrate(t.Context(), db, nil, postgres.Set{ID: "notification", Files: files}); err != nil {
		t.Fatal(err)
	}
	s := still(t, db, &sky{groups: map[string][]string{"shop": nil}}, &post{})
	s.subscribe(s.channel("A"), systemSpec, "shop", Info)
	s.say(about("shop", Recovered, "1"), about("shop", Critical, "2"))
	s.hand()
	equal(t, "handed on", handed(t, db), "[2→A]")
}

func TestASpecCoversNoOtherThanItSays(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := newStory(t, db)
	s.tell("A sky.group g1 info\n A sky.group * info\n B sky.news shop info\n C sky.system shop info")
	news := about("shop", Critical, "1")
	news.Spec = newsSpec.Type
	s.say(news)
	s.hand()
	equal(t, "handed on", handed(t, db), "[1→B]")
}

func TestAResourceThatCannotBeLookedAtHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	for _, test := range []struct {
		name string
		fail func() error
		want string
	}{
		{"an error", func() error { return errors.New("broken") }, "find what a notice is about: broken"},
		{"a panic", func() error { panic("broken") }, "find what a notice is about: panic: broken"},
	} {
		s := newStory(t, db)
		s.tell("A sky.system * info\n critical shop disk\n critical blog disk\n recovered shop disk\n recovered blog disk")
		asked := 0
		s.sky.fail = func(_ context.Context, id string) error {
			if id == "blog" {
				return nil
			}
			asked++
			return test.fail()
		}
		var sending sync.WaitGroup
		_, err := s.pass(t.Context(), &sending)
		sending.Wait()
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: %v", test.name, err)
		}
		equal(t, "asked "+test.name, asked, 1)
		equal(t, test.name, states(t, db), "[2 delivered 1 4 delivered 1]")
		s.sky.fail = nil
		s.hand()
		equal(t, "after "+test.name, handed(t, db), "[2→A 4→A 1→A 3→A]")
	}
}

// A plugin that stops takes back its specs one by one, and then its target, while others still post.
func TestNobodyMissesANoticeBecauseItsOwnerStops(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	world := &sky{}
	world.set("shop", "g1")
	s := still(t, db, world, &post{})
	s.subscribe(s.channel("A"), groupSpec, "g1", Info)
	s.say(about("shop", Critical, "1"))
	s.specs.release(groupSpec.Type)
	s.specs.release(systemSpec.Type)
	s.hand()
	equal(t, "without the specs", handed(t, db), "[1→A]")

	world.fail = func(context.Context, string) error { return s.sky.Undo(context.Background()) } // in the middle of a look
	s.say(about("shop", Critical, "2"), about("blog", Critical, "3"))
	if n, err := s.handOn(t.Context()); n != 1 || err == nil || err.Error() != "find what a notice is about: the owner of the target was taken out" {
		t.Errorf("handed on %d, %v", n, err)
	}
	if n, err := s.handOn(t.Context()); n != 0 || err != nil {
		t.Errorf("without the target: handed on %d, %v", n, err)
	}
	equal(t, "waiting", texts(t, db, `select title from notification.notices where handed_at is null`), "[3]")
	world.fail = nil
	world.set("blog", "g1")
	world.register(t, s.Notifier)
	s.hand()
	equal(t, "when it is back", handed(t, db), "[1→A 2→A 3→A]")
}
