// Package module is the gateway inside a web server's worker: it turns the
// requests that the server submits through the bridge into calls of Go
// handlers, and what these write into responses.
//
// Application authors import package goapp instead. Nothing here is specific
// to a server or needs C: the host is whoever maps the region of
// cshim/gsgi.h, and in tests it is a fake one in Go.
//
// # A request
//
// Dispatchers are goroutines that take requests from the submission ring and
// run the handler themselves. An [Exchange] is one request with its response.
// Its [Block] gives the facts, headers and parameters; [Exchange.Request] and
// [Exchange.ResponseWriter] give them the form of net/http. What the handler
// writes is gathered in the slot, and in chunks once it grows, and published
// under a credit, so that a slow client holds up its own handler only.
//
// # Release
//
// When the handler has returned, the exchange is finished: body and response
// are closed for late users, and the slot goes back to the host with the last
// event. Nothing of the region is touched after that.
package module
