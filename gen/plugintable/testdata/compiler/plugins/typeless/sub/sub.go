// Package sub is compiled too.
package sub

import "os"

var x int = "text"
