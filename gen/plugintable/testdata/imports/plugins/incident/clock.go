package incident

import _ "checkstack/gen/plugintable/testdata/imports/plugins/internal/clock"
