// Package parity holds the comparison of NGINX and Apache httpd with net/http.
//
// One table, in package cases, has handlers and the bytes that a client sends
// to each. The tests send them to the server of net/http, to NGINX, and to
// Apache with the event and prefork MPMs, over HTTP/1.1 and where it makes
// sense HTTP/2, and compare what the client gets and what the handler saw. A
// difference is an error unless the case names a row of DIFFERENCES.md in the
// documentation of goapp; a row that no case needs is an error, too.
package parity
