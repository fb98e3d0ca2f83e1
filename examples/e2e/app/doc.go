// Package app is the application of the end-to-end tests. It has a handler
// for every behaviour that a test wants to see through a real server, and the
// tests serve the same handlers with net/http alone to compare.
//
// # Routes
//
// The first segment of the path selects the handler, the query its
// parameters; anything else is answered by "dump", which tells what arrived.
// [Handler] is the http.Handler side, [Gateway] the gateway interface, and
// [Mux] a http.ServeMux with an admin area, for tests of access rules.
//
// # Gates
//
// A handler that gets the parameter gate=HOST:PORT connects to that address
// and goes on when it is told so. A test that listens there knows for sure
// that the handler runs, and decides when it ends, without a clock.
package app
