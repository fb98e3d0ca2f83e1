package app

import (
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gsgi/gsgi/goapp"
)

// Gateway answers for the gateway interface.
func Gateway() goapp.Application {
	return func(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
		query, _ := url.ParseQuery(env.Get("QUERY_STRING"))
		name, _, _ := strings.Cut(strings.TrimPrefix(env.Get("PATH_INFO"), "/"), "/")
		if h := direct[name]; h != nil {
			return h(env, query, start)
		}
		return directDump(env, query, start)
	}
}

type directHandler func(*goapp.Environ, url.Values, goapp.StartResponse) goapp.Body

var direct = map[string]directHandler{
	"hello":     directHello,
	"empty":     directEmpty,
	"gen":       directGenerate,
	"file":      directFile,
	"sum":       directSum,
	"wait":      directWait,
	"panic":     directPanic,
	"error":     directError,
	"badheader": directBadHeader,
	"length":    directLength,
}

var plain = goapp.Header{{"Content-Type", "text/plain"}}

func directHello(_ *goapp.Environ, _ url.Values, start goapp.StartResponse) goapp.Body {
	start(200, plain)
	return goapp.String("hello\n")
}

func directEmpty(_ *goapp.Environ, _ url.Values, start goapp.StartResponse) goapp.Body {
	start(204, nil)
	return nil
}

func directDump(env *goapp.Environ, _ url.Values, start goapp.StartResponse) goapp.Body {
	d := Dump{Environ: environ(env), Body: SumOf(env.Input())}
	return directJSON(d, start)
}

func directSum(env *goapp.Environ, query url.Values, start goapp.StartResponse) goapp.Body {
	return directJSON(SumOf(io.LimitReader(env.Input(), number(query, "n", 1<<62))), start)
}

func directJSON(v any, start goapp.StartResponse) goapp.Body {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	start(200, goapp.Header{{"Content-Type", "application/json"}})
	return goapp.Bytes(text)
}

func directGenerate(_ *goapp.Environ, query url.Values, start goapp.StartResponse) goapp.Body {
	n := number(query, "n", 0)
	header := goapp.Header{{"Content-Type", "application/octet-stream"}}
	if query.Get("cl") != "" {
		header = append(header, [2]string{"Content-Length", strconv.FormatInt(n, 10)})
	}
	start(200, header)
	return goapp.Blocks(func(yield func([]byte, error) bool) {
		for off := int64(0); off < n; {
			b := At(off, int(min(32<<10, n-off)))
			if !yield(b, nil) {
				return
			}
			off += int64(len(b))
		}
	})
}

func directFile(_ *goapp.Environ, query url.Values, start goapp.StartResponse) goapp.Body {
	f, err := os.Open(filepath.Base(query.Get("name")))
	if err != nil {
		panic(err)
	}
	start(200, goapp.Header{{"Content-Type", "application/octet-stream"}})
	return goapp.File(f)
}

func directWait(env *goapp.Environ, query url.Values, start goapp.StartResponse) goapp.Body {
	gated(env.Context(), query)
	start(200, plain)
	return goapp.String("waited\n")
}

func directPanic(_ *goapp.Environ, query url.Values, start goapp.StartResponse) goapp.Body {
	fail := func() { panic("panic on demand " + query.Get("token")) }
	if query.Get("after") == "" {
		fail()
	}
	start(200, plain)
	return goapp.Blocks(func(yield func([]byte, error) bool) {
		yield([]byte("begun\n"), nil)
		fail()
	})
}

func directError(_ *goapp.Environ, query url.Values, start goapp.StartResponse) goapp.Body {
	start(200, plain)
	return goapp.Blocks(func(yield func([]byte, error) bool) {
		yield([]byte("begun\n"), nil)
		yield(nil, errors.New("error on demand "+query.Get("token")))
	})
}

func directBadHeader(_ *goapp.Environ, query url.Values, start goapp.StartResponse) goapp.Body {
	start(200, goapp.Header{
		{query.Get("name"), query.Get("value")},
		{"X-Other", "must not be seen"},
	})
	return goapp.String("must not be seen\n")
}

func directLength(_ *goapp.Environ, query url.Values, start goapp.StartResponse) goapp.Body {
	n := int(number(query, "n", 0))
	start(200, goapp.Header{{"Content-Type", "text/plain"}, {"Content-Length", query.Get("cl")}})
	text := strings.Repeat("0123456789", n/10+1)[:n]
	return goapp.Blocks(func(yield func([]byte, error) bool) {
		if yield([]byte(text[:n/2]), nil) {
			yield([]byte(text[n/2:]), nil)
		}
	})
}
