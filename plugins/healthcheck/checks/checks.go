// Package checks has the check types that are built in, each in a file of its own. Each is a struct for its configuration with a
// method that makes one run; see [engine.New]. Where a protocol needs a few bytes they are spoken here, with the RFC that says so.
package checks

import "checkstack/plugins/healthcheck/engine"

// BuiltIn makes the check types that are built in, which do what policy allows.
func BuiltIn(policy *engine.Policy) []engine.Type {
	return []engine.Type{
		HTTP(policy), TCP(policy), TLS(policy), DNS(policy), Ping(policy), Postgres(policy), MySQL(policy), Redis(policy), SSH(policy),
		GRPC(policy), WebSocket(policy), Exec(policy),
	}
}
