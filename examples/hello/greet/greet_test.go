package greet

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBothWaysGreet(t *testing.T) {
	for target, want := range map[string]string{
		"/":                     "Hello, world! This is net/http in ",
		"/?name=Zo%C3%AB":       "Hello, Zoë! This is net/http in ",
		"/gateway":              "Hello, world! This is the gateway interface in ",
		"/gateway?name=Ann+B":   "Hello, Ann B! This is the gateway interface in ",
		"/gateway?name=%zz&a=1": "The query is not well formed.\n",
		"/other":                "404 page not found\n",
	} {
		t.Run(target, func(t *testing.T) {
			w := httptest.NewRecorder()
			Handler().ServeHTTP(w, httptest.NewRequest("GET", target, nil))
			assert.Contains(t, w.Body.String(), want)
			assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
		})
	}
}
