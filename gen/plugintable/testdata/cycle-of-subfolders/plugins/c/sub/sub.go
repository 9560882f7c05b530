// Package sub is a part of c.
package sub

import _ "checkstack/gen/plugintable/testdata/cycle-of-subfolders/plugins/a"
