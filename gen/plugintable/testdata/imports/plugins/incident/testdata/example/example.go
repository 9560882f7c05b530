// Package example is not looked at.
package example

import _ "checkstack/gen/plugintable/testdata/imports/plugins/zoo"
