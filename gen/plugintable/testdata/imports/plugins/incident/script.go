//go:build ignore

package main

import _ "checkstack/gen/plugintable/testdata/imports/plugins/weather"

func main() {}
