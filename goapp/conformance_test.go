package goapp

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestConformanceNamesTests checks that CONFORMANCE.md has every requirement,
// each with a test, and that the tests exist.
func TestConformanceNamesTests(t *testing.T) {
	text, err := os.ReadFile("CONFORMANCE.md")
	require.NoError(t, err)
	tests := allTests(t)
	for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(text), -1) {
		assert.True(t, tests[name[1]], "there is no %s", name[1])
	}
	row := regexp.MustCompile("(?m)^\\| (\\d+) \\| [MSO] \\| .*`Test\\w+` \\|$").FindAllStringSubmatch(string(text), -1)
	require.Len(t, row, 52, "a row for each requirement, with a test")
	for i := range row {
		assert.Equal(t, strconv.Itoa(i+1), row[i][1])
	}
}

// allTests are the names of the tests of the repository.
func allTests(t *testing.T) map[string]bool {
	names := map[string]bool{}
	for _, pattern := range []string{"*_test.go", "../module/*_test.go", "../examples/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllStringSubmatch(string(text), -1) {
				names[m[1]] = true
			}
		}
	}
	return names
}

// TestEnvironIsDocumented checks that the package's documentation has every
// key of a request over TLS.
func TestEnvironIsDocumented(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	keys := make(chan []string, 1)
	srv := httptest.NewTLSServer(Handler(func(env *Environ, start StartResponse) Body {
		keys <- slices.Collect(maps.Keys(maps.Collect(env.All())))
		start(http.StatusNoContent, nil)
		return nil
	}))
	defer srv.Close()
	resp, err := srv.Client().Post(srv.URL, "text/plain", strings.NewReader("x"))
	require.NoError(t, err)
	resp.Body.Close()
	for _, key := range <-keys {
		if !strings.HasPrefix(key, "HTTP_") {
			assert.Regexp(t, `(?m)^//\s.*\b`+regexp.QuoteMeta(key)+`\b`, string(text))
		}
	}
}
