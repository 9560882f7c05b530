// Package sub is a part of lonely.
package sub

import _ "checkstack/gen/plugintable/testdata/cycles/plugins/lonely"
