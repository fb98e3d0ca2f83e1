// Package goapp is what the author of an application imports to run it inside
// NGINX and Apache httpd, and by itself.
//
//	package main
//
//	import (
//		"fmt"
//		"log"
//		"net/http"
//
//		"github.com/gsgi/gsgi/goapp"
//	)
//
//	func main() {
//		http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
//			fmt.Fprintln(w, "Hello, world")
//		})
//		log.Fatal(goapp.ListenAndServe(":8080", nil))
//	}
//
// The same main is a web server of its own by "go run .", and a library for a
// web server by
//
//	go build -buildmode=c-shared -o site.so .
//
// which the server's configuration names: gsgi_app site /srv/site.so, and
// gsgi_pass site in a location, or GSGIApp and GSGIPass in Apache. A worker of
// the server loads the library and runs main in a goroutine; the arguments of
// gsgi_app are os.Args[1:]. See [ListenAndServe] for how main ends.
//
// # Two interfaces
//
// A handler of net/http works as it is, with every router and middleware made
// for it. The gateway interface, an [Application], is PEP 3333 (WSGI) in Go.
// It is closer to what a web server has, so that less is built for a request:
//
//	var plain = goapp.Header{{"Content-Type", "text/plain; charset=utf-8"}}
//
//	func hello(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
//		start(http.StatusOK, plain)
//		return goapp.String("Hello, " + env.Get("REMOTE_ADDR") + "\n")
//	}
//
//	func main() {
//		log.Fatal(goapp.ListenAndServe(":8080", goapp.Handler(hello)))
//	}
//
// [Handler] makes a handler of net/http of an application, and [FromHandler]
// the reverse, so that both are mixed at will.
//
// # Environ
//
// The environ has the keys of CGI (RFC 3875) and PEP 3333. A value is a
// string; a key that does not apply is absent.
//
//	REQUEST_METHOD     the method
//	SCRIPT_NAME        where the application is mounted, may be empty
//	PATH_INFO          the rest of the path, may be empty
//	QUERY_STRING       what follows the question mark, may be empty
//	REQUEST_URI        the request target as the client sent it
//	CONTENT_TYPE       of the request body
//	CONTENT_LENGTH     of the request body; absent when it is chunked
//	HTTP_NAME          a request header: HTTP_USER_AGENT is User-Agent
//	SERVER_NAME        the server's name
//	SERVER_PORT        the port on which the request arrived
//	SERVER_ADDR        the address on which it arrived
//	SERVER_PROTOCOL    what the client speaks: HTTP/1.1, HTTP/2.0
//	SERVER_SOFTWARE    the server: nginx/1.22.1; standalone gsgi
//	GATEWAY_INTERFACE  CGI/1.1
//	REMOTE_ADDR        the client's address, without brackets
//	REMOTE_PORT        the client's port
//	REMOTE_USER        whom the server has authenticated
//	AUTH_TYPE          how: Basic, Digest
//	DOCUMENT_ROOT      of the server, for this request
//	HTTPS              "on" over TLS
//	SSL_PROTOCOL, SSL_CIPHER, SSL_TLS_SNI, SSL_CLIENT_CERT, SSL_SESSION_RESUMED
//	                   over TLS, as in Apache's mod_ssl; the cipher has its
//	                   IANA name
//
//	gsgi.version           version of this interface, "1.0"
//	gsgi.url_scheme        "http" or "https"
//	gsgi.request_id        the server's id of the request, as in its log
//	gsgi.multithread       "1": requests run at the same time
//	gsgi.multiprocess      "1" when the server has several workers, else "0"
//	gsgi.run_once          "0"
//	gsgi.input_terminated  "1": Input ends where the body ends
//
// What gsgi_param adds to the configuration is there too, and takes the place
// of a key of the same name; in Apache also what SetEnv and the like set.
//
// The path is the one that the server decided on: decoded, normalised,
// rewritten, so that the server's access rules and the application see the
// same one. The raw one is REQUEST_URI.
//
// Repeated headers are joined by a comma, cookies by a semicolon. Proxy, and
// every header with an underscore in its name, are never in the environ: they
// could pass for another header, or for the variable HTTP_PROXY.
//
// An environ does not change. Middleware that adds something to it hands a
// child on, made by [Environ.With].
//
// # The response
//
// An application calls start with the status and the header and returns the
// body. Nothing leaves before the first block of the body; until then start
// may be called again with an error that it then answers. See
// [StartResponse].
//
// A [Body] yields its blocks. Each is on its way when yield returns: what is
// yielded is never held back to be sent with what comes later.
//
//	return goapp.Blocks(func(yield func([]byte, error) bool) {
//		for event := range events {
//			if !yield(event, nil) {
//				return // the client has gone
//			}
//		}
//	})
//
// A body of one block, [Bytes] or [String], sets Content-Length. [File] is sent
// by the server itself.
//
// # What goes wrong
//
// A panic is answered with 500, or ends the connection visibly when the head
// of the response is out; so does a body that yields an error, or is shorter
// than its Content-Length. Inside a server the log has the reason, with the
// request's id. Standalone a panic is net/http's: logged, and the connection
// is closed.
//
// When the client leaves or a time limit passes, [Environ.Context] is done and
// yield returns false. A worker that crashes takes its connections along, so
// that a goroutine of the application's own is best started by [Go].
//
// # Life of a worker
//
// A server has several workers, each with the whole application. On a reload
// new workers start with the new library, and those before drain: [Context]
// is done, and the last requests are answered. [Worker] tells the workers
// apart, [Exclusive] does something in one of them only. Do not call
// signal.Notify for SIGINT and SIGTERM, os.Exit or log.Fatal inside a server:
// the signals are the server's, and the others end a worker with all its
// connections.
//
// # Testing
//
// [EnvironOf] makes an environ of any request, so that an application is
// tested with net/http/httptest alone. [Validator] watches that both sides
// keep to the contract.
//
// # For readers of PEP 3333
//
// What differs, and why. Environ is a type with methods and not a map: inside
// a server keys become strings only when somebody asks for them, and what
// middleware changes cannot leak outwards. StartResponse does not return a
// write function: yield is one. A body is not a bare iterator: one that is
// never started runs no defer, so Close is a method of its own, and an error
// is not an end. Len counts bytes, not blocks: it is asked for to set
// Content-Length. A status has no reason phrase, which HTTP/2 does not have
// either. A final status below 200 is refused. A header that belongs to the
// connection is a fault, as PEP 3333 says, whereas net/http ignores it;
// [FromHandler] does too.
package goapp
