// Package soak has what shows that checks are made on time and at what cost: real servers, a real PostgreSQL, and targets in a
// process of their own. Its tests take half a minute each; with -args -long they take as long as they claim.
package soak
