package notification

import (
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
)

// TestWhatIsDoneOftenReadsNoWholeTable has 20,000 notices and deliveries, of which little is still to be done.
func TestWhatIsDoneOftenReadsNoWholeTable(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := still(t, db, &sky{}, &post{})
	execute(t, db, `insert into notification.channels (id, name, name_key, type, config, destination, enabled)
		select gen_random_uuid(), 'c' || i, 'c' || i, 'post', '', '', true from generate_series(1, 200) i`)
	execute(t, db, `insert into notification.subscriptions (id, channel_id, spec, resource, min_severity)
		select gen_random_uuid(), id, 'sky.system', 'r' || (row_number() over ()) % 20, 'info' from notification.channels`)
	execute(t, db, `insert into notification.notices (event, spec, target, resource, thread, severity, title, message, handed_at)
		select i, 'sky.system', 'sky.system', 'r' || i % 20, i % 7, case i % 3 when 0 then 'recovered' else 'critical' end, 'T', '',
			case when i <= 19900 then now() end
		from generate_series(1, 20000) i`)
	execute(t, db, `insert into notification.deliveries (notice_id, channel_id, state, ended_at)
		select n.id, c.id, case n.id % 5000 when 0 then 'refused' when 1 then 'expired' else 'delivered' end, now()
		from notification.notices n join (select id, row_number() over () as n from notification.channels) c on c.n = n.id % 200 + 1
		where handed_at is not null`)
	execute(t, db, `update notification.deliveries set state = 'pending', ended_at = null where notice_id > 19880`)
	execute(t, db, `analyze`)
	one := value[string](t, db, `select id from notification.channels limit 1`)
	var ids, keys []int64
	var specs, resources []string
	for id := int64(19901); id <= 20000; id++ {
		ids, keys, specs, resources = append(ids, id), append(keys, id), append(specs, "sky.system"), append(resources, "r1")
	}
	post := pq.Array([]string{"post"})
	for name, test := range map[string]struct {
		statement string
		args      []any
	}{
		"look for notices":   {noticesWaitingSQL, []any{pq.Array([]string{"sky.system"})}},
		"hand on":            {handOnSQL, []any{pq.Array(ids), pq.Array(keys), pq.Array(specs), pq.Array(resources)}},
		"note":               {noticesHandedSQL, []any{pq.Array(ids), pq.Array(make([]string, len(ids)))}},
		"claim":              {channelsClaimSQL, []any{post, 16}},
		"look when":          {channelsDueSQL, []any{post}},
		"next":               {deliveryNextSQL, []any{one, time.Now(), time.Now()}},
		"end":                {deliveryEndSQL, []any{1, 1, "delivered", nil, one, time.Now()}},
		"fail":               {deliveryFailedSQL, []any{1, 1, "x", one, time.Now(), 1, 1000, time.Now()}},
		"give up":            {deliveriesExpireSQL, nil},
		"forget notices":     {expireNotices, nil},
		"list channels":      {channelListSQL, []any{100, 0}},
		"list of a channel":  {deliveryListSQL, []any{one, "", 10, 0}},
		"list what is lost":  {deliveryListSQL, []any{nil, "expired", 10, 0}},
		"list what is to do": {deliveryListSQL, []any{nil, "pending", 10, 0}},
	} {
		plan := strings.Join(texts(t, s.db, "explain "+test.statement, test.args...), "\n")
		for _, table := range []string{"deliveries", "notices"} {
			if strings.Contains(plan, "Seq Scan on "+table) {
				t.Errorf("%s reads all %s:\n%s", name, table, plan)
			}
		}
	}
}
