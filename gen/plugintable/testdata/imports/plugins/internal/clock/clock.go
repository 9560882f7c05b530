// Package clock is shared by plugins.
package clock

import _ "checkstack/gen/plugintable/testdata/imports/plugins/internal/timer"
