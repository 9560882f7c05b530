// Many assignments at once: a configuration is assigned to a thousand systems, or to all of a group, in one transaction.

package healthcheck

import (
	"database/sql"
	_ "embed"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"checkstack/plugins"
)

const (
	maxBulk    = 1000                 // systems that one request assigns a configuration to
	bulkSpread = 2 * time.Millisecond // between the first runs of what was assigned together
)

// BulkInput assigns a configuration to many systems: those named, or all of a group.
type BulkInput struct {
	AssignmentInput
	SystemIDs []string `json:"systemIds,omitempty"` // 1 to 1,000
	GroupID   string   `json:"groupId,omitempty"`
}

// Validate asks for systems or a group.
func (in *BulkInput) Validate() error {
	in.GroupID = strings.ToLower(in.GroupID)
	switch {
	case (in.GroupID == "") == (len(in.SystemIDs) == 0):
		return plugins.Invalid("systemIds", "expected systemIds or a groupId, and not both")
	case in.GroupID != "" && !plugins.IsID(in.GroupID):
		return plugins.Invalid("groupId", "expected the ID of a group")
	case len(in.SystemIDs) > maxBulk:
		return plugins.Invalid("systemIds", "expected at most %d systems, not %d", maxBulk, len(in.SystemIDs))
	}
	for i, id := range in.SystemIDs {
		if in.SystemIDs[i] = strings.ToLower(id); !plugins.IsID(in.SystemIDs[i]) {
			return plugins.Invalid(fmt.Sprintf("systemIds[%d]", i), "expected the ID of a system")
		}
	}
	return in.AssignmentInput.Validate()
}

// assignMany assigns a configuration to many systems, all of them or none. The first runs are spread over as many times 2 ms.
func (h *Healthcheck) assignMany(r *http.Request, in BulkInput) (list plugins.List[Assignment], err error) {
	id, err := plugins.PathID(r, "id", "configuration")
	if err != nil {
		return list, err
	}
	ctx := r.Context()
	err = plugins.Tx(ctx, h.host.DB, func(tx *sql.Tx) error {
		systems := in.SystemIDs
		if in.GroupID != "" {
			if systems, err = h.catalog.GroupSystems(ctx, tx, in.GroupID); err != nil {
				return err
			}
		}
		systems = slices.Compact(slices.Sorted(slices.Values(systems))) // locked in the order of their IDs
		list.Items = make([]Assignment, 0, len(systems))
		for i, system := range systems {
			if err := h.catalog.LockSystem(ctx, tx, system); err != nil {
				return err
			}
			a, err := h.assignByHand(ctx, tx, system, id, in.AssignmentInput, time.Duration(i)*bulkSpread)
			if err != nil {
				return err
			}
			list.Items = append(list.Items, a)
		}
		list.Total = len(list.Items)
		return nil
	})
	if err == nil {
		h.scheduler.wake()
	}
	return list, err
}
