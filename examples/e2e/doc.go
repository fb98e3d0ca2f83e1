// Package e2e holds the tests through the real servers: NGINX, and Apache
// with the event, worker and prefork MPMs, each started by the tests on free
// loopback ports with a private configuration.
//
// The server modules are taken from build/out, or from the files that
// GSGI_NGINX_MODULE and GSGI_APACHE_MODULE name; the test application of
// testapp is built once a run. After every case the slots, chunks,
// descriptors, goroutines and handles of the worker must be back where they
// were before. GSGI_RELOADS and GSGI_RELOAD_TIME say how often and in how
// long a time the servers are reloaded under load.
package e2e
