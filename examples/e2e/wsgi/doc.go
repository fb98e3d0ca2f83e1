// Package wsgi holds the tests of Python applications through the real
// servers: build/out/gsgi-wsgi.so, or the library that GSGI_WSGI_LIBRARY
// names, in NGINX and in Apache, with the applications of testdata and with
// real frameworks.
package wsgi
