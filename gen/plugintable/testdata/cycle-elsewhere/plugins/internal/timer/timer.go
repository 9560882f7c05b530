// Package timer is shared by plugins.
package timer

import _ "checkstack/gen/plugintable/testdata/cycle-elsewhere/plugins/internal/clock"
