// Package wsgi holds the tests of Python applications through the real
// servers: build/out/gsgi-wsgi.so, or the library that GSGI_WSGI_LIBRARY
// names, in NGINX and in Apache, with the applications of testdata and with
// real frameworks. TestParity compares them with other hosts of Python.
//
// With GSGI_FULL=yes TestLarge sends 1 GiB each way and TestLeaks 100,000
// requests.
package wsgi
