// Package wsgi hosts a Python application of PEP 3333 (WSGI) in this process:
// a Django, Flask or CherryPy site runs inside NGINX and Apache httpd,
// unchanged, alone or beside Go handlers.
//
//	app, err := wsgi.New(wsgi.Options{App: "mysite.wsgi:application", Dir: "/srv/site"})
//	if err != nil {
//		log.Panic(err)
//	}
//	defer app.Close()
//	http.HandleFunc("/api/", api)
//	http.Handle("/", app)
//	log.Fatal(goapp.ListenAndServe(":8080", nil))
//
// For a site that is Python alone there is a ready library, gsgi-wsgi.so,
// whose options are the arguments of gsgi_app; see README.md.
//
// The interpreter is CPython, the one that the package was built against. It
// starts in New, that is in a worker after the fork, and there is one in a
// process. Requests run on a fixed number of threads, each of them the same
// for ever, and wait in a queue when all are at work.
package wsgi
