package echo

import _ "checkstack/gen/plugintable/testdata/cycle-elsewhere/plugins/internal/clock"
