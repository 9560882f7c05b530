// Package sub is a part of b.
package sub

import _ "checkstack/gen/plugintable/testdata/cycles/plugins/a"
