// Package mail is a part of the plugin.
package mail

import _ "checkstack/gen/plugintable/testdata/imports/plugins/catalog"
