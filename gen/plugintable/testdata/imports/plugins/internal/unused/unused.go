// Package unused is imported by no plugin, so that what it imports does not matter.
package unused

import _ "checkstack/gen/plugintable/testdata/imports/plugins/zoo"
