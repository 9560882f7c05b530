// Package notification knows what people can be told about. It is a plugin that requires no other.
//
// A target is a kind of thing that can be watched, such as a system; its resources are the things themselves. A
// subscription spec is one subject of notifications about a target, such as the incidents of a system. Both belong to
// other plugins, which register them in AfterPluginsReady:
//
//	var SystemTarget = notification.Target{Type: "catalog.system", Name: "System"}                      // in catalog
//	notify.RegisterTarget(ctx, host, SystemTarget, notification.Resources{List: …, Find: …})            // in catalog
//	notify.RegisterSpec(ctx, host, notification.Spec{Type: "incident.system", Target: catalog.SystemTarget, …}) // in incident
//
// The hard part is that two truths meet here. What is registered in this process, with the functions that go with it,
// is in memory and ends with the plugin that owns it. What was ever registered is in the database, because what people
// subscribed to must survive a plugin that is disabled for an hour. A spec names its target by the Go value of the
// plugin that owns it, so the owner of a target is always initialised before those who refer to it.
package notification

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"net/http"
	"time"

	"checkstack/plugins"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Notifier is the plugin's service.
type Notifier struct {
	host    *plugins.Host
	targets registry[target]
	specs   registry[Spec]
	types   registry[*liveType]

	woken  chan struct{}                    // there may be something to do
	places chan struct{}                    // one element for each channel that is being sent through
	trying chan struct{}                    // one element for each channel that is being tried by hand
	idle   time.Duration                    // how long nothing is looked at unless somebody says so
	turn   time.Duration                    // how long a channel is sent through while others wait
	limit  time.Duration                    // for one message
	delay  func(failures int) time.Duration // until a channel is tried again
}

// New builds the plugin.
func New(host *plugins.Host) *Notifier {
	return &Notifier{
		host: host, woken: make(chan struct{}, 1), places: make(chan struct{}, maxSending), trying: make(chan struct{}, maxTrying),
		idle: maxIdle, turn: maxTurn, limit: sendPatience, delay: backoff,
	}
}

// Plugin returns the plugin's hooks.
func (n *Notifier) Plugin() plugins.Instance {
	files, _ := fs.Sub(migrations, "migrations") // fails for a malformed name only
	return plugins.Instance{Migrations: files, Init: n.init, AfterPluginsReady: n.afterPluginsReady}
}

func (n *Notifier) init(context.Context) error {
	handle := n.host.Routes.Handle
	return errors.Join(
		handle("GET /targets", plugins.Viewer, plugins.JSON(n.listTargets)),
		handle("GET /targets/{type}/resources", plugins.Viewer, plugins.JSON(n.listResources)),
		handle("GET /targets/{type}/resources/{id}", plugins.Viewer, plugins.JSON(n.findResource)),
		handle("GET /specs", plugins.Viewer, plugins.JSON(n.listSpecs)),
		handle("GET /notices", plugins.Viewer, plugins.JSON(n.listNotices)),
		handle("GET /channel-types", plugins.Viewer, plugins.JSON(n.listChannelTypes)),
		handle("GET /channels", plugins.Viewer, plugins.JSON(n.listChannels)),
		handle("POST /channels", plugins.Editor, plugins.JSON(n.createChannel)),
		handle("GET /channels/{id}", plugins.Viewer, plugins.JSON(n.findChannel)),
		handle("PUT /channels/{id}", plugins.Editor, plugins.JSON(n.replaceChannel)),
		handle("DELETE /channels/{id}", plugins.Editor, plugins.JSON(n.removeChannel)),
		handle("POST /channels/{id}/try", plugins.Editor, plugins.JSON(n.tryChannel)),
		handle("GET /subscriptions", plugins.Viewer, plugins.JSON(n.listSubscriptions)),
		handle("POST /subscriptions", plugins.Editor, plugins.JSON(n.createSubscription)),
		handle("GET /subscriptions/{id}", plugins.Viewer, plugins.JSON(n.findSubscription)),
		handle("PUT /subscriptions/{id}", plugins.Editor, plugins.JSON(n.replaceSubscription)),
		handle("DELETE /subscriptions/{id}", plugins.Editor, plugins.JSON(n.removeSubscription)),
		handle("GET /deliveries", plugins.Viewer, plugins.JSON(n.listDeliveries)),
	)
}

func (n *Notifier) afterPluginsReady(ctx context.Context) error {
	lost, err := n.reseal(ctx)
	if err != nil {
		return err
	}
	if lost > 0 {
		n.host.Log.Error("the configurations of channels cannot be opened, and nothing is sent through them; give the key they were sealed with, or the configurations again",
			"channels", lost)
	}
	n.host.Listen(work, func(string) { n.wake() })
	n.host.Go(n.expire)
	n.host.Go(n.loop)
	return nil
}

// targetView is a target as the API shows it.
type targetView struct {
	Type        string `json:"type"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Owner       string `json:"owner"`
	Available   bool   `json:"available"` // whether the plugin that owns it runs on this server
}

// specView is a subscription spec as the API shows it.
type specView struct {
	Type        string `json:"type"`
	Target      string `json:"target"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Owner       string `json:"owner"`
	Available   bool   `json:"available"`
}

//go:embed sql/target_list.sql
var listTargets string

func (n *Notifier) listTargets(r *http.Request, _ plugins.None) (plugins.List[targetView], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[targetView]{}, err
	}
	return plugins.ListRows(r.Context(), n.host.DB, page, func(row plugins.Row) (targetView, error) {
		var v targetView
		err := row.Scan(&v.Type, &v.Name, &v.Description, &v.Owner)
		_, v.Available = n.targets.find(v.Type)
		return v, err
	}, listTargets)
}

//go:embed sql/spec_list.sql
var listSpecs string

func (n *Notifier) listSpecs(r *http.Request, _ plugins.None) (plugins.List[specView], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[specView]{}, err
	}
	return plugins.ListRows(r.Context(), n.host.DB, page, func(row plugins.Row) (specView, error) {
		var v specView
		err := row.Scan(&v.Type, &v.Target, &v.Name, &v.Description, &v.Owner)
		_, v.Available = n.specs.find(v.Type)
		return v, err
	}, listSpecs)
}

func (n *Notifier) listResources(r *http.Request, _ plugins.None) (plugins.List[Resource], error) {
	page, err := plugins.PageOf(r)
	if err != nil {
		return plugins.List[Resource]{}, err
	}
	t, ok := n.targets.find(r.PathValue("type"))
	if !ok {
		return plugins.List[Resource]{}, plugins.NotFound("target")
	}
	return t.resources.List(r.Context(), page)
}

func (n *Notifier) findResource(r *http.Request, _ plugins.None) (Resource, error) {
	return n.Resource(r.Context(), r.PathValue("type"), r.PathValue("id"))
}
